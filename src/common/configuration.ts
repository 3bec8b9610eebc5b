/** The extension's settings, read where they are needed, typed in one place. */
import * as vscode from 'vscode';

export interface Settings {
  'python.interpreter': string;
  'python.torchIndexUrl': string;
  'runs.folder': string;
  'runs.moreFolders': string[];
  'risk.enabled': boolean;
  'risk.threshold': number;
  'risk.classifierFolder': string;
}

export function setting<K extends keyof Settings>(name: K, scope?: vscode.Uri): Settings[K] {
  return vscode.workspace.getConfiguration('safeFinetuning', scope).get(name) as Settings[K];
}
