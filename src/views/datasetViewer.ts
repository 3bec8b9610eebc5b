/**
 * The dataset viewer: rows of a file of any size, read-only and a page at a time, by risk or as they stand. It is
 * the editor of Parquet files and of text files that VS Code does not give to extensions.
 */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { setting } from '../common/configuration';
import { Disposable } from '../common/disposable';
import { language } from '../common/language';
import { errorText, type Log } from '../common/log';
import { showError } from '../common/registerCommand';
import type { RowLocation } from '../common/commands';
import type { DatasetFeature } from '../datasets';
import { isAbout, onDidChangeBeside } from '../datasets/besideFile';
import { isJsonLines, isParquet, needsViewer, openViewer, PARQUET_VIEWER, VIEWER } from '../datasets/openDataset';
import { isQuarantine } from '../datasets/quarantineFiles';
import type { RowNote } from '../datasets/rowNotes';
import { readReviewed } from '../datasets/reviewing';
import type { DatasetTable } from '../datasets/table/datasetTable';
import { ClassifierUnavailable } from '../risk/scorer';
import { loadPage } from './page';
import type { FromViewer, RowAction, ToViewer } from './viewerProtocol';

const SEND_MILLISECONDS = 250;
const CHANGE_PAUSE_MS = 500;
/** The hash of what is malformed. */
const NO_ROW = '0'.repeat(16);

export class DatasetViewers extends Disposable implements vscode.CustomReadonlyEditorProvider {
  private readonly open = new Map<string, Set<Viewer>>();

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly datasets: DatasetFeature,
    private readonly log: Log,
  ) {
    super();
    for (const name of [VIEWER, PARQUET_VIEWER]) this.register(vscode.window.registerCustomEditorProvider(name, this, { supportsMultipleEditorsPerDocument: true }));
    this.register(vscode.window.tabGroups.onDidChangeTabs(({ opened }) => opened.forEach(tab => void this.offer(tab))));
    datasets.useViewer(row => this.show(row));
  }

  openCustomDocument(uri: vscode.Uri): vscode.CustomDocument {
    return { uri, dispose: () => undefined };
  }

  resolveCustomEditor({ uri }: vscode.CustomDocument, panel: vscode.WebviewPanel): void {
    if (uri.scheme !== 'file') {
      panel.webview.html = `<!DOCTYPE html><html lang="${language().tag}"><body><p>${l10n.t('Only files on the disk are shown here.')}</p></body></html>`;
      return;
    }
    const viewer = new Viewer(uri, panel, this.extensionUri, this.datasets, this.log);
    const viewers = this.open.get(uri.fsPath) ?? new Set();
    this.open.set(uri.fsPath, viewers.add(viewer));
    panel.onDidDispose(() => {
      viewers.delete(viewer);
      viewer.dispose();
    });
  }

  /** Opens the row's file with the row chosen; says so where the row is no longer there. */
  private async show(row: RowLocation): Promise<void> {
    await openViewer(vscode.Uri.file(row.path));
    const [viewer] = [...(this.open.get(row.path) ?? [])].reverse();
    await viewer?.show(row);
  }

  /** A file whose rows cannot be annotated in a text editor has another editor for that. */
  private async offer({ input }: vscode.Tab): Promise<void> {
    if (!(input instanceof vscode.TabInputText) || !isJsonLines(input.uri.path) || input.uri.scheme !== 'file') return;
    if (!setting('risk.enabled', input.uri) || !(await needsViewer(input.uri.fsPath))) return;
    const name = path.basename(input.uri.fsPath);
    const inViewer = l10n.t('Open in Dataset Viewer');
    const chosen = await vscode.window.showInformationMessage(l10n.t`${name} is too large for its rows to be annotated here: VS Code does not give files beyond 50 MB to extensions.`, inViewer);
    if (chosen === inViewer) await openViewer(input.uri);
  }

  override dispose(): void {
    for (const viewers of this.open.values()) for (const viewer of viewers) viewer.dispose();
    super.dispose();
  }
}

class Viewer extends Disposable {
  private table: DatasetTable | undefined;
  private judging = new AbortController();
  private unavailable: string | undefined;
  /** Why the file cannot be read. */
  private failed: string | undefined;
  private pageIsReady = false;
  private sendTimer: NodeJS.Timeout | undefined;
  private reopenTimer: NodeJS.Timeout | undefined;
  private toShow: RowLocation | undefined;

