/**
 * Moves flagged rows out of a dataset, unchanged, into `NAME.quarantine.jsonl` beside it: one edit of both
 * files, one undo step. Both are saved when neither had unsaved changes before; otherwise both are left
 * unsaved, in their editors, so that nothing else is saved along with them. An undo leaves both unsaved, so
 * that on the disk the rows stay in the quarantine until it is saved. That is why a new quarantine is no part
 * of the edit: an undo would delete it at once.
 */
import { appendFile, readFile } from 'node:fs/promises';
import path from 'node:path';
import * as vscode from 'vscode';
import type { RowLocation } from '../common/commands';
import { errorText } from '../common/log';
import { UserError } from '../common/userError';
import { findRow } from './navigation';
import { additionOf, deletionsOf, findChangedBySaving } from './quarantineEdit';
import { isQuarantine, quarantinePath } from './report';

/** Moves the rows, all of one file. */
export async function quarantineRows(rows: readonly RowLocation[]): Promise<void> {
  const dataset = await vscode.workspace.openTextDocument(rows[0]!.path);
  const { version } = dataset;
  const name = path.basename(dataset.uri.fsPath);
  if (isQuarantine(dataset.uri.fsPath)) throw new UserError(`${name} is a quarantine: its rows are not moved again.`);
  await requireKeptBySaving(dataset);
  const taken = new Set<number>();
  for (const row of rows) {
    const line = await findRow(dataset, row, taken);
    if (line === undefined) {
      const what = 'the row has been edited or removed meanwhile, so nothing was moved';
      throw new UserError(`${name}, line ${row.line}: ${what}. Try again.`);
    }
    taken.add(line);
  }
  const lines = [...taken].sort((a, b) => a - b);
  const target = vscode.Uri.file(quarantinePath(dataset.uri.fsPath));
  const quarantine = await openOrCreate(target);
  await requireKeptBySaving(quarantine);
  const wereSaved = !dataset.isDirty && !quarantine.isDirty;
  const { eol } = quarantine.lineCount > 1 ? quarantine : dataset; // a new file has none of its own
  await setLineEnds(quarantine, eol);
  if (dataset.version !== version) throw new UserError(`${name} has been edited meanwhile, so nothing was moved. Try again.`);

  // VS Code applies the edit only to the versions that both documents have now.
  const edit = new vscode.WorkspaceEdit();
  const asLines = { lineCount: dataset.lineCount, lineAt: (line: number) => dataset.lineAt(line).text };
  for (const { start, end } of deletionsOf(lines, asLines)) {
    edit.delete(dataset.uri, new vscode.Range(start.line, start.character, end.line, end.character));
  }
  const texts = lines.map(asLines.lineAt);
  const { range, text } = quarantine.lineAt(quarantine.lineCount - 1);
  const addition = additionOf(texts, text, eol === vscode.EndOfLine.CRLF ? '\r\n' : '\n');
  edit.insert(target, range.end, addition);
  if (!(await vscode.workspace.applyEdit(edit))) {
    const either = `${name} or ${path.basename(target.fsPath)}`;
    throw new UserError(`Nothing was moved: ${either} has been edited meanwhile, or is read-only. Try again.`);
  }
  if (wereSaved) await save(quarantine, dataset);
  const moved = lines.length === 1 ? 'Row' : `${lines.length} rows`;
  vscode.window.setStatusBarMessage(`${moved} moved to ${path.basename(target.fsPath)}`, 5000);
}

/** By an edit of its own: undone together with an insertion, VS Code leaves part of that behind. */
async function setLineEnds(document: vscode.TextDocument, eol: vscode.EndOfLine): Promise<void> {
  if (document.eol === eol) return;
  const edit = new vscode.WorkspaceEdit();
  edit.set(document.uri, [vscode.TextEdit.setEndOfLine(eol)]);
  await vscode.workspace.applyEdit(edit);
}

/** Saving writes a file as a whole: the rows that are not moved must come out of it byte for byte. */
async function requireKeptBySaving({ uri, encoding }: vscode.TextDocument): Promise<void> {
  const name = path.basename(uri.fsPath);
  const changed = findChangedBySaving(await readFile(uri.fsPath));
  if (changed) {
    throw new UserError(`${name}, line ${changed.line} ${changed.reason}. ${changed.remedy} first; nothing has been changed.`);
  }
  if (!encoding.startsWith('utf8')) {
    throw new UserError(`${name} is open with the encoding ${encoding}. Reopen it with UTF-8 first; nothing has been changed.`);
  }
}

async function openOrCreate({ fsPath }: vscode.Uri): Promise<vscode.TextDocument> {
  try {
    await appendFile(fsPath, ''); // leaves a file that is there as it is
  } catch (error) {
    throw new UserError(`${path.basename(fsPath)} cannot be written, so nothing was moved: ${errorText(error)}`);
  }
  return vscode.workspace.openTextDocument(fsPath);
}

/** The quarantine first: whatever happens in between, no row is on no disk. */
async function save(quarantine: vscode.TextDocument, dataset: vscode.TextDocument): Promise<void> {
  for (const document of [quarantine, dataset]) {
    if (!(await document.save())) {
      const name = path.basename(document.uri.fsPath);
      throw new UserError(`${name} could not be saved. The rows were moved in the editor; save both files there.`);
    }
  }
}
