/** The dataset side of the extension: annotations of open dataset files, and what can be done about rows. */
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { isOne } from '../common/language';
import { hundredths, integer } from '../common/format';
import type { RowArguments, RowLocation } from '../common/commands';
import { setting } from '../common/configuration';
import { Disposable } from '../common/disposable';
import { withProgress } from '../common/progress';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import { ScoreCache } from '../risk/cache';
import { Opinions } from '../risk/opinions';
import { Scorer } from '../risk/scorer';
import { Annotations } from './annotations';
import { Badges } from './badges';
import { COLUMN_NAMES_FILE, columnNamesOf } from './columnNames';
import { DatasetIndex } from './datasetIndex';
import { registerHover } from './hover';
import { quarantineRows, restoreRows } from './moving';
import { LOOKED_AT_ROWS, nameColumns } from './nameColumns';
import { locationOf, nextRecord, promptRange, showRow, type Direction } from './navigation';
import { needsViewer, openViewer } from './openDataset';
import { summary, summaryOf, type FileReport } from './report';
import { markReviewed, unmarkReviewed } from './reviewing';
import { registerRowActions } from './rowActions';
import { describeForm } from './rowForms';
import type { RowNotes } from './rowNotes';
import { registerSummaryLens } from './summaryLens';
import type { DatasetTable, TableServices } from './table/datasetTable';
import type { SplitRows } from './table/moveInParquet';
import { openTable, withTable } from './table/openTable';

/** Shows a row of a dataset that has no text document. */
export type ShowInViewer = (row: RowLocation) => Promise<void>;

export interface DatasetLook {
  rows: number;
  malformed: number;
  isDataset: boolean;
  /** In words. */
  form: string | undefined;
  /** Why it cannot be read to its end. */
  broken: string | undefined;
}

export class DatasetFeature extends Disposable {
  readonly index: DatasetIndex;
  readonly opinions: Opinions;
  /** Of open files; also what others than judges know of rows. */
  readonly annotations: Annotations;
  private readonly tables: TableServices;
  private showInViewer: ShowInViewer | undefined;

  /** `splitRows`: how Parquet files are written. */
  constructor(
    { context, log, registerCommand }: Services,
    private readonly splitRows: SplitRows,
  ) {
    super();
    const bundled = context.asAbsolutePath('trainer/safe_finetuning/classifier');
    const scorer = this.register(
      new Scorer({
        workerFile: context.asAbsolutePath('dist/worker.js'),
        folder: () => setting('risk.classifierFolder') || bundled,
        log,
      }),
    );
    const storage = (context.storageUri ?? context.globalStorageUri).fsPath;
    const cache = this.register(new ScoreCache(path.join(storage, 'scores.bin'), log));
    this.opinions = this.register(new Opinions(path.join(storage, 'judged'), log));
    const { opinions } = this;
    this.annotations = this.register(new Annotations({ scorer, cache, opinions, log }));
    const tableWorker = context.asAbsolutePath('dist/tableWorker.js');
    this.tables = { scorer, cache, opinions, log, tableWorker, stalledAfterMs: 60_000, spoolFolder: sweptFolder(path.join(storage, 'rows')) };
    this.index = this.register(new DatasetIndex(this.annotations, this.tables));
    this.register(new Badges(this.index, this.annotations));
    this.register(registerHover(this.annotations));
    this.register(registerRowActions(this.annotations));
    this.register(registerSummaryLens(this.annotations));
    this.register(registerCommand('safeFinetuning.quarantineRow', (...rows) => this.perFile(rows, of => quarantineRows(of, this.splitRows))));
    this.register(registerCommand('safeFinetuning.restoreRow', (...rows) => this.perFile(rows, of => restoreRows(of, this.splitRows))));
    const riskOf = ({ path: file, hash }: RowLocation): number | undefined => opinions.over(file, hash, cache.get(hash))?.risk;
    this.register(registerCommand('safeFinetuning.markReviewed', (...rows) => this.perFile(rows, of => markReviewed(of, riskOf))));
    this.register(registerCommand('safeFinetuning.unmarkReviewed', (...rows) => this.perFile(rows, unmarkReviewed)));
    this.register(registerCommand('safeFinetuning.showRow', row => this.showRow(row)));
    const card = vscode.Uri.file(path.join(bundled, 'CARD.md'));
    this.register(registerCommand('safeFinetuning.showClassifierCard', () => vscode.commands.executeCommand('markdown.showPreview', card)));
    this.register(registerCommand('safeFinetuning.nextFlaggedRow', () => this.goToFlagged('next')));
    this.register(registerCommand('safeFinetuning.previousFlaggedRow', () => this.goToFlagged('previous')));
    this.register(registerCommand('safeFinetuning.scoreFile', file => this.scoreFile(file)));
    this.register(registerCommand('safeFinetuning.nameColumns', file => this.nameColumns(file)));
    this.register(registerCommand('safeFinetuning.useClassifier', ({ fsPath }) => this.opinions.forget(fsPath)));
    this.register(registerCommand('safeFinetuning.openViewer', file => openViewer(this.fileOf(file))));
    this.register(registerCommand('safeFinetuning.scanWorkspace', () => this.index.scanWorkspace()));
    this.register(registerCommand('safeFinetuning.quarantineFlagged', ({ fsPath }) => this.quarantineFlagged(fsPath)));
  }

