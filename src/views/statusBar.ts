/** The training's progress in the status bar, as long as there is one, and how the last one ended. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { Disposable, type IDisposable } from '../common/disposable';
import type { Run } from '../trainerHost/run';
import { isActive } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { configurationName, outcomeText, progressText, statusIcon, statusWord } from './describe';

const showMilliseconds = 250;

export class StatusBar extends Disposable {
  private readonly item = this.register(vscode.window.createStatusBarItem('safeFinetuning.run', vscode.StatusBarAlignment.Left, 0));
  private run: Run | undefined;
  private subscription: IDisposable | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly registry: RunRegistry) {
    super();
    this.item.name = 'Safe Fine-Tuning';
    this.item.command = 'safeFinetuning.openMonitor';
    this.register(registry.onDidChange(() => this.choose()));
    this.register({ dispose: () => this.subscription?.dispose() });
    this.register({ dispose: () => clearTimeout(this.timer) });
  }

  /** The running run; when it has ended it stays until another one runs. */
  private choose(): void {
    const active = this.registry.active;
    if (active && active !== this.run) {
      this.subscription?.dispose();
      this.run = active;
      this.subscription = active.onDidChange(() => this.showSoon());
    }
    this.show();
  }

  /** Steps come by the hundred. */
  private showSoon(): void {
    this.timer ??= setTimeout(() => this.show(), showMilliseconds);
  }

  private show(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const run = this.run;
    if (!run || this.registry.byId(run.id) !== run) return this.item.hide();
    const active = isActive(run.status);
    const text = active ? progressText(run) : l10n.t`Run ${statusWord(run.status)}`;
    this.item.text = `$(${statusIcon[run.status]}) ${text}`;
    this.item.tooltip = active ? l10n.t`${configurationName(run)}: ${text}. Click for the training monitor.` : outcomeText(run);
    this.item.accessibilityInformation = { label: l10n.t`Safe Fine-Tuning: ${configurationName(run)}, ${text}` };
    this.item.backgroundColor =
      run.status === 'failed' ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
    this.item.show();
  }
}
