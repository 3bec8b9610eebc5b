/**
 * Moves flagged rows out of a dataset, unchanged, into `NAME.quarantine.jsonl` beside it: one edit of both
 * files, one undo step. Both are saved when neither had unsaved changes before; otherwise both are left
 * unsaved, in their editors, so that nothing else is saved along with them. (A quarantine that is new is on
 * the disk at once.) An undo leaves both unsaved, or removes the new file.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import * as vscode from 'vscode';
import type { RowLocation } from '../common/commands';
import { UserError } from '../common/userError';
import { DATASETS, DIAGNOSTIC_SOURCE, type Annotations } from './annotations';
import { findRow } from './navigation';
import { additionOf, deletionsOf, findChangedBySaving } from './quarantineEdit';
import { isQuarantine, quarantinePath } from './report';

/** Quick fixes of flagged rows. */
export class QuarantineActions implements vscode.CodeActionProvider {
  static readonly metadata: vscode.CodeActionProviderMetadata = {
    providedCodeActionKinds: [vscode.CodeActionKind.QuickFix],
  };

  constructor(private readonly annotations: Annotations) {}

  provideCodeActions(
    document: vscode.TextDocument,
    _: vscode.Range,
    context: vscode.CodeActionContext,
  ): vscode.CodeAction[] {
    const diagnostics = context.diagnostics.filter(({ source, code }) => source === DIAGNOSTIC_SOURCE && code === 'risk');
    const flagged = this.annotations.get(document)?.annotations?.report.flagged ?? [];
    if (diagnostics.length === 0 || document.uri.scheme !== 'file') return [];
    const target = path.basename(quarantinePath(document.uri.fsPath));
    const locate = ({ line, hash }: { line: number; hash: string }): RowLocation => ({
      path: document.uri.fsPath,
      line: line + 1,
      hash,
    });
    const actions = diagnostics.flatMap(diagnostic => {
      const row = flagged.find(({ line }) => line === diagnostic.range.start.line);
      if (!row) return [];
      return [quickFix(`Move row to ${target}`, [diagnostic], [locate(row)])];
    });
    if (flagged.length > 1) {
      actions.push(quickFix(`Move all ${flagged.length} flagged rows to ${target}`, diagnostics, flagged.map(locate)));
    }
    return actions;
  }
}

function quickFix(title: string, diagnostics: vscode.Diagnostic[], rows: RowLocation[]): vscode.CodeAction {
  const action = new vscode.CodeAction(title, vscode.CodeActionKind.QuickFix);
  action.diagnostics = diagnostics;
  action.command = { command: 'safeFinetuning.quarantineRow', title, arguments: rows };
  return action;
}

/** Moves the rows, all of one file. */
export async function quarantineRows(rows: readonly RowLocation[]): Promise<void> {
  const dataset = await vscode.workspace.openTextDocument(rows[0]!.path);
  const name = path.basename(dataset.uri.fsPath);
  if (isQuarantine(dataset.uri.fsPath)) throw new UserError(`${name} is a quarantine: its rows are not moved again.`);
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
  const quarantine = await openIfThere(target);
  await requireKeptBySaving(dataset);
  if (quarantine) await requireKeptBySaving(quarantine);
  const wereSaved = !dataset.isDirty && !quarantine?.isDirty;

  const edit = new vscode.WorkspaceEdit();
  const asLines = { lineCount: dataset.lineCount, lineAt: (line: number) => dataset.lineAt(line).text };
  for (const { start, end } of deletionsOf(lines, asLines)) {
    edit.delete(dataset.uri, new vscode.Range(start.line, start.character, end.line, end.character));
  }
  const texts = lines.map(asLines.lineAt);
  if (quarantine) {
    const { range, text } = quarantine.lineAt(quarantine.lineCount - 1);
    edit.insert(target, range.end, additionOf(texts, text, eolOf(quarantine)));
  } else {
    edit.createFile(target, { contents: Buffer.from(additionOf(texts, '', eolOf(dataset))) });
  }
  if (!(await vscode.workspace.applyEdit(edit))) {
    const what = 'could not be changed, so nothing was moved';
    throw new UserError(`${name} ${what}. Is it or ${path.basename(target.fsPath)} read-only?`);
  }
  if (wereSaved) await save(dataset, quarantine);
  const moved = lines.length === 1 ? 'Row' : `${lines.length} rows`;
  vscode.window.setStatusBarMessage(`${moved} moved to ${path.basename(target.fsPath)}`, 5000);
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

async function openIfThere(uri: vscode.Uri): Promise<vscode.TextDocument | undefined> {
  try {
    await vscode.workspace.fs.stat(uri);
  } catch {
    return undefined;
  }
  return vscode.workspace.openTextDocument(uri);
}

/** The quarantine first: whatever happens in between, no row is on no disk. */
async function save(dataset: vscode.TextDocument, quarantine: vscode.TextDocument | undefined): Promise<void> {
  for (const document of quarantine ? [quarantine, dataset] : [dataset]) {
    if (!(await document.save())) {
      const name = path.basename(document.uri.fsPath);
      throw new UserError(`${name} could not be saved. The rows were moved in the editor; save both files there.`);
    }
  }
}

const eolOf = ({ eol }: vscode.TextDocument): string => (eol === vscode.EndOfLine.CRLF ? '\r\n' : '\n');

export function registerQuarantineActions(annotations: Annotations): vscode.Disposable {
  const actions = new QuarantineActions(annotations);
  return vscode.languages.registerCodeActionsProvider(DATASETS, actions, QuarantineActions.metadata);
}