  /** Shows what others know of the rows beside them. */
  showNotes(notes: RowNotes): void {
    this.annotations.showNotes(notes);
  }

  /** The report of an open file once every row has been dealt with; undefined where rows are not judged. */
  async whenScored(uri: vscode.Uri): Promise<FileReport | undefined> {
    const document = await vscode.workspace.openTextDocument(uri);
    const dataset = this.annotations.get(document);
    await dataset?.settled();
    return dataset?.annotations?.report;
  }

  /** Of a file on the disk, whatever its size. To be disposed of. */
  openTable(file: string): Promise<DatasetTable> {
    return openTable(file, this.tables);
  }

  /** What a file holds, read to its end but not judged. */
  async look(file: string): Promise<DatasetLook> {
    const named = await columnNamesOf(file);
    return withTable(file, this.tables, async table => {
      await table.whenRead();
      const [{ counts, isDataset, broken }, [first]] = await Promise.all([table.call('summary'), table.call('values', 1)]);
      const form = named ? l10n.t`columns named in ${COLUMN_NAMES_FILE}` : first && describeForm(first);
      return { rows: counts.all - counts.malformed, malformed: counts.malformed, isDataset, form, broken: broken?.reason };
    });
  }

  /** Forgets that the classifier did not run. */
  retryScoring(): void {
    this.tables.scorer.retry();
  }

  useViewer(show: ShowInViewer): void {
    this.showInViewer = show;
  }

  private async showRow(row: RowLocation): Promise<void> {
    if (this.showInViewer && (await needsViewer(row.path))) await this.showInViewer(row);
    else await showRow(row);
  }

  private async nameColumns(file: { fsPath: string } | undefined): Promise<void> {
    const { fsPath } = this.fileOf(file);
    const rows = await withTable(fsPath, this.tables, async table => {
      await table.whenRead(LOOKED_AT_ROWS);
      return table.call('values', LOOKED_AT_ROWS);
    });
    await nameColumns(fsPath, rows);
  }

