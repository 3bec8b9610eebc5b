/** The run panel: an editor tab for a run, as many as one likes, there again when the window is loaded anew. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { Disposable, type IDisposable } from '../common/disposable';
import { errorText, type Log } from '../common/log';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import type { Run } from '../trainerHost/run';
import type { RunRegistry } from '../trainerHost/runs';
import { asLook, wholeRun } from './chartProtocol';
import { runLabel } from './describe';
import { saveCsv, savePicture } from './exportChart';
import { batchMessage, fileNames, rangeOf, RunFeed, thresholdOf } from './monitorModel';
import { monitorCommands } from './monitorProtocol';
import { PanelPage } from './panelPage';
import { PanelTabs } from './panelTabs';
import { panelSeries, type FromPanel, type PanelSeries, type PanelState, type ToPanel } from './panelProtocol';
import { aggregateRows, likelihoodWeight } from './rangeRows';
import { RiskMapFeed } from './riskMapFeed';
import { needRun } from './runsTree';
import { riskLines, seriesLines, stepsIn } from './seriesLines';
import { editSafetyTokensOf } from './editSafetyTokens';
import { showRowOf } from './showRow';

const mostStepsRead = 2000;
const mostRowsListed = 200;

export class RunPanels extends Disposable {
  constructor({ context, log, registerCommand }: Services, registry: RunRegistry) {
    super();
    const tabs = this.register(
      new PanelTabs<PanelState>(
        {
          viewType: 'safeFinetuning.runPanel',
          foldersOf: state => (typeof state?.folder === 'string' ? [state.folder] : undefined),
          fill: (panel, [folder]) => new RunPanel(folder!, panel, context.extensionUri, registry, log),
        },
        registry,
      ),
    );
    this.register(
      registerCommand('safeFinetuning.openRunPanel', async item => {
        if (!item && !registry.current) await registry.scan();
        const run = needRun(item ? registry.byId(item.runId) : registry.current);
        tabs.show([run.folder], runLabel(run));
      }),
    );
  }
}

class RunPanel extends PanelPage<FromPanel, ToPanel> {
  private run: Run | undefined;
  private subscriptions: IDisposable[] = [];
  private look = wholeRun;
  private feed: RunFeed<PanelSeries> | undefined;
  private risks: RiskMapFeed | undefined;

  constructor(
    private readonly folder: string,
    panel: vscode.WebviewPanel,
    extensionUri: vscode.Uri,
    private readonly registry: RunRegistry,
    log: Log,
  ) {
    super(panel, extensionUri, 'panel', log);
    this.register(registry.onDidChange(() => this.attach()));
    this.register({ dispose: () => this.detach() });
    this.register({ dispose: () => this.feed?.dispose() });
    this.register({ dispose: () => this.risks?.dispose() });
    this.attach();
  }

  /** The run may go, and come back. */
  private attach(): void {
    const run = this.registry.inFolder(this.folder);
    if (run === this.run) return;
    this.detach();
    this.run = run;
    if (run) this.subscriptions = [run.hold(), run.onDidChange(() => this.sending.soon())];
    this.watched.show(run ? [run] : []);
    this.startAgain();
  }

  private detach(): void {
    for (const subscription of this.subscriptions.splice(0)) subscription.dispose();
  }

  private startAgain(): void {
    this.feed?.dispose();
    this.feed = this.run && new RunFeed(this.run, panelSeries, this.look, () => this.sending.soon());
    this.mapRisks();
    this.sending.soon();
  }

  private mapRisks(): void {
    this.risks?.dispose();
    this.risks = new RiskMapFeed(() => this.sending.soon());
  }

  protected async receive(message: FromPanel): Promise<void> {
    switch (message.type) {
      case 'ready':
        this.look = asLook(message.look);
        this.startAgain();
        return this.begin({ type: 'panel', folder: this.folder });
      case 'look':
        this.look = asLook(message.look);
        this.feed?.lookAt(this.look);
        this.mapRisks();
        return this.sending.soon();
      case 'command':
        // Commands are about the run that is shown, which from now on is this one.
        if (this.run) this.registry.select(this.run);
        if (monitorCommands.includes(message.command)) await vscode.commands.executeCommand(message.command);
        return;
      case 'selectStep':
        return this.sendRows(message.step);
      case 'selectRange':
        return this.sendRange(message.from, message.to);
      case 'showRow':
        return showRowOf(this.run, message.row);
      case 'editSafetyTokens':
        return editSafetyTokensOf(this.run);
      case 'export':
        return this.export(message);
      case 'picture':
        return this.run && savePicture(`${this.run.id} ${message.title}`, message.svg);
      default: {
        const unknown: never = message;
        throw new Error(`The run panel's page sent something unknown: ${JSON.stringify(unknown)}`);
      }
    }
  }

  protected send(): void {
    const { run, feed, folder } = this;
    if (!run || !feed) return this.post({ type: 'gone', folder });
    this.panel.title = runLabel(run);
    for (const message of feed.next(Date.now())) this.post(message);
    const map = this.risks?.next(run.state, rangeOf(run.state.series, this.look));
    if (map) this.post({ type: 'risks', map, threshold: thresholdOf(run) });
  }

  private async sendRows(step: number): Promise<void> {
    const { run } = this;
    if (!run) return;
    const rows = await run.rowsOf(step).catch((error: unknown) => {
      throw new UserError(l10n.t`The rows of step ${step} cannot be read: ${errorText(error)}`);
    });
    this.post(batchMessage(run, step, rows));
  }

  private async sendRange(from: number, to: number): Promise<void> {
    const { run } = this;
    if (!run) return;
    const { steps, read } = await run.rowsBetween(from, to, mostStepsRead).catch((error: unknown) => {
      throw new UserError(l10n.t`The rows of steps ${from} to ${to} cannot be read: ${errorText(error)}`);
    });
    const rows = aggregateRows(read, likelihoodWeight(run.record?.config));
    const listed = rows.slice(0, mostRowsListed);
    const others = rows.length - listed.length;
    this.post({ type: 'rangeRows', from, to, steps, stepsRead: read.length, files: fileNames(run), threshold: thresholdOf(run), rows: listed, others });
  }

  private async export({ title, columns, range }: Extract<FromPanel, { type: 'export' }>): Promise<void> {
    const { run } = this;
    if (!run) return;
    const { series } = run.state;
    const steps = stepsIn(series, { axis: 'step', range });
    const lines = columns.kind === 'risks' ? riskLines(series, steps) : seriesLines(series, columns.names.filter(name => panelSeries.includes(name)), steps);
    await saveCsv(`${run.id} ${title}`, lines);
  }
}
