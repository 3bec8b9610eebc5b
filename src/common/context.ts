/** The keys that the manifest's `when` clauses and enablements read. */
import * as vscode from 'vscode';

export interface ContextKeys {
  'safeFinetuning.hasRun': boolean;
  'safeFinetuning.runActive': boolean;
  'safeFinetuning.runActiveHere': boolean;
  'safeFinetuning.runPaused': boolean;
  'safeFinetuning.runResumable': boolean;
  'safeFinetuning.datasetOpen': boolean;
}

const current = new Map<string, unknown>();

export function setContext<K extends keyof ContextKeys>(key: K, value: ContextKeys[K]): void {
  if (current.get(key) === value) return;
  current.set(key, value);
  void vscode.commands.executeCommand('setContext', key, value);
}
