/** Small files beside a dataset that say something of it: changed as a whole, undoable, and saved. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { UserError } from '../common/userError';
import { COLUMN_NAMES_FILE } from './columnNames';
import { reviewedFileOf } from './reviewedFile';

/** Whether a file is one of those that say something of a dataset beside them. */
export const isAbout = (file: string, dataset: string): boolean =>
  file === reviewedFileOf(dataset) || file === path.join(path.dirname(dataset), COLUMN_NAMES_FILE);

const changes = new vscode.EventEmitter<string>();

/** A file beside a dataset was changed, wherever it lies. */
export const onDidChangeBeside = changes.event;

/** `changed` gets what the file says, nothing where there is none. One that has unsaved changes stays unsaved. */
export async function changeBeside(file: string, changed: (text: string) => string): Promise<void> {
  const uri = vscode.Uri.file(file);
  const name = path.basename(file);
  const edit = new vscode.WorkspaceEdit();
  const open = await vscode.workspace.openTextDocument(uri).then(document => document, () => undefined);
  const wasDirty = open?.isDirty ?? false;
  if (open) edit.replace(uri, open.validateRange(new vscode.Range(0, 0, open.lineCount, 0)), changed(open.getText()));
  else edit.createFile(uri, { contents: Buffer.from(changed('')) });
  if (!(await vscode.workspace.applyEdit(edit))) {
    throw new UserError(l10n.t`${name} cannot be written, so nothing has changed. Is it read-only?`);
  }
  if (open && !wasDirty && !(await open.save())) throw new UserError(l10n.t`${name} could not be saved. Save it in its editor.`);
  changes.fire(file);
}
