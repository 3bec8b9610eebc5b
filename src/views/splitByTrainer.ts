/** Parquet files are written by the trainer, whose library has all of their types and codecs. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { UserError } from '../common/userError';
import type { SplitRows } from '../datasets/table/moveInParquet';
import { failureOf, runTrainer } from '../trainerHost/trainerCommand';
import { requireTrust } from '../trainerHost/workspace';
import { interpreterFor } from './interpreter';

export const splitByTrainer =
  ({ extensionPath }: vscode.ExtensionContext): SplitRows =>
  async ({ dataset, rows, taken, rest, behind }, signal) => {
    requireTrust(l10n.t('Moving rows of a Parquet file'));
    const trainer = { interpreter: await interpreterFor(vscode.Uri.file(dataset)), folder: path.join(extensionPath, 'trainer') };
    const args = ['split-rows', dataset, '--rows', rows, '--taken', taken, '--rest', rest, ...(behind ? ['--behind', behind] : [])];
    const result = await runTrainer(trainer, args, path.dirname(dataset), signal);
    if (result.code !== 0 && !signal.aborted) throw new UserError(l10n.t`Nothing was moved. ${failureOf(result)}`);
  };
