/** A chart as a file of the user's choice: its data as CSV, or as a picture. */
import path from 'node:path';
import * as vscode from 'vscode';
import { errorText } from '../common/log';
import { withProgress } from '../common/progress';
import { UserError } from '../common/userError';
import { writeCsv, writeText, type Cell } from './csv';

export const saveCsv = (name: string, lines: Iterable<readonly Cell[]>): Promise<void> =>
  save({ name, what: 'The chart’s data', kind: 'CSV', extension: 'csv', write: (file, signal) => writeCsv(file, lines, signal) });

export const savePicture = (name: string, svg: string): Promise<void> =>
  save({ name, what: 'The picture', kind: 'SVG', extension: 'svg', write: (file, signal) => writeText(file, [svg], signal) });

interface Export {
  name: string;
  what: string;
  kind: string;
  extension: string;
  write: (file: string, signal: AbortSignal) => Promise<void>;
}

async function save({ name, what, kind, extension, write }: Export): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const proposed = `${name.replace(/[^\p{L}\p{N}.]+/gu, '-')}.${extension}`;
  const chosen = await vscode.window.showSaveDialog({
    title: `${what}: ${kind}`,
    ...(folder && { defaultUri: vscode.Uri.joinPath(folder, proposed) }),
    filters: { [kind]: [extension] },
  });
  if (!chosen) return;
  const file = chosen.fsPath;
  try {
    await withProgress(`Writing ${path.basename(file)}`, signal => write(file, signal));
  } catch (error) {
    if (error instanceof Error && error.name === 'AbortError') return;
    throw new UserError(`${file} could not be written: ${errorText(error)}. Choose another place for it.`);
  }
  const open = 'Open';
  const answer = await vscode.window.showInformationMessage(`${what} is in ${path.basename(file)}.`, open);
  if (answer === open) await vscode.commands.executeCommand('vscode.open', chosen);
}
