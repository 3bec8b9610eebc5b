/** The list of runs, newest first. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { decimal, integer, percent } from '../common/format';
import { isOne, language } from '../common/language';
import { Disposable } from '../common/disposable';
import { UserError } from '../common/userError';
import type { Run } from '../trainerHost/run';
import { isActive, type RunStatus } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { methodOf, outcomeText, runLabel, statusIcon, statusWord } from './describe';
import { fileNames } from './monitorModel';

/** What the tree's menus pass to commands. */
export interface RunItem {
  runId: string;
}

const colours: Partial<Record<RunStatus, string>> = {
  completed: 'testing.iconPassed',
  failed: 'testing.iconFailed',
  lost: 'testing.iconErrored',
  running: 'progressBar.background',
  starting: 'progressBar.background',
};

/** Runs that lie further back. */
interface OlderItem {
  /** Of the list, newest first. */
  from: number;
}

/** More at a time would be slow to list, and nobody reads them. */
const listedRuns = 200;
const olderRuns = 500;

export class RunsTree extends Disposable implements vscode.TreeDataProvider<RunItem | OlderItem> {
  private readonly changed = this.register(new vscode.EventEmitter<void>());
  readonly onDidChangeTreeData = this.changed.event;

  constructor(private readonly registry: RunRegistry) {
    super();
    this.register(vscode.window.createTreeView('safeFinetuning.runs', { treeDataProvider: this, canSelectMany: true }));
    this.register(registry.onDidChange(() => this.changed.fire()));
  }

  getChildren(older?: RunItem | OlderItem): (RunItem | OlderItem)[] {
    const { runs } = this.registry;
    const itemsOf = (from: number, to: number): RunItem[] => runs.slice(from, to).map(run => ({ runId: run.id }));
    if (older) return 'from' in older ? itemsOf(older.from, older.from + olderRuns) : [];
    const groups = Array.from({ length: Math.max(0, Math.ceil((runs.length - listedRuns) / olderRuns)) }, (_, index) => ({ from: listedRuns + index * olderRuns }));
    return [...itemsOf(0, listedRuns), ...groups];
  }

  getTreeItem(element: RunItem | OlderItem): vscode.TreeItem | Promise<vscode.TreeItem> {
    return 'from' in element ? this.olderItem(element) : this.runItem(element);
  }

  private olderItem({ from }: OlderItem): vscode.TreeItem {
    const runs = this.registry.runs.slice(from, from + olderRuns);
    const [newest, oldest] = [runs[0], runs.at(-1)].map(run => when(run?.startedAt ?? 0));
    const item = new vscode.TreeItem(newest === oldest ? `${newest}` : `${oldest} – ${newest}`, vscode.TreeItemCollapsibleState.Collapsed);
    item.id = `older than ${from}`;
    item.description = isOne(runs.length) ? l10n.t`${integer(runs.length)} older run` : l10n.t`${integer(runs.length)} older runs`;
    item.iconPath = new vscode.ThemeIcon('history');
    item.accessibilityInformation = { label: `${item.description}, ${oldest} – ${newest}` };
    return item;
  }

  private async runItem({ runId }: RunItem): Promise<vscode.TreeItem> {
    const item = new vscode.TreeItem(runId);
    const run = this.registry.byId(runId);
    if (!run) return item;
    item.id = runId;
    item.label = runLabel(run);
    const tags = run.meta.tags?.map(tag => `#${tag} `).join('') ?? '';
    const { attackSuccess, loss } = (await run.outcome()) ?? { attackSuccess: null, loss: null };
    const told = [
      `${tags}${statusWord(run.status)}`,
      attackSuccess !== null && l10n.t`attack success ${percent(attackSuccess)}`,
      loss !== null && l10n.t`loss ${decimal(loss)}`,
      run.meta.name && methodOf(run), // otherwise it is in the label
      fileNames(run).join(', '),
      when(run.startedAt),
    ];
    item.description = told.filter(Boolean).join(' · ');
    item.contextValue = isActive(run.status) ? 'activeRun' : 'endedRun';
    const colour = colours[run.status];
    item.iconPath = new vscode.ThemeIcon(statusIcon[run.status], colour ? new vscode.ThemeColor(colour) : undefined);
    const about = [l10n.t`Method: ${methodOf(run) || '–'}`, l10n.t`Dataset: ${fileNames(run).join(', ') || '–'}`, loss !== null && l10n.t`Loss of the last step: ${decimal(loss)}`];
    item.tooltip = [outcomeText(run), ...about, run.folder].filter(Boolean).join('\n');
    item.command = { command: 'safeFinetuning.selectRun', title: l10n.t('Show Run'), arguments: [runId] };
    item.accessibilityInformation = { label: `${item.label}, ${item.description}` };
    return item;
  }
}

export function needRun(run: Run | undefined): Run {
  if (!run) throw new UserError(l10n.t('There is no run yet.'), [{ title: l10n.t('Start Run'), command: 'safeFinetuning.startRun' }]);
  return run;
}

/** The time of day for today, the date for other days. */
function when(milliseconds: number): string {
  const at = new Date(milliseconds);
  return at.toDateString() === new Date().toDateString()
    ? at.toLocaleTimeString(language().tag, { timeStyle: 'short' })
    : at.toLocaleDateString(language().tag, { day: 'numeric', month: 'short', year: 'numeric' });
}
