/** What the composition root gives to every feature. */
import type * as vscode from 'vscode';
import type { RegisterCommand } from './commands';

export interface Services {
  context: vscode.ExtensionContext;
  log: vscode.LogOutputChannel;
  /** Errors of a command are shown and logged. */
  registerCommand: RegisterCommand;
}
