/** Small files beside a dataset that say something of it: changed as a whole on the disk, one window after the other. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { UserError } from '../common/userError';
import { COLUMN_NAMES_FILE } from './columnNames';
import { changeFile } from './oneWindow';
import { reviewedFileOf } from './reviewedFile';

/** Whether a file is one of those that say something of a dataset beside them. */
export const isAbout = (file: string, dataset: string): boolean =>
  file === reviewedFileOf(dataset) || file === path.join(path.dirname(dataset), COLUMN_NAMES_FILE);

const changes = new vscode.EventEmitter<string>();

/** A file beside a dataset was changed, wherever it lies. */
export const onDidChangeBeside = changes.event;

/** `changed` gets what the file says, nothing where there is none. One that has unsaved changes stays unsaved, and says so. */
export async function changeBeside(file: string, changed: (text: string) => string): Promise<void> {
  const unsaved = vscode.workspace.textDocuments.find(({ uri, isDirty }) => isDirty && uri.scheme === 'file' && uri.fsPath === file);
  if (unsaved) await changeDocument(unsaved, changed);
  else await changeFile(file, changed);
  changes.fire(file);
}

async function changeDocument(document: vscode.TextDocument, changed: (text: string) => string): Promise<void> {
  const edit = new vscode.WorkspaceEdit();
  edit.replace(document.uri, document.validateRange(new vscode.Range(0, 0, document.lineCount, 0)), changed(document.getText()));
  if (await vscode.workspace.applyEdit(edit)) return void offerToSave(document);
  throw new UserError(l10n.t`${path.basename(document.fileName)} cannot be written, so nothing has changed. Is it read-only?`);
}

/** What it says counts once it is on the disk. */
async function offerToSave(document: vscode.TextDocument): Promise<void> {
  const save = l10n.t('Save');
  const chosen = await vscode.window.showWarningMessage(l10n.t`${path.basename(document.fileName)} had unsaved changes, so it was changed in its editor only. Save it for this to count.`, save);
  if (chosen === save) await document.save();
}
