/** Rows leave the machine only after the user has agreed to it, once per workspace and server. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { isOne } from '../common/language';
import { integer } from '../common/format';
import type { Preflight } from '../trainerHost/preflight';

/** False: the user would rather not have the rows sent to the server that the checks have named. */
export async function agreesToEndpoint(state: vscode.Memento, { endpoint, judgedRows }: Preflight): Promise<boolean> {
  if (!endpoint) return true;
  const key = `safeFinetuning.endpointConsent.${endpoint}`;
  if (state.get<boolean>(key)) return true;
  const send = l10n.t('Send Rows');
  const chosen = await vscode.window.showWarningMessage(
    isOne(judgedRows) ? l10n.t`Send ${integer(judgedRows)} row to ${endpoint}?` : l10n.t`Send ${integer(judgedRows)} rows to ${endpoint}?`,
    {
      modal: true,
      detail:
        l10n.t('This configuration has its rows judged by a server (risk.judge: "endpoint"): prompts and answers leave this machine, with its key, if Set Key or Token… has stored one. Each row is sent once, when it has no score yet. Asked once for this workspace and server.'),
    },
    send,
  );
  if (chosen !== send) return false;
  await state.update(key, true);
  return true;
}