  constructor(
    private readonly uri: vscode.Uri,
    private readonly panel: vscode.WebviewPanel,
    extensionUri: vscode.Uri,
    private readonly datasets: DatasetFeature,
    private readonly log: Log,
  ) {
    super();
    const { file } = this;
    this.register(
      panel.webview.onDidReceiveMessage((message: FromViewer) => {
        this.receive(message).catch((error: unknown) => {
          this.log.warn(`${file}: ${errorText(error)}`);
          void showError(error);
        });
      }),
    );
    this.register(panel.onDidChangeViewState(() => this.sendSoon()));
    const folder = vscode.Uri.file(path.dirname(file));
    const watcher = this.register(vscode.workspace.createFileSystemWatcher(new vscode.RelativePattern(folder, '*')));
    for (const event of [watcher.onDidChange, watcher.onDidCreate, watcher.onDidDelete]) this.register(event(({ fsPath }) => this.onDisk(fsPath)));
    this.register(onDidChangeBeside(changed => this.onDisk(changed)));
    this.register(datasets.opinions.onDidChange(changed => this.onDisk(changed)));
    this.register(datasets.annotations.onDidChangeNotes(() => this.post({ type: 'notes' })));
    this.register(
      vscode.workspace.onDidChangeConfiguration(change => {
        if (change.affectsConfiguration('safeFinetuning.risk.classifierFolder')) this.reopenSoon();
        else if (change.affectsConfiguration('safeFinetuning.risk.threshold', uri)) void this.configure({ threshold: setting('risk.threshold', uri) });
      }),
    );
    this.register({
      dispose: () => {
        clearTimeout(this.sendTimer);
        clearTimeout(this.reopenTimer);
        this.judging.abort();
        this.table?.dispose();
      },
    });
    loadPage(panel.webview, extensionUri, 'viewer', l10n.t('Dataset Viewer'));
    void this.reopen();
  }

  private get file(): string {
    return this.uri.fsPath;
  }

  private notesOf(hash: string): RowNote[] {
    return this.datasets.annotations.notesOf(this.file, hash);
  }

  async show(row: RowLocation): Promise<void> {
    this.toShow = row;
    if (this.pageIsReady) await this.find();
  }

  private async receive(message: FromViewer): Promise<void> {
    switch (message.type) {
      case 'ready':
        this.pageIsReady = true;
        this.post({ type: 'file', file: { name: path.basename(this.file), move: isQuarantine(this.file) ? 'restore' : 'quarantine', text: !(await needsViewer(this.file)), lines: !isParquet(this.file) } });
        this.send();
        await this.find();
        return;
      case 'page': {
        const { view, first, count } = message;
        const page = await this.ask(table => table.call('page', view, first, count));
        if (page && this.table) this.table.preferred = page.rows.filter(({ risk, state }) => risk === undefined && state === 'ordinary').map(({ record, hash }) => ({ record, hash }));
        if (page) this.post({ type: 'page', view, first, ...page, rows: page.rows.map(row => ({ ...row, labels: this.notesOf(row.hash).flatMap(({ label }) => label ?? []) })) });
        return;
      }
      case 'row': {
        const row = await this.ask(table => table.call('row', message.record));
        if (row) this.post({ type: 'row', row: { ...row, notes: this.notesOf(row.hash).map(note => note.describe()) } });
        return;
      }
      case 'act':
        return this.act(message.action, message.rows.map(row => ({ path: this.file, ...row })));
      case 'quarantineFlagged':
        await vscode.commands.executeCommand('safeFinetuning.quarantineFlagged', { fsPath: this.file });
        return;
      case 'threshold':
        return this.setThreshold(message.threshold);
      case 'tryAgain':
        this.datasets.retryScoring();
        return this.reopen();
      case 'useClassifier':
        return this.datasets.opinions.forget(this.file);
      case 'nameColumns':
        await vscode.commands.executeCommand('safeFinetuning.nameColumns', { fsPath: this.file });
        return;
      default: {
        const unknown: never = message;
        this.log.warn(`The dataset viewer's page sent something unknown: ${JSON.stringify(unknown)}`);
      }
    }
  }

