/**
 * What is known of the workspace's dataset files, open or not: for the tree and the badges. Filled by scanning
 * the workspace and by the annotations of open files; a file that changes on the disk is scanned again.
 */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { isOne } from '../common/language';
import { integer } from '../common/format';
import type { RowLocation } from '../common/commands';
import { setting } from '../common/configuration';
import { Disposable, type IDisposable } from '../common/disposable';
import { errorText } from '../common/log';
import { withProgress, type Report } from '../common/progress';
import { UserError } from '../common/userError';
import { ClassifierUnavailable } from '../risk/scorer';
import { isOfRun, type Annotations } from './annotations';
import { isAbout, onDidChangeBeside } from './besideFile';
import { EXTENSIONS } from './formats';
import { isQuarantine } from './quarantineFiles';
import type { Reading } from './reading';
import { summaryOf, type FileReport, type FileSummary } from './report';
import type { DatasetTable, TableServices } from './table/datasetTable';
import { fileSummary, withTable } from './table/openTable';

export interface FlaggedItem extends RowLocation {
  risk: number;
  /** The beginning of the text that the risk is about. */
  preview: string;
}

export interface IndexedFile {
  file: string;
  summary: FileSummary;
  /** The riskiest rows, at most SHOWN_ROWS of them. */
  riskiest: FlaggedItem[];
}

/** Of a file's flagged rows, so many are shown; the others are in the file. */
export const SHOWN_ROWS = 200;
const PREVIEW_CHARACTERS = 120;
const CHANGE_PAUSE_MS = 500;
const PROGRESS_MS = 300;

export class DatasetIndex extends Disposable {
  private readonly files = new Map<string, IndexedFile>();
  private readonly changed = this.register(new vscode.EventEmitter<string>());
  /** The file of which something else is known now. */
  readonly onDidChange = this.changed.event;
  private readonly pending = new Map<string, NodeJS.Timeout>();
  private readonly scanning = new Set<string>();
  private readonly closing = new AbortController();

  constructor(
    private readonly annotations: Annotations,
    private readonly services: TableServices,
  ) {
    super();
    this.register(annotations.onDidChange(dataset => this.setOpen(dataset.file, dataset.annotations!.report, dataset.reading!)));
    const watcher = this.register(vscode.workspace.createFileSystemWatcher(`**/*{${EXTENSIONS.join()},.reviewed.txt}`));
    this.register(watcher.onDidDelete(({ fsPath }) => this.onDisk(fsPath)));
    this.register(watcher.onDidChange(({ fsPath }) => this.onDisk(fsPath)));
    this.register(watcher.onDidCreate(({ fsPath }) => this.onDisk(fsPath)));
    this.register(onDidChangeBeside(file => this.onDisk(file)));
    this.register(services.opinions.onDidChange(file => this.onDisk(file)));
    this.register(vscode.workspace.onDidCloseTextDocument(document => this.onDisk(document.fileName)));
    this.register(
      vscode.workspace.onDidChangeConfiguration(change => {
        if (change.affectsConfiguration('safeFinetuning.risk')) for (const { file } of this.all) this.scanSoon(file);
      }),
    );
  }

  /** The files with the most flagged rows first. */
  get all(): IndexedFile[] {
    return [...this.files.values()].sort((a, b) => b.summary.flagged - a.summary.flagged || a.file.localeCompare(b.file));
  }

  get(file: string): IndexedFile | undefined {
    return this.files.get(file);
  }

  /** Scans every file of the workspace that may be a dataset, and says what was found. */
  async scanWorkspace(): Promise<void> {
    if (!vscode.workspace.workspaceFolders?.length) throw new UserError(l10n.t('Open a folder first: its dataset files are scanned.'));
    await withProgress(l10n.t('Scanning dataset files'), async (signal, report) => {
      const found = await vscode.workspace.findFiles(`**/*{${EXTENSIONS.join()}}`, '**/{node_modules,.git,.venv}/**');
      const uris = found.filter(uri => isCandidate(uri)).sort((a, b) => a.fsPath.localeCompare(b.fsPath));
      const unread: string[] = [];
      for (const { fsPath } of uris) {
        if (signal.aborted) return;
        try {
          const scanned = await this.scan(fsPath, signal, report);
          if (scanned?.broken) unread.push(l10n.t`${path.basename(fsPath)} (from line ${scanned.broken.place.line + 1} on: ${scanned.broken.reason})`);
        } catch (error) {
          if (signal.aborted) return;
          if (error instanceof ClassifierUnavailable) throw new UserError(l10n.t`Rows stay unscored. ${error.message}`);
          unread.push(`${path.basename(fsPath)} (${errorText(error)})`);
        }
        report({ increment: 100 / uris.length });
      }
      this.sayWhatWasFound(unread);
    });
  }

  override dispose(): void {
    this.closing.abort();
    this.pending.forEach(timer => clearTimeout(timer));
    super.dispose();
  }

