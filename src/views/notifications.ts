/** Says when a run has ended or exceeded its safety budget, with what can be done next. */
import * as vscode from 'vscode';
import type { IDisposable } from '../common/disposable';
import type { Run } from '../trainerHost/run';
import type { RunRegistry } from '../trainerHost/runs';
import { configurationName, outcomeText } from './describe';

export function notifyOfRuns(registry: RunRegistry): IDisposable[] {
  return [registry.onDidEnd(run => void notifyOfEnd(registry, run)), registry.onDidExceedBudget(run => void notifyOfBudget(registry, run))];
}

async function notifyOfBudget(registry: RunRegistry, run: Run): Promise<void> {
  const exceeded = run.state.interventions.findLast(event => event.type === 'budget');
  if (!exceeded) return;
  const actions = {
    'Show Monitor': () => vscode.commands.executeCommand('safeFinetuning.openMonitor'),
    'Change…': () => vscode.commands.executeCommand('safeFinetuning.changeSettings'),
  };
  const chosen = await vscode.window.showWarningMessage(`Run ${configurationName(run)}: ${exceeded.message}`, ...Object.keys(actions));
  if (!chosen) return;
  registry.select(run);
  await actions[chosen as keyof typeof actions]();
}

async function notifyOfEnd(registry: RunRegistry, run: Run): Promise<void> {
  const failed = run.status === 'failed' || run.status === 'lost';
  const actions = {
    'Show Monitor': () => vscode.commands.executeCommand('safeFinetuning.openMonitor'),
    ...(failed ? { 'Show Log': () => vscode.commands.executeCommand('safeFinetuning.showTrainerLog', { runId: run.id }) } : {}),
    ...(run.resumable ? { Resume: () => vscode.commands.executeCommand('safeFinetuning.resumeFromCheckpoint') } : {}),
  };
  const show = failed ? vscode.window.showErrorMessage : vscode.window.showInformationMessage;
  const chosen = await show(outcomeText(run), ...Object.keys(actions));
  if (!chosen) return;
  registry.select(run);
  await actions[chosen as keyof typeof actions]?.();
}
