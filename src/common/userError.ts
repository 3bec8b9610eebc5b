/** An error that the user can act on: shown as it is, with buttons for what to do next. */
import type { CommandId } from './commands';

export interface Action {
  title: string;
  command: CommandId | 'workbench.trust.manage' | 'vscode.openFolder' | 'workbench.action.openSettings';
  arguments?: unknown[];
}

export class UserError extends Error {
  constructor(
    message: string,
    readonly actions: readonly Action[] = [],
  ) {
    super(message);
    this.name = 'UserError';
  }
}