  /** Of what is open, its document says what is in it. */
  private async scan(file: string, signal: AbortSignal, report?: Report): Promise<FileSummary | undefined> {
    if (this.annotations.isOpen(file)) return undefined;
    this.scanning.add(file);
    try {
      return await withTable(file, this.services, async table => {
        const shown = report && showProgress(table, report);
        await table.judgeAll(signal);
        shown?.dispose();
        return this.annotations.isOpen(file) ? undefined : this.setTable(table);
      });
    } finally {
      this.scanning.delete(file);
    }
  }

  /** What a table knows of its file; undefined where that is no dataset. */
  async setTable(table: DatasetTable): Promise<FileSummary | undefined> {
    const { file } = table;
    const summary = await table.call('summary');
    if (!summary.isDataset || !isCandidate(vscode.Uri.file(file))) {
      this.forget(file);
      return undefined;
    }
    const { rows } = await table.call('page', { filter: 'flagged', order: 'risk' }, 0, SHOWN_ROWS);
    const riskiest = rows.map(({ line, hash, risk, prompt, answer }): FlaggedItem => ({ path: file, line, hash, risk: risk!, preview: prompt || answer }));
    this.set({ file, summary: fileSummary(summary), riskiest });
    return fileSummary(summary);
  }

  private setOpen(file: string, report: FileReport, { format, records }: Reading): void {
    if (!report.isDataset || !path.isAbsolute(file) || !isCandidate(vscode.Uri.file(file))) {
      this.forget(file);
      return;
    }
    const riskiest = report.flagged.slice(0, SHOWN_ROWS).map(({ record, line, hash, risk, messageIndex }): FlaggedItem => {
      const read = format.read(records[record]!.text);
      const { messages } = 'row' in read ? read.row : { messages: [] };
      const text = (messages[messageIndex] ?? messages.find(({ role }) => role !== 'system'))?.content ?? '';
      return { path: file, line: line + 1, hash, risk, preview: text.slice(0, PREVIEW_CHARACTERS).replace(/\s+/g, ' ') };
    });
    this.set({ file, summary: summaryOf(report), riskiest });
  }

  private set(known: IndexedFile): void {
    this.files.set(known.file, known);
    this.changed.fire(known.file);
  }

  private forget(file: string): void {
    if (this.files.delete(file)) this.changed.fire(file);
  }

  /** Files that nobody asked about are left alone. */
  private onDisk(changed: string): void {
    for (const file of new Set([...this.files.keys(), ...this.scanning])) {
      if (changed === file || isAbout(changed, file)) this.scanSoon(file);
    }
  }

  private scanSoon(file: string): void {
    clearTimeout(this.pending.get(file));
    const timer = setTimeout(() => {
      this.pending.delete(file);
      this.scan(file, this.closing.signal).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.services.log.warn(`${file}: ${errorText(error)}`);
        this.forget(file);
      });
    }, CHANGE_PAUSE_MS);
    this.pending.set(file, timer);
  }

  private sayWhatWasFound(unread: string[]): void {
    const { all } = this;
    const flagged = all.reduce((sum, { summary }) => sum + summary.flagged, 0);
    const rows = all.reduce((sum, { summary }) => sum + summary.rows, 0);
    if (all.length === 0 && unread.length === 0) {
      void vscode.window.showInformationMessage(l10n.t('No dataset file was found in this workspace.'));
      return;
    }
    const found = foundText(integer(flagged), rows, all.length);
    if (unread.length === 0) void vscode.window.showInformationMessage(found);
    else void vscode.window.showWarningMessage(l10n.t`${found} Not read, or not to the end: ${unread.join(', ')}.`);
  }
}

function foundText(flagged: string, rows: number, files: number): string {
  if (isOne(files)) {
    return isOne(rows)
      ? l10n.t`${flagged} of ${integer(rows)} row flagged in ${integer(files)} dataset file.`
      : l10n.t`${flagged} of ${integer(rows)} rows flagged in ${integer(files)} dataset file.`;
  }
  return isOne(rows)
    ? l10n.t`${flagged} of ${integer(rows)} row flagged in ${integer(files)} dataset files.`
    : l10n.t`${flagged} of ${integer(rows)} rows flagged in ${integer(files)} dataset files.`;
}

function showProgress(table: DatasetTable, report: Report): IDisposable {
  const name = path.basename(table.file);
  let saidAt = 0;
  return table.onDidChange(() => {
    if (performance.now() - saidAt < PROGRESS_MS) return;
    saidAt = performance.now();
    table.call('summary').then(
      ({ counts, read }) => {
        const rows = counts.all - counts.malformed;
        const judged = integer(rows - counts.unjudged);
        const message = isOne(rows) ? l10n.t`${name}: ${judged} of ${integer(rows)} row` : l10n.t`${name}: ${judged} of ${integer(rows)} rows`;
        report({ message: read < 1 ? l10n.t`${name}: ${Math.round(100 * read)} % read` : message });
      },
      () => undefined, // the table says itself why it ended
    );
  });
}

/** Whether rows of the file could be trained on: neither put aside nor written by a run. */
function isCandidate(uri: vscode.Uri): boolean {
  return !isQuarantine(uri.fsPath) && !isOfRun(uri) && !/(?:\.finetune|dataset_info)\.json$/.test(uri.fsPath) && setting('risk.enabled', uri);
}
