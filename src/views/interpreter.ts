/** The Python that a file's folder is worked on with. */
import * as l10n from '@vscode/l10n';
import type * as vscode from 'vscode';
import { UserError } from '../common/userError';
import { EnvironmentError, findPython } from '../trainerHost/environment';
import { folderOf, interpreterOptions } from '../trainerHost/workspace';

export async function interpreterFor(file: vscode.Uri): Promise<string> {
  try {
    return (await findPython(await interpreterOptions(folderOf(file)))).path;
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    throw new UserError(`${error.message} ${error.nextStep}`, [{ title: l10n.t('Set Up Environment'), command: 'safeFinetuning.setUpEnvironment' }]);
  }
}
