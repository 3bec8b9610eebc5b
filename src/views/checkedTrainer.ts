/** What stands between a configuration and the trainer: its checks, and the user's consent to sending rows away. */
import type * as vscode from 'vscode';
import type { Trainer } from '../trainerHost/trainerCommand';
import { agreesToEndpoint } from './endpointConsent';
import type { PreflightView } from './preflightView';
import { storedSecrets } from './secrets';

/** Undefined where something stands against it, which has been said, or the user would rather not. */
export type CheckedTrainer = (configuration: vscode.Uri) => Promise<Trainer | undefined>;

export const checkedTrainer =
  ({ workspaceState, secrets }: vscode.ExtensionContext, checks: PreflightView): CheckedTrainer =>
  async configuration => {
    const result = await checks.run(configuration);
    if (result) checks.explainFailure(result.checks);
    if (!result?.trainer) return undefined;
    if (!(await agreesToEndpoint(workspaceState, result))) return undefined;
    return { ...result.trainer, secrets: await storedSecrets(secrets, result.endpoint) };
  };
