/** Rows leave the machine only after the user has agreed to it, once per workspace and server. */
import * as vscode from 'vscode';
import type { Preflight } from '../trainerHost/preflight';

/** False: the user would rather not have the rows sent to the server that the checks have named. */
export async function agreesToEndpoint(state: vscode.Memento, { endpoint, judgedRows }: Preflight): Promise<boolean> {
  if (!endpoint) return true;
  const key = `safeFinetuning.endpointConsent.${endpoint}`;
  if (state.get<boolean>(key)) return true;
  const send = 'Send Rows';
  const chosen = await vscode.window.showWarningMessage(
    `Send ${judgedRows.toLocaleString('en')} ${judgedRows === 1 ? 'row' : 'rows'} to ${endpoint}?`,
    {
      modal: true,
      detail:
        'This configuration has its rows judged by a server (risk.judge: "endpoint"): prompts and answers leave this machine, with its key, if Set Key or Token… has stored one. ' +
        'Each row is sent once, when it has no score yet. Asked once for this workspace and server.',
    },
    send,
  );
  if (chosen !== send) return false;
  await state.update(key, true);
  return true;
}
