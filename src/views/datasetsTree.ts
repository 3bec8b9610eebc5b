/** Dataset files and their flagged rows, the riskiest first. */
import path from 'node:path';
import * as vscode from 'vscode';
import type { RowLocation } from '../common/commands';
import { Disposable } from '../common/disposable';
import { SHOWN_ROWS, type DatasetIndex, type FlaggedItem, type IndexedFile } from '../datasets/datasetIndex';
import { locationOf } from '../datasets/navigation';
import { datasetUri, isParquet } from '../datasets/parquet';
import { counted, formatRisk, summary } from '../datasets/report';

/** What the tree's menus pass to commands: a file names itself, a row is a location. */
export type DatasetItem = { fsPath: string } | RowItem | MoreItem;

interface RowItem extends RowLocation {
  item: FlaggedItem;
}

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
    const flagged = this.index.get(parent.fsPath)?.flagged ?? [];
    const rows = flagged.slice(0, SHOWN_ROWS).map((item): RowItem => ({ ...locationOf(item.file, item), item }));
    return flagged.length > SHOWN_ROWS ? [...rows, { fsPath: parent.fsPath, more: flagged.length - SHOWN_ROWS }] : rows;
  }

  getTreeItem(of: DatasetItem): vscode.TreeItem {
    if ('item' in of) return rowItem(of);
    if ('more' in of) return moreItem(of);
    const known = this.index.get(of.fsPath);
    return known ? fileItem(known) : new vscode.TreeItem(path.basename(of.fsPath));
  }
}

function fileItem({ file, report }: IndexedFile): vscode.TreeItem {
  const { None, Collapsed } = vscode.TreeItemCollapsibleState;
  const item = new vscode.TreeItem(vscode.Uri.file(file), report.flagged.length > 0 ? Collapsed : None);
  item.id = file;
  const broken = report.broken ? `not readable from line ${report.broken.place.line + 1} on; ` : '';
  item.description = `${broken}${report.flagged.length.toLocaleString('en-US')} of ${counted(report.rows, 'row')} flagged`;
  item.iconPath = vscode.ThemeIcon.File;
  item.tooltip = `${file}\n${summary(report)}`;
  item.contextValue = report.flagged.length > 0 && !isParquet(file) ? 'flaggedDataset' : 'dataset';
  if (report.flagged.length === 0) item.command = { command: 'vscode.open', title: 'Open', arguments: [datasetUri(file)] };
  item.accessibilityInformation = { label: `${path.basename(file)}, ${summary(report)}` };
  return item;
}

function rowItem({ path: file, line, hash, item: row }: RowItem): vscode.TreeItem {
  const item = new vscode.TreeItem(`${formatRisk(row.risk)} ${row.preview ?? ''}`);
  item.id = `${file}#${row.record}#${hash}`;
  item.description = `line ${line}`;
  item.iconPath = new vscode.ThemeIcon('warning', new vscode.ThemeColor('list.warningForeground'));
  item.tooltip = `Risk ${formatRisk(row.risk)}, line ${line} of ${path.basename(file)}${row.preview ? `\n${row.preview}` : ''}`;
  item.contextValue = isParquet(file) ? 'readOnlyRow' : 'flaggedRow';
  item.command = { command: 'safeFinetuning.showRow', title: 'Show Row', arguments: [{ path: file, line, hash } satisfies RowLocation] };
  item.accessibilityInformation = { label: `Risk ${formatRisk(row.risk)}, line ${line}: ${row.preview ?? ''}` };
  return item;
}

function moreItem({ fsPath, more }: MoreItem): vscode.TreeItem {
  const item = new vscode.TreeItem(`${more.toLocaleString('en-US')} more in the file`);
  item.command = { command: 'vscode.open', title: 'Open', arguments: [datasetUri(fsPath)] };
  return item;
}
