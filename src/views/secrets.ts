/** Keys of the user's, in the editor's secret storage. They reach the trainer in its environment, and nothing else. */
import * as vscode from 'vscode';
import type { Services } from '../common/services';

/** By the environment variable that the trainer, or a library under it, reads. */
const secrets = {
  SAFE_FINETUNING_ENDPOINT_KEY: {
    label: 'Key of the judge endpoint',
    detail: 'Sent to the server named in risk.endpoint.url, when it judges the rows.',
  },
  HF_TOKEN: {
    label: 'Hugging Face token',
    detail: 'For gated and private models. Without one, that of `hf auth login` is used.',
  },
};

export type Secrets = Partial<Record<keyof typeof secrets, string>>;

const names = Object.keys(secrets) as (keyof Secrets)[];

export async function storedSecrets(storage: vscode.SecretStorage): Promise<Secrets> {
  const found = await Promise.all(names.map(async name => [name, await storage.get(name)] as const));
  return Object.fromEntries(found.filter(([, value]) => value));
}

export function registerSecretCommand({ context, registerCommand }: Services): void {
  const storage = context.secrets;
  context.subscriptions.push(
    registerCommand('safeFinetuning.setSecret', async () => {
      const stored = await storedSecrets(storage);
      const items = names.map(name => ({ ...secrets[name], description: stored[name] ? 'is set' : 'is not set', name }));
      const chosen = await vscode.window.showQuickPick(items, { title: 'Set Key or Token', placeHolder: 'Which one?' });
      if (!chosen) return;
      const value = await vscode.window.showInputBox({
        title: chosen.label,
        prompt: 'Kept in the secret storage of the editor. Leave it empty to remove what is set.',
        password: true,
        ignoreFocusOut: true,
      });
      if (value === undefined) return;
      await (value.trim() ? storage.store(chosen.name, value.trim()) : storage.delete(chosen.name));
      void vscode.window.showInformationMessage(`${chosen.label}: ${value.trim() ? 'stored' : 'removed'}.`);
    }),
  );
}
