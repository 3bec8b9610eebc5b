/** Two or more runs over each other, in an editor tab. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { Disposable, type IDisposable } from '../common/disposable';
import type { Log } from '../common/log';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import type { Run } from '../trainerHost/run';
import type { RunRegistry } from '../trainerHost/runs';
import { asLook, wholeRun, type Look } from './chartProtocol';
import { comparedSeries, mostRuns, type ComparedSeries, type CompareState, type FromCompare, type ToCompare } from './compareProtocol';
import { runsMessage } from './compareModel';
import type { Cell } from './csv';
import { runLabel, statusWord } from './describe';
import { saveCsv, savePicture } from './exportChart';
import { SeriesFeed } from './monitorModel';
import { PanelPage } from './panelPage';
import { PanelTabs } from './panelTabs';
import { readable, stepsIn } from './seriesLines';

export class ComparePanels extends Disposable {
  private readonly tabs: PanelTabs<CompareState>;

  constructor(
    { context, log, registerCommand }: Services,
    private readonly registry: RunRegistry,
  ) {
    super();
    this.tabs = this.register(
      new PanelTabs<CompareState>(
        {
          viewType: 'safeFinetuning.compareRuns',
          foldersOf: state => (Array.isArray(state?.folders) && state.folders.length > 1 ? state.folders.slice(0, mostRuns) : undefined),
          fill: (panel, folders) => new ComparePanel(folders, panel, context.extensionUri, registry, log),
        },
        registry,
      ),
    );
    this.register(
      registerCommand('safeFinetuning.compareRuns', async (item, selected) => {
        const chosen = selected && selected.length > 1 ? selected.flatMap(({ runId }) => registry.byId(runId) ?? []) : await this.pick(item?.runId);
        if (chosen) this.show(chosen);
      }),
    );
  }

  private async pick(already: string | undefined): Promise<Run[] | undefined> {
    await this.registry.scan();
    const { runs } = this.registry;
    if (runs.length < 2) {
      throw new UserError(l10n.t('There are no two runs to compare yet.'), [{ title: l10n.t('Start Run'), command: 'safeFinetuning.startRun' }]);
    }
    const items = runs.map(run => ({ label: runLabel(run), description: statusWord(run.status), detail: run.id, picked: run.id === already, run }));
    const picked = await vscode.window.showQuickPick(items, {
      title: l10n.t('Compare Runs'),
      placeHolder: l10n.t`Two to ${mostRuns} runs`,
      canPickMany: true,
      matchOnDetail: true,
    });
    return picked?.map(({ run }) => run);
  }

  private show(runs: readonly Run[]): void {
    if (runs.length < 2 || runs.length > mostRuns) {
      throw new UserError(l10n.t`${runs.length} runs were chosen; two to ${mostRuns} can be compared.`, [{ title: l10n.t('Choose Again'), command: 'safeFinetuning.compareRuns' }]);
    }
    const folders = runs.map(({ folder }) => folder);
    this.tabs.show(folders, l10n.t`Compare ${runs.length} Runs`);
  }
}

class ComparePanel extends PanelPage<FromCompare, ToCompare> {
  private runs: (Run | undefined)[] = [];
  private subscriptions: IDisposable[] = [];
  private look = wholeRun;
  private feeds: SeriesFeed<ComparedSeries>[] = [];
  private told = '';

  constructor(
    private readonly folders: readonly string[],
    panel: vscode.WebviewPanel,
    extensionUri: vscode.Uri,
    private readonly registry: RunRegistry,
    log: Log,
  ) {
    super(panel, extensionUri, 'compare', log);
    this.register(registry.onDidChange(() => this.attach()));
    this.register({ dispose: () => this.detach() });
    this.register({ dispose: () => this.endFeeds() });
    this.attach();
  }

  /** Runs may go, and come back. */
  private attach(): void {
    const runs = this.folders.map(folder => this.registry.inFolder(folder));
    if (runs.length === this.runs.length && runs.every((run, index) => run === this.runs[index])) return;
    this.detach();
    this.runs = runs;
    for (const run of runs) {
      if (run) this.subscriptions.push(run.hold(), run.onDidChange(() => this.sending.soon()));
    }
    this.watched.show(runs.filter(run => run !== undefined));
    this.startAgain();
  }

  private detach(): void {
    for (const subscription of this.subscriptions.splice(0)) subscription.dispose();
  }

  private startAgain(): void {
    this.endFeeds();
    this.feeds = this.runs.map(() => new SeriesFeed(comparedSeries, this.look, () => this.sending.soon()));
    this.sending.soon();
  }

  private endFeeds(): void {
    for (const feed of this.feeds.splice(0)) feed.dispose();
  }

  protected async receive(message: FromCompare): Promise<void> {
    switch (message.type) {
      case 'ready':
        this.told = '';
        this.look = asLook(message.look);
        this.startAgain();
        return this.begin();
      case 'look':
        this.look = asLook(message.look);
        this.feeds.forEach(feed => feed.lookAt(this.look));
        return this.sending.soon();
      case 'openPanel': {
        const run = this.runs[message.run];
        if (run) await vscode.commands.executeCommand('safeFinetuning.openRunPanel', { runId: run.id });
        return;
      }
      case 'export':
        if (comparedSeries.includes(message.name)) await saveCsv(l10n.t`compared ${message.title}`, this.lines(message.name, asLook(message.look)));
        return;
      case 'picture':
        return savePicture(l10n.t`compared ${message.title}`, message.svg);
      default: {
        const unknown: never = message;
        throw new Error(`The page that compares runs sent something unknown: ${JSON.stringify(unknown)}`);
      }
    }
  }

  protected send(): void {
    const runs = runsMessage(this.folders, this.runs);
    const told = JSON.stringify(runs);
    if (told !== this.told) this.post(runs);
    this.told = told;
    this.runs.forEach((run, index) => {
      const series = run && this.feeds[index]?.next(run.state);
      if (series) this.post({ ...series, run: index });
    });
  }

  private *lines(name: ComparedSeries, look: Look): Generator<Cell[]> {
    yield ['run', 'step', 'epoch', 'seconds', name];
    for (const run of this.runs) {
      if (!run) continue;
      const { series } = run.state;
      const { from, to } = stepsIn(series, look);
      for (let index = from; index < to; index++) {
        yield [run.name, series.at('step', index), readable(series.at('epoch', index)), series.at('time', index) / 1000, readable(series.at(name, index))];
      }
    }
  }
}
