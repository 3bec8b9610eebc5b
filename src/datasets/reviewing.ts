/** Marks rows as reviewed, and takes the mark away: an edit of the list beside their dataset, which is saved. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import * as vscode from 'vscode';
import type { RowLocation } from '../common/commands';
import { UserError } from '../common/userError';
import { formatRisk } from './report';
import { reviewedFileOf, reviewedHashes, withoutReviewed, withReviewed } from './reviewedFile';

/** The hashes of a dataset's rows that were reviewed, as the list is on the disk. */
export async function readReviewed(dataset: string): Promise<ReadonlySet<string>> {
  try {
    return reviewedHashes(await readFile(reviewedFileOf(dataset), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Set();
    throw error;
  }
}

/** `riskOf` names the risk that a row is known to have. */
export function markReviewed(rows: readonly RowLocation[], riskOf: (hash: string) => number | undefined): Promise<void> {
  const noted = rows.map(({ hash, line }) => {
    const risk = riskOf(hash);
    return { hash, note: `line ${line}${risk === undefined ? '' : `, risk ${formatRisk(risk)}`}` };
  });
  return change(rows[0]!.path, text => withReviewed(text, noted));
}

export function unmarkReviewed(rows: readonly RowLocation[]): Promise<void> {
  const hashes = new Set(rows.map(({ hash }) => hash));
  return change(rows[0]!.path, text => withoutReviewed(text, hashes));
}

async function change(dataset: string, changed: (text: string) => string): Promise<void> {
  const uri = vscode.Uri.file(reviewedFileOf(dataset));
  const name = path.basename(uri.fsPath);
  const edit = new vscode.WorkspaceEdit();
  const open = await vscode.workspace.openTextDocument(uri).then(document => document, () => undefined);
  const wasDirty = open?.isDirty ?? false;
  if (open) edit.replace(uri, open.validateRange(new vscode.Range(0, 0, open.lineCount, 0)), changed(open.getText()));
  else edit.createFile(uri, { contents: Buffer.from(changed('')) });
  if (!(await vscode.workspace.applyEdit(edit))) {
    throw new UserError(`${name} cannot be written, so nothing has changed. Is it read-only?`);
  }
  if (open && !wasDirty && !(await open.save())) throw new UserError(`${name} could not be saved. Save it in its editor.`);
}
