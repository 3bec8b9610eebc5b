import * as vscode from 'vscode';
import type { Run } from '../trainerHost/run';

/** Shows a row of a run in its dataset file. */
export async function showRowOf(run: Run | undefined, { file, line, hash }: { file: number; line: number; hash: string }): Promise<void> {
  const dataset = run?.record?.datasets[file];
  if (dataset) await vscode.commands.executeCommand('safeFinetuning.showRow', { path: dataset.path, line, hash });
}
