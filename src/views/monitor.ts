/** The training monitor in the side bar: sends the current run to its page, carries out what the page asks. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { Disposable, type IDisposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { errorText, type Log } from '../common/log';
import { showError } from '../common/registerCommand';
import { UserError } from '../common/userError';
import type { Run } from '../trainerHost/run';
import type { RunRegistry } from '../trainerHost/runs';
import { wholeRun } from './chartProtocol';
import { batchMessage, otherRun, RunFeed } from './monitorModel';
import { drawnSeries, monitorCommands, type ChecksView, type DrawnSeries, type FromMonitor, type ToMonitor } from './monitorProtocol';
import { LastRiskyRows } from './riskyRows';
import { loadPage } from './page';
import { Sending } from './sending';
import { editSafetyTokensOf } from './editSafetyTokens';
import { showRowOf } from './showRow';
import { WatchedRuns } from './watchedRuns';

/** The runs beside the one that is shown are told of so often. */
const othersMilliseconds = 1000;
/** A list that is read line by line; its rows come from the disk. */
const riskyMilliseconds = 1000;

interface Following {
  run: Run;
  feed: RunFeed<DrawnSeries>;
  risky: LastRiskyRows;
}

export class Monitor extends Disposable implements vscode.WebviewViewProvider {
  static readonly viewId = 'safeFinetuning.monitor';

  private readonly fix = this.register(new Emitter<number>());
  private view: vscode.WebviewView | undefined;
  private pageIsReady = false;
  private readonly sending = this.register(new Sending(() => this.send()));
  private readonly sendingRisky = this.register(new Sending(() => void this.sendRisky(), riskyMilliseconds));
  private following: Following | undefined;
  private readonly watched = this.register(new WatchedRuns(() => this.isLookedAt));
  private subscription: IDisposable | undefined;
  private others = '[]';
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
    const timer = setInterval(() => this.sendOthers(), othersMilliseconds);
    this.register({ dispose: () => clearInterval(timer) });
  }

  /** Shows a preflight's checks above the run; null takes them away. */
  showChecks(checks: ChecksView | null): void {
    this.checks = checks;
    this.post({ type: 'checks', checks });
  }

  /** Shows the rows of a step, once the run is the current one and its steps have been read. */
  showStep(run: Run, step: number): void {
    this.wanted = { run, step };
    this.sending.soon();
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
      view.onDidChangeVisibility(() => {
        this.watched.update();
        this.sending.soon();
      }),
      view.onDidDispose(() => {
        for (const subscription of subscriptions) subscription.dispose();
        this.view = undefined;
        this.pageIsReady = false;
        this.watched.update();
      }),
    ];
    loadPage(view.webview, this.extensionUri, 'monitor', l10n.t('Training Monitor'));
  }

  private async receive(message: FromMonitor): Promise<void> {
    switch (message.type) {
      case 'ready':
        this.pageIsReady = true;
        this.others = '[]';
        this.attach(this.registry.current);
        return;
      case 'command':
        // The page is not trusted to name just any command.
        if (monitorCommands.includes(message.command)) await vscode.commands.executeCommand(message.command);
        return;
      case 'selectStep':
        return this.sendRows(message.step);
      case 'selectRun':
        await vscode.commands.executeCommand('safeFinetuning.selectRun', message.id);
        return;
      case 'showRow':
        return showRowOf(this.following?.run, message.row);
      case 'editSafetyTokens':
        return editSafetyTokensOf(this.following?.run);
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
    this.following?.feed.dispose();
    this.following = run && { run, feed: new RunFeed(run, drawnSeries, wholeRun, () => this.sending.soon()), risky: new LastRiskyRows(run) };
    this.subscription = run?.onDidChange(() => this.sending.soon());
    this.watched.show(run ? [run] : []);
    this.sendAll();
  }

  private sendAll(): void {
    this.post({ type: 'checks', checks: this.checks });
    this.sendOthers();
    if (this.following) this.sending.now();
    else void this.registry.scan().then(() => this.sendEmpty()); // there may be runs that nobody has looked for yet
  }

  private sendEmpty(): void {
    if (!this.following) this.post({ type: 'empty', trusted: vscode.workspace.isTrusted });
  }

  private send(): void {
    if (!this.following || !this.isLookedAt) return;
    const { run, feed } = this.following;
    for (const message of feed.next(Date.now())) this.post(message);
    this.sendingRisky.soon();
    if (this.wanted?.run === run && !feed.isBehind && run.state.series.indexOf(this.wanted.step) >= 0) {
      this.post({ type: 'select', step: this.wanted.step });
      this.wanted = undefined;
    }
  }

  private async sendRisky(): Promise<void> {
    const { following } = this;
    if (!following || !this.isLookedAt) return;
    try {
      const message = await following.risky.next();
      if (message && following === this.following) this.post(message);
    } catch (error) {
      this.log.warn(`The last risky rows cannot be read: ${errorText(error)}`); // the next step tries again
    }
  }

  private sendOthers(): void {
    if (!this.isLookedAt) return;
    const runs = this.registry.activeOnes.filter(run => run !== this.registry.current).map(otherRun);
    const stamp = JSON.stringify(runs);
    if (stamp === this.others) return;
    this.others = stamp;
    this.post({ type: 'others', runs });
  }

  private async sendRows(step: number): Promise<void> {
    const run = this.following?.run;
    if (!run) return;
    const rows = await run.rowsOf(step).catch((error: unknown) => {
      throw new UserError(l10n.t`The rows of step ${step} cannot be read: ${errorText(error)}`);
    });
    this.post(batchMessage(run, step, rows));
  }

  /** A page that is hidden has ended: the one that comes instead asks for everything. */
  private get isLookedAt(): boolean {
    return this.pageIsReady && !!this.view?.visible;
  }

  private post(message: ToMonitor): void {
    if (this.isLookedAt) void this.view?.webview.postMessage(message);
  }

  override dispose(): void {
    this.subscription?.dispose();
    super.dispose();
  }
}
