/** Dataset files and their flagged rows, the riskiest first. */
import path from 'node:path';
import * as vscode from 'vscode';
import type { RowLocation } from '../common/commands';
import { Disposable } from '../common/disposable';
import type { DatasetIndex, FlaggedItem, IndexedFile } from '../datasets/datasetIndex';
import { counted, formatRisk, summary } from '../datasets/report';

/** What the tree's menus pass to commands: a file names itself, a row is a location. */
export type DatasetItem = { fsPath: string } | FlaggedItem | MoreItem;

interface MoreItem {
  fsPath: string;
  more: number;
}

export class DatasetsTree extends Disposable implements vscode.TreeDataProvider<DatasetItem> {
  private readonly changed = this.register(new vscode.EventEmitter<void>());
  readonly onDidChangeTreeData = this.changed.event;

  constructor(private readonly index: DatasetIndex) {
    super();
    this.register(vscode.window.createTreeView('safeFinetuning.datasets', { treeDataProvider: this, showCollapseAll: true, canSelectMany: true }));
    this.register(index.onDidChange(() => this.changed.fire()));
  }

  getChildren(parent?: DatasetItem): DatasetItem[] {
    if (!parent) return this.index.all.map(({ file }) => ({ fsPath: file }));
    if (!('fsPath' in parent)) return [];
    const known = this.index.get(parent.fsPath);
    if (!known) return [];
    const more = known.summary.flagged - known.riskiest.length;
    return more > 0 ? [...known.riskiest, { fsPath: parent.fsPath, more }] : known.riskiest;
  }

  getTreeItem(of: DatasetItem): vscode.TreeItem {
    if ('hash' in of) return rowItem(of);
    if ('more' in of) return moreItem(of);
    const known = this.index.get(of.fsPath);
    return known ? fileItem(known) : new vscode.TreeItem(path.basename(of.fsPath));
  }
}

function fileItem({ file, summary: known }: IndexedFile): vscode.TreeItem {
  const { None, Collapsed } = vscode.TreeItemCollapsibleState;
  const item = new vscode.TreeItem(vscode.Uri.file(file), known.flagged > 0 ? Collapsed : None);
  item.id = file;
  const broken = known.broken ? `not readable from line ${known.broken.place.line + 1} on; ` : '';
  item.description = `${broken}${known.flagged.toLocaleString('en-US')} of ${counted(known.rows, 'row')} flagged`;
  item.iconPath = vscode.ThemeIcon.File;
  item.tooltip = `${file}\n${summary(known)}`;
  item.contextValue = known.flagged > 0 ? 'flaggedDataset' : 'dataset';
  if (known.flagged === 0) item.command = { command: 'vscode.open', title: 'Open', arguments: [vscode.Uri.file(file)] };
  item.accessibilityInformation = { label: `${path.basename(file)}, ${summary(known)}` };
  return item;
}

function rowItem({ path: file, line, hash, risk, preview }: FlaggedItem): vscode.TreeItem {
  const item = new vscode.TreeItem(`${formatRisk(risk)} ${preview}`);
  item.id = `${file}#${line}#${hash}`;
  item.description = `line ${line}`;
  item.iconPath = new vscode.ThemeIcon('warning', new vscode.ThemeColor('list.warningForeground'));
  item.tooltip = `Risk ${formatRisk(risk)}, line ${line} of ${path.basename(file)}\n${preview}`;
  item.contextValue = 'flaggedRow';
  item.command = { command: 'safeFinetuning.showRow', title: 'Show Row', arguments: [{ path: file, line, hash } satisfies RowLocation] };
  item.accessibilityInformation = { label: `Risk ${formatRisk(risk)}, line ${line}: ${preview}` };
  return item;
}

function moreItem({ fsPath, more }: MoreItem): vscode.TreeItem {
  const item = new vscode.TreeItem(`${more.toLocaleString('en-US')} more in the file`);
  item.command = { command: 'vscode.open', title: 'Open', arguments: [vscode.Uri.file(fsPath)] };
  return item;
}
