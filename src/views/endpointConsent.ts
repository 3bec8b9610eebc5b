/** Rows leave the machine only after the user has agreed to it, once per workspace and server. */
import fs from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';

const COUNTED_UP_TO_BYTES = 50_000_000;

/** False: the user would rather not. `origin` is the server's, `dataset` the file whose rows it would be sent. */
export async function agreesToEndpoint(state: vscode.Memento, origin: string | undefined, dataset: string | undefined): Promise<boolean> {
  if (!origin) return true;
  const key = `safeFinetuning.endpointConsent.${origin}`;
  if (state.get<boolean>(key)) return true;
  const send = 'Send Rows';
  const chosen = await vscode.window.showWarningMessage(
    `Send ${rowsOf(dataset)} to ${origin}?`,
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

function rowsOf(dataset: string | undefined): string {
  if (!dataset) return 'the dataset’s rows';
  const name = path.basename(dataset);
  try {
    if (fs.statSync(dataset).size > COUNTED_UP_TO_BYTES) return `all rows of ${name}`;
    const count = fs.readFileSync(dataset, 'utf8').split('\n').filter(line => line.trim()).length;
    return `${count.toLocaleString('en')} rows of ${name}`;
  } catch {
    return `the rows of ${name}`; // the checks say that it is missing
  }
}
