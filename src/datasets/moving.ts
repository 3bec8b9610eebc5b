/**
 * Moves rows, unchanged, between a dataset and its quarantine beside it: one edit of both files, one undo step.
 * Both are saved when neither had unsaved changes before; otherwise both are left unsaved, in their editors, so
 * that nothing else is saved along with them. An undo leaves both unsaved, so that on the disk the rows stay
 * where they were moved until the files are saved. That is why a new file is no part of the edit: an undo would
 * delete it at once.
 */
import { appendFile, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import type { RowLocation } from '../common/commands';
import { errorText } from '../common/log';
import { withProgress } from '../common/progress';
import { showError } from '../common/registerCommand';
import { UserError } from '../common/userError';
import { findChangedBySaving } from './bytes';
import { rangeOf, sourceOf } from './datasetDocument';
import type { Format, Scan } from './formats/format';
import { findRow, scanOf } from './navigation';
import { refuseReadOnly } from './oneWindow';
import { isJsonLines, isParquet, needsViewer } from './openDataset';
import { datasetOf, isQuarantine, quarantineOf } from './quarantineFiles';
import { moveInParquet, type SplitRows } from './table/moveInParquet';
import { moveOnDisk, type Moved } from './table/moveOnDisk';

/** Moves the rows, all of one dataset, to its quarantine. */
export async function quarantineRows(rows: readonly RowLocation[], splitRows: SplitRows): Promise<void> {
  const { path: dataset } = rows[0]!;
  if (isQuarantine(dataset)) throw new UserError(l10n.t`${path.basename(dataset)} is a quarantine: its rows are not moved again.`);
  await moveRows(rows, quarantineOf(dataset), splitRows);
}

/** Moves the rows, all of one quarantine, to the end of its dataset. */
export async function restoreRows(rows: readonly RowLocation[], splitRows: SplitRows): Promise<void> {
  const { path: quarantine } = rows[0]!;
  if (!isQuarantine(quarantine)) throw new UserError(l10n.t`${path.basename(quarantine)} is no quarantine: its rows are where they belong.`);
  await moveRows(rows, datasetOf(quarantine), splitRows);
}

/** Moves that may still be undone. */
const undoable = new Set<Moved>();

/** Forgets how files were before. */
export async function endMoves(): Promise<void> {
  await Promise.all([...undoable].map(moved => moved.forget()));
}

/** Of files that no document can hold. */
async function moveRowsOnDisk(rows: readonly RowLocation[], to: string, splitRows: SplitRows): Promise<void> {
  const from = rows[0]!.path;
  const [name, nameTo] = [path.basename(from), path.basename(to)];
  if (!isJsonLines(from) && !isParquet(from)) {
    throw new UserError(l10n.t`${name} is larger than 50 MB and neither JSON Lines nor Parquet: its rows cannot be moved. Mark them as reviewed, or write it as JSON Lines.`);
  }
  const unsaved = vscode.workspace.textDocuments.find(({ fileName, isDirty }) => isDirty && (fileName === from || fileName === to));
  if (unsaved) throw new UserError(l10n.t`${path.basename(unsaved.fileName)} has unsaved changes. Save it first; nothing was moved.`);
  const moved = await withProgress(l10n.t`Moving rows of ${name}`, async (signal, report) => {
    let reported = 0;
    const onProgress = (share: number): void => {
      report({ increment: 100 * (share - reported) });
      reported = share;
    };
    const moved = await (isParquet(from) ? moveInParquet(rows, to, splitRows, signal) : moveOnDisk(rows, to, signal, onProgress));
    if (signal.aborted) await undo(moved); // it was too late to interrupt it
    return moved;
  });
  if (moved) void offerUndo(moved, rows.length === 1 ? l10n.t`Row moved to ${nameTo}.` : l10n.t`${rows.length} rows moved to ${nameTo}.`);
}

/** Until the notification is dismissed. */
async function offerUndo(moved: Moved, said: string): Promise<void> {
  undoable.add(moved);
  const title = l10n.t('Undo');
  const chosen = await vscode.window.showInformationMessage(said, title);
  undoable.delete(moved);
  await (chosen === title ? undo(moved) : moved.forget());
}

/** Where that fails, the rows are where they were moved. */
const undo = (moved: Moved): Promise<void> => moved.undo().catch(error => void showError(error)).finally(() => moved.forget());

async function moveRows(rows: readonly RowLocation[], to: string, splitRows: SplitRows): Promise<void> {
  if ((await needsViewer(rows[0]!.path)) || (await needsViewer(to))) return moveRowsOnDisk(rows, to, splitRows);
  const source = await vscode.workspace.openTextDocument(rows[0]!.path);
  const { version } = source;
  const name = path.basename(source.fileName);
  const nameTo = path.basename(to);
  await requireKeptBySaving(source);
  const scan = await readable(source);
  const found = new Set<number>();
  for (const row of rows) {
    const index = await findRow(scan, row, found);
    if (index === undefined) {
      throw new UserError(l10n.t`${name}, line ${row.line}: the row has been edited or removed meanwhile, so nothing was moved. Try again.`);
    }
    found.add(index);
  }
  const moved = [...found].sort((a, b) => a - b);
  const target = await openOrCreate(to, source, scan.format);
  await requireKeptBySaving(target);
  const wereSaved = !source.isDirty && !target.isDirty;
  const { eol } = target.lineCount > 1 ? target : source; // a file of one line has none of its own
  await setLineEnds(target, eol);
  const targetScan = await readable(target);
  if (targetScan.format.id !== scan.format.id) {
    throw new UserError(l10n.t`${nameTo} is written differently from ${name}: another format, or other columns. Nothing was moved.`);
  }
  const addition = scan.format.adding(targetScan, moved.map(index => scan.records[index]!.text), sourceOf(target), lineEnd(eol));
  if (source.version !== version) throw new UserError(l10n.t`${name} has been edited meanwhile, so nothing was moved. Try again.`);

  // VS Code applies the edit only to the versions that both documents have now.
  const edit = new vscode.WorkspaceEdit();
  for (const stretch of scan.format.removing(scan.records, moved, sourceOf(source))) edit.delete(source.uri, rangeOf(stretch));
  edit.insert(target.uri, new vscode.Position(addition.at.line, addition.at.character), addition.text);
  if (!(await vscode.workspace.applyEdit(edit))) {
    throw new UserError(l10n.t`Nothing was moved: ${name} or ${nameTo} has been edited meanwhile, or is read-only. Try again.`);
  }
  const changes = changedOnSave(source) ?? changedOnSave(target);
  if (wereSaved && changes) {
    void vscode.window.showWarningMessage(
      moved.length === 1
        ? l10n.t('Row moved to {0}, but neither file is saved: `{1}` would change other rows, too. Save both with “File: Save without Formatting”.', nameTo, changes)
        : l10n.t('{0} rows moved to {1}, but neither file is saved: `{2}` would change other rows, too. Save both with “File: Save without Formatting”.', moved.length, nameTo, changes),
    );
    return;
  }
  if (wereSaved) await save(target, source);
  vscode.window.setStatusBarMessage(moved.length === 1 ? l10n.t`Row moved to ${nameTo}` : l10n.t`${moved.length} rows moved to ${nameTo}`, 5000);
}

/** A setting by which saving the document changes more than what was edited, if any. */
function changedOnSave({ uri, languageId }: vscode.TextDocument): string | undefined {
  const settings = vscode.workspace.getConfiguration(undefined, { uri, languageId });
  const switches = ['editor.formatOnSave', 'files.trimTrailingWhitespace', 'files.trimFinalNewlines', 'files.insertFinalNewline'];
  const on = switches.find(name => settings.get<boolean>(name));
  const actions = Object.values(settings.get<Record<string, unknown>>('editor.codeActionsOnSave') ?? {});
  return on ?? (actions.some(value => value === true || value === 'explicit' || value === 'always') ? 'editor.codeActionsOnSave' : undefined);
}

async function readable(document: vscode.TextDocument): Promise<Scan> {
  const scan = await scanOf(document);
  if (!scan.broken) return scan;
  const { place, reason } = scan.broken;
  const where = `${path.basename(document.fileName)}:${place.line + 1}:${place.character + 1}`;
  throw new UserError(l10n.t`${where}: from here on the file cannot be read, so nothing was moved. ${reason}`);
}

/** By an edit of its own: undone together with an insertion, VS Code leaves part of that behind. */
async function setLineEnds(document: vscode.TextDocument, eol: vscode.EndOfLine): Promise<void> {
  if (document.eol === eol) return;
  const edit = new vscode.WorkspaceEdit();
  edit.set(document.uri, [vscode.TextEdit.setEndOfLine(eol)]);
  await vscode.workspace.applyEdit(edit);
}

const lineEnd = (eol: vscode.EndOfLine): string => (eol === vscode.EndOfLine.CRLF ? '\r\n' : '\n');

/** Saving writes a file as a whole: the rows that are not moved must come out of it byte for byte. */
async function requireKeptBySaving({ uri, encoding }: vscode.TextDocument): Promise<void> {
  const name = path.basename(uri.fsPath);
  await refuseReadOnly(uri.fsPath);
  const changed = findChangedBySaving(await readFile(uri.fsPath));
  if (changed) {
    throw new UserError(
      changed.by === 'encoding'
        ? l10n.t`${name}, line ${changed.line} is not valid UTF-8: saving the file would replace its bytes. Mend the line and save the file first; nothing has been changed.`
        : l10n.t`${name}, line ${changed.line} ends with another line end: saving the file would make all of them alike. Save the file with LF or CRLF throughout first; nothing has been changed.`,
    );
  }
  if (!encoding.startsWith('utf8')) {
    throw new UserError(l10n.t`${name} is open with the encoding ${encoding}. Reopen it with UTF-8 first; nothing has been changed.`);
  }
}

async function openOrCreate(file: string, like: vscode.TextDocument, format: Format): Promise<vscode.TextDocument> {
  try {
    const isNew = await stat(file).then(({ size }) => size === 0, () => true);
    await appendFile(file, isNew ? format.empty(lineEnd(like.eol)) : ''); // leaves a file that is there as it is
  } catch (error) {
    throw new UserError(l10n.t`${path.basename(file)} cannot be written, so nothing was moved: ${errorText(error)}`);
  }
  return vscode.workspace.openTextDocument(file);
}

/** What was added first: whatever happens in between, no row is on no disk. */
async function save(...documents: vscode.TextDocument[]): Promise<void> {
  for (const document of documents) {
    if (!(await document.save())) {
      const name = path.basename(document.uri.fsPath);
      throw new UserError(l10n.t`${name} could not be saved. The rows were moved in the editor; save both files there.`);
    }
  }
}
