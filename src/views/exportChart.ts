/** A chart as a file of the user's choice: its data as CSV, or as a picture. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { errorText } from '../common/log';
import { withProgress } from '../common/progress';
import { UserError } from '../common/userError';
import { writeCsv, writeText, type Cell } from './csv';

export const saveCsv = (name: string, lines: Iterable<readonly Cell[]>): Promise<void> =>
  save({ name, title: l10n.t('The chart’s data: CSV'), said: file => l10n.t`The chart’s data is in ${file}.`, kind: 'CSV', extension: 'csv', write: (file, signal) => writeCsv(file, lines, signal) });

export const savePicture = (name: string, svg: string): Promise<void> =>
  save({ name, title: l10n.t('The picture: SVG'), said: file => l10n.t`The picture is in ${file}.`, kind: 'SVG', extension: 'svg', write: (file, signal) => writeText(file, [svg], signal) });

interface Export {
  name: string;
  title: string;
  /** Once it is written. */
  said: (file: string) => string;
  kind: string;
  extension: string;
  write: (file: string, signal: AbortSignal) => Promise<void>;
}

async function save({ name, title, said, kind, extension, write }: Export): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const proposed = `${name.replace(/[^\p{L}\p{N}.]+/gu, '-')}.${extension}`;
  const chosen = await vscode.window.showSaveDialog({
    title,
    ...(folder && { defaultUri: vscode.Uri.joinPath(folder, proposed) }),
    filters: { [kind]: [extension] },
  });
  if (!chosen) return;
  const file = chosen.fsPath;
  try {
    const isWritten = await withProgress(l10n.t`Writing ${path.basename(file)}`, signal => write(file, signal).then(() => true));
    if (!isWritten) return;
  } catch (error) {
    throw new UserError(l10n.t`${file} could not be written: ${errorText(error)}. Choose another place for it.`);
  }
  const open = l10n.t('Open');
  const answer = await vscode.window.showInformationMessage(said(path.basename(file)), open);
  if (answer === open) await vscode.commands.executeCommand('vscode.open', chosen);
}