  /** From the cursor on, and from the other end of the file after the last one. */
  private goToFlagged(direction: Direction): void {
    const editor = vscode.window.activeTextEditor;
    const dataset = editor && this.annotations.get(editor.document);
    const report = dataset?.annotations?.report;
    if (!editor || !dataset || !report) throw new UserError(l10n.t('Open a dataset file first; its flagged rows are found from the cursor on.'));
    const { format, records } = dataset.reading!;
    const { active } = editor.selection;
    const within = dataset.rowAt(active)?.record.start ?? active; // of the row that the cursor is in
    const next = nextRecord(report.flagged.map(({ record }) => records[record]!), within, direction);
    if (!next) {
      void vscode.window.setStatusBarMessage(l10n.t`No row is at or above risk ${hundredths(report.threshold)}`, 5000);
      return;
    }
    const range = promptRange(format, next);
    editor.selection = new vscode.Selection(range.start, range.start);
    editor.revealRange(range, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
  }

  private async quarantineFlagged(file: string): Promise<void> {
    const rows = await this.flaggedIn(file);
    if (rows.length > 0) await quarantineRows(rows, this.splitRows);
  }

  /** Every flagged row of a file, open or not. */
  private async flaggedIn(file: string): Promise<RowLocation[]> {
    const open = vscode.workspace.textDocuments.find(document => document.fileName === file);
    const dataset = open && this.annotations.get(open);
    if (dataset?.annotations?.scoring) {
      const isSettled = await withProgress(l10n.t`Scoring ${path.basename(file)}`, () => dataset.settled().then(() => true));
      if (!isSettled) return [];
    }
    const report = dataset?.annotations?.report;
    if (report) return report.flagged.map(row => locationOf(file, row));
    const names = await withProgress(l10n.t`Reading ${path.basename(file)}`, signal =>
      withTable(file, this.tables, async table => {
        await table.judgeAll(signal);
        return table.call('names', { filter: 'flagged', order: 'file' }, Infinity);
      }),
    );
    return (names ?? []).map(name => ({ path: file, ...name }));
  }

  /** Does something with the rows of one file after the other; without rows, with those of the selection. */
  private async perFile(arguments_: RowArguments, act: (rows: readonly RowLocation[]) => Promise<void>): Promise<void> {
    const given = new Set(arguments_.flat().filter(row => row !== undefined && 'hash' in row));
    const rows = given.size > 0 ? [...given] : this.selectedRows();
    for (const file of new Set(rows.map(row => row.path))) await act(rows.filter(row => row.path === file));
  }

  /** Those of the open dataset file that the selection touches; at least one. */
  selectedRows(): RowLocation[] {
    const editor = vscode.window.activeTextEditor;
    const dataset = editor && this.annotations.get(editor.document);
    const selected = dataset?.rowsIn(editor!.selection) ?? [];
    if (editor && editor.document.uri.scheme === 'untitled') throw new UserError(l10n.t('Save the file first: what is done with its rows is written beside it.'));
    if (selected.length === 0) throw new UserError(l10n.t('Put the cursor in a row of a dataset file first, or select rows.'));
    return selected.map(row => locationOf(dataset!.file, row));
  }

  /** The file that a menu names, or the one that is open. */
  private fileOf(file: { fsPath: string } | undefined): vscode.Uri {
    const { input } = vscode.window.tabGroups.activeTabGroup.activeTab ?? {};
    const open = input instanceof vscode.TabInputText || input instanceof vscode.TabInputCustom ? input.uri : undefined;
    const uri = file ? vscode.Uri.file(file.fsPath) : open;
    if (!uri) throw new UserError(l10n.t('Open a dataset file first.'));
    return uri;
  }

  private async scoreFile(file: { fsPath: string } | undefined): Promise<void> {
    const uri = this.fileOf(file);
    if (await needsViewer(uri.fsPath)) {
      await openViewer(uri); // which judges what is not judged
      return;
    }
    const document = await vscode.workspace.openTextDocument(uri);
    await vscode.window.showTextDocument(document);
    const name = path.basename(document.fileName);
    const scored = await withProgress(l10n.t`Scoring ${name}`, async (signal, report) => {
      let reported = 0;
      signal.addEventListener('abort', () => this.annotations.get(document)?.cancelScoring());
      const dataset = await this.annotations.scoreAgain(document, ({ done, total }) => {
        const increment = Math.max(0, (100 * (done - reported)) / Math.max(total, 1));
        report({ message: isOne(total) ? l10n.t`${integer(done)} of ${integer(total)} row` : l10n.t`${integer(done)} of ${integer(total)} rows`, increment });
        reported = Math.max(reported, done);
      });
      return { dataset };
    });
    if (!scored) return;
    const { dataset } = scored;
    if (!dataset) {
      throw new UserError(l10n.t`${name} is no dataset file, or judging rows is switched off for it.`, [
        { title: l10n.t('Open Settings'), command: 'workbench.action.openSettings', arguments: ['safeFinetuning.risk.enabled'] },
      ]);
    }
    const { report, scoring } = dataset.annotations ?? {};
    if (!report || scoring) return;
    if (report.isDataset) void vscode.window.showInformationMessage(`${name}: ${summary(summaryOf(report))}`);
    else {
      throw new UserError(report.notice ?? l10n.t`${name}: fewer than half of its rows are conversations, so it is not read as a dataset.`, [
        { title: l10n.t('Name Its Columns…'), command: 'safeFinetuning.nameColumns', arguments: [{ fsPath: document.fileName }] },
      ]);
    }
  }
}

/** Makes the folder when it is asked for, the first time without what a window that ended at once has left there. */
function sweptFolder(folder: string): () => Promise<string> {
  let sweeping: Promise<void> | undefined;
  return async () => {
    await (sweeping ??= rm(folder, { recursive: true, force: true }).catch(() => undefined)); // another window may use it
    await mkdir(folder, { recursive: true });
    return folder;
  };
}

export function registerDatasets(services: Services, splitRows: SplitRows): DatasetFeature {
  const feature = new DatasetFeature(services, splitRows);
  services.context.subscriptions.push(feature);
  return feature;
}
