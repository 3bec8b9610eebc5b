/** Says when a run has ended or exceeded its safety budget, with what can be done next. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import type { IDisposable } from '../common/disposable';
import type { Run } from '../trainerHost/run';
import type { RunRegistry } from '../trainerHost/runs';
import { configurationName, outcomeText } from './describe';

/** By the titles of their buttons. */
type Actions = Record<string, () => Thenable<unknown>>;

export function notifyOfRuns(registry: RunRegistry): IDisposable[] {
  return [registry.onDidEnd(run => void notifyOfEnd(registry, run)), registry.onDidExceedBudget(run => void notifyOfBudget(registry, run))];
}

async function notifyOfBudget(registry: RunRegistry, run: Run): Promise<void> {
  const exceeded = run.state.interventions.findLast(event => event.type === 'budget');
  if (!exceeded) return;
  const actions: Actions = {
    [l10n.t('Show Monitor')]: () => vscode.commands.executeCommand('safeFinetuning.openMonitor'),
    [l10n.t('Change…')]: () => vscode.commands.executeCommand('safeFinetuning.changeSettings'),
  };
  const chosen = await vscode.window.showWarningMessage(l10n.t`Run ${configurationName(run)}: ${exceeded.message}`, ...Object.keys(actions));
  if (!chosen) return;
  registry.select(run);
  await actions[chosen]?.();
}

async function notifyOfEnd(registry: RunRegistry, run: Run): Promise<void> {
  const failed = run.status === 'failed' || run.status === 'lost';
  const actions: Actions = {
    [l10n.t('Show Monitor')]: () => vscode.commands.executeCommand('safeFinetuning.openMonitor'),
    ...(failed ? { [l10n.t('Show Log')]: () => vscode.commands.executeCommand('safeFinetuning.showTrainerLog', { runId: run.id }) } : {}),
    ...(run.resumable ? { [l10n.t('Resume')]: () => vscode.commands.executeCommand('safeFinetuning.resumeFromCheckpoint', { runId: run.id }) } : {}),
  };
  const show = failed ? vscode.window.showErrorMessage : vscode.window.showInformationMessage;
  const chosen = await show(outcomeText(run), ...Object.keys(actions));
  if (!chosen) return;
  registry.select(run);
  await actions[chosen]?.();
}
