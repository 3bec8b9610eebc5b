/**
 * What is known of the workspace's dataset files, open or not: for the tree and the badges. Filled by scanning
 * the workspace and by the annotations of open files; a file that changes on the disk is scanned again.
 */
import path from 'node:path';
import * as vscode from 'vscode';
import { setting } from '../common/configuration';
import { Disposable } from '../common/disposable';
import { errorText } from '../common/log';
import { withProgress, type Report } from '../common/progress';
import { UserError } from '../common/userError';
import { ClassifierUnavailable } from '../risk/scorer';
import { isOfRun, type Annotations } from './annotations';
import { isAbout, onDidChangeBeside } from './besideFile';
import { scanFile, type FileScanServices, type ScannedFile } from './fileScan';
import { EXTENSIONS } from './formats';
import { datasetPath } from './parquet';
import { isQuarantine } from './quarantineFiles';
import type { Reading } from './reading';
import { counted, type FileReport, type FlaggedRow } from './report';

export interface FlaggedItem extends FlaggedRow {
  file: string;
  /** The beginning of the text that the risk is about; undefined behind the riskiest ones. */
  preview: string | undefined;
}

export interface IndexedFile {
  file: string;
  report: FileReport;
  /** The riskiest first. */
  flagged: FlaggedItem[];
}

/** Of a file's flagged rows, so many are shown; the others are in the file. */
export const SHOWN_ROWS = 200;
const PREVIEW_CHARACTERS = 120;
const CHANGE_PAUSE_MS = 500;

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
    private readonly services: FileScanServices,
  ) {
    super();
    this.register(annotations.onDidChange(dataset => this.set(dataset.file, dataset.annotations!.report, dataset.reading!)));
    const watcher = this.register(vscode.workspace.createFileSystemWatcher(`**/*{${EXTENSIONS.join()},.reviewed.txt}`));
    this.register(watcher.onDidDelete(({ fsPath }) => this.onDisk(fsPath)));
    this.register(watcher.onDidChange(({ fsPath }) => this.onDisk(fsPath)));
    this.register(watcher.onDidCreate(({ fsPath }) => this.onDisk(fsPath)));
    this.register(onDidChangeBeside(file => this.onDisk(file)));
    this.register(vscode.workspace.onDidCloseTextDocument(document => this.onDisk(datasetPath(document))));
    this.register(
      vscode.workspace.onDidChangeConfiguration(change => {
        if (change.affectsConfiguration('safeFinetuning.risk')) for (const { file } of this.all) this.scanSoon(file);
      }),
    );
  }

  /** The files with the most flagged rows first. */
  get all(): IndexedFile[] {
    return [...this.files.values()].sort((a, b) => b.flagged.length - a.flagged.length || a.file.localeCompare(b.file));
  }

  get(file: string): IndexedFile | undefined {
    return this.files.get(file);
  }

  /** Scans every file of the workspace that may be a dataset, and says what was found. */
  async scanWorkspace(): Promise<void> {
    if (!vscode.workspace.workspaceFolders?.length) throw new UserError('Open a folder first: its dataset files are scanned.');
    await withProgress('Scanning dataset files', async (signal, report) => {
      const found = await vscode.workspace.findFiles(`**/*{${EXTENSIONS.join()}}`, '**/{node_modules,.git,.venv}/**');
      const uris = found.filter(uri => isCandidate(uri)).sort((a, b) => a.fsPath.localeCompare(b.fsPath));
      const unread: string[] = [];
      for (const { fsPath } of uris) {
        if (signal.aborted) return;
        try {
          const scanned = await this.scan(fsPath, signal, report);
          const partly = scanned && partlyRead(scanned);
          if (partly) unread.push(`${path.basename(fsPath)} (${partly})`);
        } catch (error) {
          if (signal.aborted) return;
          if (error instanceof ClassifierUnavailable) throw new UserError(`Rows stay unscored. ${error.message}`);
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
  private async scan(file: string, signal: AbortSignal, report?: Report): Promise<ScannedFile | undefined> {
    if (this.annotations.isOpen(file)) return undefined;
    this.scanning.add(file);
    try {
      const scanned = await this.read(file, signal, report);
      if (this.annotations.isOpen(file)) return undefined;
      if (scanned) this.set(file, scanned.report, scanned.reading);
      else this.forget(file);
      return scanned;
    } finally {
      this.scanning.delete(file);
    }
  }

  private read(file: string, signal: AbortSignal, report?: Report): Promise<ScannedFile | undefined> {
    const name = path.basename(file);
    const threshold = setting('risk.threshold', vscode.Uri.file(file));
    const onProgress = ({ done, total }: { done: number; total: number }): void => {
      report?.({ message: total > 0 ? `${name}: ${done.toLocaleString('en-US')} of ${counted(total, 'row')}` : name });
    };
    return scanFile(file, this.services, { threshold, onProgress, signal });
  }

  private set(file: string, report: FileReport, { format, records }: Reading): void {
    if (!isCandidate(vscode.Uri.file(file)) || !report.isDataset || !path.isAbsolute(file)) {
      this.forget(file);
      return;
    }
    const flagged = report.flagged.map((row, index): FlaggedItem => {
      const read = index < SHOWN_ROWS ? format.read(records[row.record]!.text) : undefined;
      const text = read && 'row' in read ? read.row.messages[row.messageIndex]?.content : undefined;
      return { ...row, file, preview: text?.slice(0, PREVIEW_CHARACTERS).replace(/\s+/g, ' ') };
    });
    this.files.set(file, { file, report, flagged });
    this.changed.fire(file);
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
    const flagged = all.reduce((sum, { report }) => sum + report.flagged.length, 0);
    const rows = all.reduce((sum, { report }) => sum + report.rows, 0);
    if (all.length === 0 && unread.length === 0) {
      void vscode.window.showInformationMessage('No dataset file was found in this workspace.');
      return;
    }
    const found = `${flagged.toLocaleString('en-US')} of ${counted(rows, 'row')} flagged in ${counted(all.length, 'dataset file')}.`;
    if (unread.length === 0) void vscode.window.showInformationMessage(found);
    else void vscode.window.showWarningMessage(`${found} Not read, or not to the end: ${unread.join(', ')}.`);
  }
}

function partlyRead({ report, part }: ScannedFile): string | undefined {
  if (report.broken) return `from line ${report.broken.place.line + 1} on: ${report.broken.reason}`;
  return part && part.rows < part.total ? `only the first ${part.rows.toLocaleString('en-US')} of ${part.total.toLocaleString('en-US')} rows` : undefined;
}

/** Whether rows of the file could be trained on: neither put aside nor written by a run. */
function isCandidate(uri: vscode.Uri): boolean {
  return !isQuarantine(uri.fsPath) && !isOfRun(uri) && !/(?:\.finetune|dataset_info)\.json$/.test(uri.fsPath) && setting('risk.enabled', uri);
}
