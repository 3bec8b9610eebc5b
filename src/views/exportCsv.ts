/** A chart's data as a CSV file of the user's choice. */
import path from 'node:path';
import * as vscode from 'vscode';
import { errorText } from '../common/log';
import { withProgress } from '../common/progress';
import { UserError } from '../common/userError';
import { writeCsv, type Cell } from './csv';

export async function saveCsv(name: string, lines: Iterable<readonly Cell[]>): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const proposed = `${name.replace(/[^\p{L}\p{N}.]+/gu, '-')}.csv`;
  const chosen = await vscode.window.showSaveDialog({
    title: 'Save the Chart’s Data',
    ...(folder && { defaultUri: vscode.Uri.joinPath(folder, proposed) }),
    filters: { CSV: ['csv'] },
  });
  if (!chosen) return;
  const file = chosen.fsPath;
  try {
    await withProgress(`Writing ${path.basename(file)}`, signal => writeCsv(file, lines, signal));
  } catch (error) {
    if (error instanceof Error && error.name === 'AbortError') return;
    throw new UserError(`${file} could not be written: ${errorText(error)}. Choose another place for it.`);
  }
  const open = 'Open';
  if ((await vscode.window.showInformationMessage(`The chart’s data is in ${path.basename(file)}.`, open)) === open) await vscode.window.showTextDocument(chosen);
}
