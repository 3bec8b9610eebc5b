/** The training monitor in the side bar: sends the current run to its page, carries out what the page asks. */
import * as vscode from 'vscode';
import { Disposable, type IDisposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { errorText, type Log } from '../common/log';
import { showError } from '../common/registerCommand';
import { UserError } from '../common/userError';
import type { Run } from '../trainerHost/run';
import type { RunRegistry } from '../trainerHost/runs';
import { batchRows, detailsStamp, detailsView, fileNames, runView, SeriesFeed } from './monitorModel';
import { monitorCommands, type ChecksView, type FromMonitor, type ToMonitor } from './monitorProtocol';
import { loadPage } from './page';

const sendMilliseconds = 100;

export class Monitor extends Disposable implements vscode.WebviewViewProvider {
  static readonly viewId = 'safeFinetuning.monitor';

  private readonly fix = this.register(new Emitter<number>());
  private view: vscode.WebviewView | undefined;
  private pageIsReady = false;
  private sendTimer: NodeJS.Timeout | undefined;
  private lastSent = 0;
  private following: { run: Run; feed: SeriesFeed; details: string } | undefined;
  private subscription: IDisposable | undefined;
  private checks: ChecksView | null = null;
  /** To be shown as soon as the page has the steps. */
  private wanted: { run: Run; step: number } | undefined;

  /** The user wants the check of this index mended. */
  readonly onDidAskForFix = this.fix.event;

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly registry: RunRegistry,
    private readonly log: Log,
  ) {
    super();
    this.register(vscode.window.registerWebviewViewProvider(Monitor.viewId, this));
    this.register(registry.onDidChangeCurrent(run => this.attach(run)));
    this.register(vscode.workspace.onDidGrantWorkspaceTrust(() => this.sendAll()));
    this.register({ dispose: () => clearTimeout(this.sendTimer) });
  }

  /** Shows a preflight's checks above the run; null takes them away. */
  showChecks(checks: ChecksView | null): void {
    this.checks = checks;
    this.post({ type: 'checks', checks });
  }

  /** Shows the rows of a step, once the run is the current one and its steps have been read. */
  showStep(run: Run, step: number): void {
    this.wanted = { run, step };
    this.sendSoon();
  }

  resolveWebviewView(view: vscode.WebviewView): void {
    this.view = view;
    this.pageIsReady = false;
    const subscriptions = [
      view.webview.onDidReceiveMessage((message: FromMonitor) => {
        this.receive(message).catch((error: unknown) => {
          this.log.warn(errorText(error));
          void showError(error);
        });
      }),
      view.onDidChangeVisibility(() => this.sendSoon()),
      view.onDidDispose(() => {
        for (const subscription of subscriptions) subscription.dispose();
        this.view = undefined;
        this.pageIsReady = false;
      }),
    ];
    loadPage(view.webview, this.extensionUri, 'monitor', 'Training Monitor');
  }

  private async receive(message: FromMonitor): Promise<void> {
    switch (message.type) {
      case 'ready':
        this.pageIsReady = true;
        this.attach(this.registry.current);
        return;
      case 'command':
        // The page is not trusted to name just any command.
        if (monitorCommands.includes(message.command)) await vscode.commands.executeCommand(message.command);
        return;
      case 'selectStep':
        return this.sendRows(message.step);
      case 'showRow': {
        const file = this.following?.run.record?.datasets[message.row.file];
        if (file) {
          const { line, hash } = message.row;
          await vscode.commands.executeCommand('safeFinetuning.showRow', { path: file.path, line, hash });
        }
        return;
      }
      case 'fix':
        return this.fix.fire(message.check);
      case 'dismissChecks':
        return this.showChecks(null);
      case 'manageTrust':
        await vscode.commands.executeCommand('workbench.trust.manage');
        return;
      default: {
        const unknown: never = message;
        this.log.warn(`The monitor's page sent something unknown: ${JSON.stringify(unknown)}`);
      }
    }
  }

  private attach(run: Run | undefined): void {
    this.subscription?.dispose();
    this.following = run && { run, feed: new SeriesFeed(), details: '' };
    this.subscription = run?.onDidChange(() => this.sendSoon());
    this.sendAll();
  }

  private sendAll(): void {
    this.post({ type: 'checks', checks: this.checks });
    if (this.following) this.send();
    else void this.registry.scan().then(() => this.sendEmpty()); // there may be runs that nobody has looked for yet
  }

  private sendEmpty(): void {
    if (!this.following) this.post({ type: 'empty', trusted: vscode.workspace.isTrusted });
  }

  /** At once when the last time is long ago, otherwise as soon as the rate allows. */
  private sendSoon(): void {
    if (this.sendTimer) return;
    const wait = Math.max(0, this.lastSent + sendMilliseconds - Date.now());
    this.sendTimer = setTimeout(() => this.send(), wait);
  }

  private send(): void {
    clearTimeout(this.sendTimer);
    this.sendTimer = undefined;
    const following = this.following;
    if (!following || !this.pageIsReady || !this.view?.visible) return;
    this.lastSent = Date.now();
    const { run, feed } = following;
    this.post({ type: 'run', run: runView(run, Date.now()) });
    const details = detailsStamp(run);
    if (details !== following.details) {
      following.details = details;
      this.post({ type: 'details', details: detailsView(run) });
    }
    const series = feed.next(run.state);
    if (series) this.post({ type: 'series', ...series });
    if (this.wanted?.run === run && run.state.series.indexOf(this.wanted.step) >= 0) {
      this.post({ type: 'select', step: this.wanted.step });
      this.wanted = undefined;
    }
  }

  private async sendRows(step: number): Promise<void> {
    const run = this.following?.run;
    if (!run) return;
    const rows = await run.rowsOf(step).catch((error: unknown) => {
      throw new UserError(`The rows of step ${step} cannot be read: ${errorText(error)}`);
    });
    const threshold = run.record?.config?.risk.threshold ?? 0.5;
    this.post({ type: 'rows', step, files: fileNames(run), threshold, rows: rows ? batchRows(rows) : null });
  }

  private post(message: ToMonitor): void {
    if (this.pageIsReady) void this.view?.webview.postMessage(message);
  }

  override dispose(): void {
    this.subscription?.dispose();
    super.dispose();
  }
}
