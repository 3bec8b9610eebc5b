/** From a row's name (file, line, content hash) to its place in an editor. */
import path from 'node:path';
import * as vscode from 'vscode';
import type { RowLocation } from '../common/commands';
import { errorText } from '../common/log';
import { Pace } from '../common/pace';
import { UserError } from '../common/userError';
import { readLine, spanOfMessage } from './rows';

/** The name of a row that stands at `line`, from 0. */
export const locationOf = (path: string, { line, hash }: { line: number; hash: string }): RowLocation => ({ path, line: line + 1, hash });

/**
 * The line (from 0) of the row with the location's hash: the hinted one, else the nearest. Lines in
 * `except` belong to other rows of the same content.
 */
export async function findRow(
  document: vscode.TextDocument,
  { line, hash }: RowLocation,
  except: ReadonlySet<number> = new Set(),
): Promise<number | undefined> {
  const pace = new Pace();
  const { version } = document;
  for (const index of nearestFirst(line - 1, document.lineCount)) {
    await pace.step();
    if (document.version !== version) return undefined;
    if (except.has(index)) continue;
    const read = readLine(document.lineAt(index).text);
    if (read && 'row' in read && read.row.hash === hash) return index;
  }
  return undefined;
}

/** Every index below `count`, from `start` outwards. */
export function* nearestFirst(start: number, count: number): Generator<number> {
  const from = Math.max(0, Math.min(start, count - 1));
  for (let distance = 0; distance < count; distance++) {
    if (from + distance < count) yield from + distance;
    if (distance > 0 && from - distance >= 0) yield from - distance;
  }
}

/** Opens the file with the row's prompt selected; says so where the row is no longer there. */
export async function showRow(location: RowLocation): Promise<void> {
  const name = path.basename(location.path);
  let document: vscode.TextDocument;
  try {
    document = await vscode.workspace.openTextDocument(location.path);
  } catch (error) {
    throw new UserError(`${name} cannot be opened: ${errorText(error)}`);
  }
  const found = await findRow(document, location);
  const line = found ?? Math.max(0, Math.min(location.line, document.lineCount) - 1);
  const selection = found === undefined ? document.lineAt(line).range : promptRange(document, line);
  await vscode.window.showTextDocument(document, { selection });
  if (found === undefined) {
    void vscode.window.showWarningMessage(
      `The row has been edited or removed since it was recorded. Line ${line + 1} of ${name} is where it was.`,
    );
  }
}

export type Direction = 'next' | 'previous';

/** The nearest of `lines` beyond `from`; behind the last one comes the first. Undefined where there is none. */
export function nextLine(lines: readonly number[], from: number, direction: Direction): number | undefined {
  const sorted = [...lines].sort((a, b) => (direction === 'next' ? a - b : b - a));
  return sorted.find(line => (direction === 'next' ? line > from : line < from)) ?? sorted[0];
}

/** The first user turn, or the whole row. */
export function promptRange(document: vscode.TextDocument, line: number): vscode.Range {
  const { text, range } = document.lineAt(line);
  const read = readLine(text);
  const prompt = read && 'row' in read ? read.row.messages.findIndex(({ role }) => role === 'user') : -1;
  const span = prompt < 0 ? undefined : spanOfMessage(text, prompt);
  return span ? new vscode.Range(line, span.start, line, span.end) : range;
}
