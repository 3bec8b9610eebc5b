import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import type { RegisterCommand } from './commands';
import { errorText } from './log';
import { UserError, type Action } from './userError';

const showLog: Action = { title: l10n.t('Show Log'), command: 'safeFinetuning.showLog' };

/** Registers commands so that none of them fails in silence. */
export function commandRegistrar(log: vscode.LogOutputChannel): RegisterCommand {
  return (id, run) =>
    vscode.commands.registerCommand(id, async (...args: unknown[]) => {
      try {
        return await run(...(args as Parameters<typeof run>));
      } catch (error) {
        log.error(`${id}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
        void showError(error);
        return undefined;
      }
    });
}

export async function showError(error: unknown): Promise<void> {
  const actions = error instanceof UserError ? error.actions : [showLog];
  const chosen = await vscode.window.showErrorMessage(errorText(error), ...actions.map(action => action.title));
  const action = actions.find(({ title }) => title === chosen);
  if (action) await vscode.commands.executeCommand(action.command, ...(action.arguments ?? []));
}
