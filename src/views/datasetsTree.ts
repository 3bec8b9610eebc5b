/** Dataset files and their flagged rows, the riskiest first. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { isOne } from '../common/language';
import { hundredths, integer } from '../common/format';
import type { RowLocation } from '../common/commands';
import { Disposable } from '../common/disposable';
import type { DatasetIndex, FlaggedItem, IndexedFile } from '../datasets/datasetIndex';
import { summary } from '../datasets/report';

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
  const broken = known.broken && l10n.t`not readable from line ${known.broken.place.line + 1} on`;
  const flagged = isOne(known.rows)
    ? l10n.t`${integer(known.flagged)} of ${integer(known.rows)} row flagged`
    : l10n.t`${integer(known.flagged)} of ${integer(known.rows)} rows flagged`;
  item.description = [broken, flagged].filter(Boolean).join('; ');
  item.iconPath = vscode.ThemeIcon.File;
  item.tooltip = `${file}\n${summary(known)}`;
  item.contextValue = known.flagged > 0 ? 'flaggedDataset' : 'dataset';
  if (known.flagged === 0) item.command = { command: 'vscode.open', title: l10n.t('Open'), arguments: [vscode.Uri.file(file)] };
  item.accessibilityInformation = { label: `${path.basename(file)}, ${summary(known)}` };
  return item;
}

function rowItem({ path: file, line, hash, risk, preview }: FlaggedItem): vscode.TreeItem {
  const item = new vscode.TreeItem(`${hundredths(risk)} ${preview}`);
  item.id = `${file}#${line}#${hash}`;
  item.description = l10n.t`line ${line}`;
  item.iconPath = new vscode.ThemeIcon('warning', new vscode.ThemeColor('list.warningForeground'));
  item.tooltip = `${l10n.t`Risk ${hundredths(risk)}, line ${line} of ${path.basename(file)}`}\n${preview}`;
  item.contextValue = 'flaggedRow';
  item.command = { command: 'safeFinetuning.showRow', title: l10n.t('Show Row'), arguments: [{ path: file, line, hash } satisfies RowLocation] };
  item.accessibilityInformation = { label: l10n.t`Risk ${hundredths(risk)}, line ${line}: ${preview}` };
  return item;
}

function moreItem({ fsPath, more }: MoreItem): vscode.TreeItem {
  const item = new vscode.TreeItem(l10n.t`${integer(more)} more in the file`);
  item.command = { command: 'vscode.open', title: l10n.t('Open'), arguments: [vscode.Uri.file(fsPath)] };
  return item;
}
