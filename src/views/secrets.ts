/** Keys and tokens of the user's, in the editor's secret storage. They reach the trainer in its environment, and nothing else. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import type { Services } from '../common/services';
import { judgesNamed, originOf } from './configurationFile';

/** By the environment variable that the trainer, or a library under it, reads. */
export type Secrets = { [name in 'SAFE_FINETUNING_ENDPOINT_KEY' | 'SAFE_FINETUNING_ENDPOINT_ORIGIN' | 'HF_TOKEN']?: string };

const hubToken = 'HF_TOKEN';
const keyOf = (judge: string) => `SAFE_FINETUNING_ENDPOINT_KEY ${judge}`;

/**
 * What is stored for the trainer. `judge` is the origin that the user agreed to send rows to, if any: the
 * trainer gets the key of that server, and sends neither rows nor key to another.
 */
export async function storedSecrets(storage: vscode.SecretStorage, judge: string | undefined): Promise<Secrets> {
  const token = await storage.get(hubToken);
  const key = judge && (await storage.get(keyOf(judge)));
  return {
    SAFE_FINETUNING_ENDPOINT_ORIGIN: judge ?? '',
    ...(token && { HF_TOKEN: token }),
    ...(key && { SAFE_FINETUNING_ENDPOINT_KEY: key }),
  };
}

interface Item extends vscode.QuickPickItem {
  /** Where it is stored; undefined: for a server that the user has still to name. */
  name?: string;
}

export function registerSecretCommand({ context, registerCommand }: Services): void {
  const storage = context.secrets;
  const isSet = async (name: string) => ((await storage.get(name)) ? l10n.t('is set') : l10n.t('is not set'));

  const items = async (): Promise<Item[]> => [
    {
      label: l10n.t('Hugging Face token'),
      description: await isSet(hubToken),
      detail: l10n.t('For gated and private models. Without one, that of `hf auth login` is used.'),
      name: hubToken,
    },
    ...(await Promise.all(
      (await judgesNamed()).map(async judge => ({
        label: l10n.t`Key of ${judge}`,
        description: await isSet(keyOf(judge)),
        detail: l10n.t('The server that judges the rows of a configuration of this workspace (risk.endpoint.url).'),
        name: keyOf(judge),
      })),
    )),
    { label: l10n.t('Key of another server…'), detail: l10n.t('Sent to the server that you name, when it judges rows, and to no other.') },
  ];

  context.subscriptions.push(
    registerCommand('safeFinetuning.setSecret', async () => {
      const chosen = await vscode.window.showQuickPick(items(), { title: l10n.t('Set Key or Token'), placeHolder: l10n.t('Which one?') });
      if (!chosen) return;
      const { label, name } = chosen.name ? { label: chosen.label, name: chosen.name } : await another();
      if (!name) return;
      const value = await vscode.window.showInputBox({
        title: label,
        prompt: l10n.t('Kept in the secret storage of the editor. Leave it empty to remove what is set.'),
        password: true,
        ignoreFocusOut: true,
      });
      if (value === undefined) return;
      await (value.trim() ? storage.store(name, value.trim()) : storage.delete(name));
      void vscode.window.showInformationMessage(value.trim() ? l10n.t`${label}: stored.` : l10n.t`${label}: removed.`);
    }),
  );
}

async function another(): Promise<{ label: string; name?: string }> {
  const address = await vscode.window.showInputBox({
    title: l10n.t('Key of another server'),
    prompt: l10n.t('The address of the server, as in risk.endpoint.url'),
    placeHolder: 'https://api.example.com/v1',
    ignoreFocusOut: true,
    validateInput: text => (originOf(text.trim()) ? undefined : l10n.t('An address is https:// or http:// and the name of a server.')),
  });
  const judge = address && originOf(address.trim());
  return judge ? { label: l10n.t`Key of ${judge}`, name: keyOf(judge) } : { label: '' };
}