  /** Where the setting is written down already, otherwise for the workspace, if there is one. */
  private async setThreshold(threshold: number): Promise<void> {
    const settings = vscode.workspace.getConfiguration('safeFinetuning', this.uri);
    const { workspaceFolderValue, workspaceValue } = settings.inspect('risk.threshold') ?? {};
    const { Global, Workspace, WorkspaceFolder } = vscode.ConfigurationTarget;
    const inWorkspace = vscode.workspace.getWorkspaceFolder(this.uri) !== undefined;
    const target = workspaceFolderValue !== undefined ? WorkspaceFolder : workspaceValue !== undefined || inWorkspace ? Workspace : Global;
    await settings.update('risk.threshold', threshold, target);
  }

  private async act(action: RowAction, rows: RowLocation[]): Promise<void> {
    const [row] = rows;
    if (action === 'showText' && row) {
      if (row.hash !== NO_ROW) await vscode.commands.executeCommand('safeFinetuning.showRow', row);
      else await vscode.window.showTextDocument(this.uri, { selection: new vscode.Range(row.line - 1, 0, row.line - 1, 0) });
    } else await vscode.commands.executeCommand(`safeFinetuning.${action}`, ...rows);
  }

  /** Reads the file from its beginning; what is known of its rows is in the cache. */
  private async reopen(): Promise<void> {
    this.judging.abort();
    this.judging = new AbortController();
    const { signal } = this.judging;
    this.table?.dispose();
    this.unavailable = undefined;
    this.failed = undefined;
    try {
      const table = await this.datasets.openTable(this.file);
      if (signal.aborted || this.isDisposed) return table.dispose();
      this.table = table;
      table.onDidChange(() => this.sendSoon());
      this.sendSoon();
      void this.find();
      await table.judgeAll(signal);
      await this.datasets.index.setTable(table);
    } catch (error) {
      if (signal.aborted || this.isDisposed) return;
      if (error instanceof ClassifierUnavailable) this.unavailable = error.message;
      else this.failed = errorText(error);
    }
    this.sendSoon();
  }

  private onDisk(changed: string): void {
    if (changed === this.file) this.reopenSoon();
    else if (isAbout(changed, this.file)) {
      if (/\.reviewed\.txt$/.test(changed)) void this.configure({});
      else this.reopenSoon();
    }
  }

  private reopenSoon(): void {
    clearTimeout(this.reopenTimer);
    this.reopenTimer = setTimeout(() => void this.reopen(), CHANGE_PAUSE_MS);
  }

  private async configure(options: { threshold?: number }): Promise<void> {
    await this.ask(async table => {
      const reviewed = [...(await readReviewed(this.file))];
      await table.call('configure', { ...options, reviewed });
      await this.datasets.index.setTable(table);
    });
    this.sendSoon();
  }

  /** Undefined where the file has changed meanwhile: it is read again. */
  private async ask<T>(question: (table: DatasetTable) => Promise<T>): Promise<T | undefined> {
    const { table } = this;
    if (!table) return undefined;
    try {
      return await question(table);
    } catch (error) {
      if (table !== this.table || this.isDisposed || this.failed) return undefined;
      this.log.info(`${this.file}: ${errorText(error)}`);
      this.reopenSoon();
      return undefined;
    }
  }

  private async find(): Promise<void> {
    const row = this.toShow;
    const { table } = this;
    if (!row || !table || !this.pageIsReady) return;
    const position = await table.whenRead().then(() => table.call('find', { filter: 'all', order: 'file' }, row)).catch(() => null);
    if (position === null) return; // it is read again, and then looked for again
    this.toShow = undefined;
    this.post({ type: 'found', position });
    if (position === undefined) void vscode.window.showWarningMessage(l10n.t`The row has been edited or removed since it was recorded. It stood at line ${row.line} of ${path.basename(this.file)}.`);
  }

  private sendSoon(): void {
    if (this.isDisposed) return;
    this.sendTimer ??= setTimeout(() => this.send(), SEND_MILLISECONDS);
  }

  private send(): void {
    clearTimeout(this.sendTimer);
    this.sendTimer = undefined;
    if (!this.pageIsReady || !this.panel.visible) return;
    if (this.failed) return this.post({ type: 'failed', reason: this.failed });
    void this.ask(async table => {
      const summary = await table.call('summary');
      if (table === this.table) this.post({ type: 'summary', summary, unavailable: this.unavailable, otherJudge: this.datasets.opinions.of(this.file)?.judge });
    });
  }

  private post(message: ToViewer): void {
    if (this.pageIsReady) void this.panel.webview.postMessage(message);
  }
}
