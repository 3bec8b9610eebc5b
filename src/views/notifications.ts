/** Says when a run has ended, with what can be done next. */
import * as vscode from 'vscode';
import type { IDisposable } from '../common/disposable';
import type { Run } from '../trainerHost/run';
import type { RunRegistry } from '../trainerHost/runs';
import { outcomeText } from './describe';

export function notifyOfEnds(registry: RunRegistry): IDisposable {
  return registry.onDidEnd(run => void notify(registry, run));
}

async function notify(registry: RunRegistry, run: Run): Promise<void> {
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
