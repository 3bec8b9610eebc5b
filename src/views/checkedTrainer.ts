/** What stands between a configuration and the trainer: its checks, and the user's consent to sending rows away. */
import type * as vscode from 'vscode';
import type { Trainer } from '../trainerHost/trainerCommand';
import { agreesToEndpoint } from './endpointConsent';
import type { PreflightView } from './preflightView';
import { storedSecrets } from './secrets';

/**
 * Undefined where something stands against it, which has been said, or the user would rather not. `sendsRows`:
 * whether the judge that the configuration names is asked, which may be a server.
 */
export type CheckedTrainer = (configuration: vscode.Uri, sendsRows?: boolean) => Promise<Trainer | undefined>;

export const checkedTrainer =
  ({ workspaceState, secrets }: vscode.ExtensionContext, checks: PreflightView): CheckedTrainer =>
  async (configuration, sendsRows = true) => {
    const result = await checks.run(configuration);
    if (result) checks.explainFailure(result.checks);
    if (!result?.trainer) return undefined;
    if (!sendsRows) return result.trainer;
    if (!(await agreesToEndpoint(workspaceState, result))) return undefined;
    return { ...result.trainer, secrets: await storedSecrets(secrets, result.endpoint) };
  };
