/** From a row's name (file, line, content hash) to its place in an editor. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import type { RowLocation } from '../common/commands';
import { errorText } from '../common/log';
import { Pace } from '../common/pace';
import { UserError } from '../common/userError';
import { rangeOf, sourceOf } from './datasetDocument';
import { spanOfMessage } from './findings';
import { scanRecords } from './formats';
import { endOf, stretchIn, type Format, type Place, type RecordText, type Scan } from './formats/format';

/** The name of a row that stands at `line`, from 0. */
export const locationOf = (path: string, { line, hash }: { line: number; hash: string }): RowLocation => ({ path, line: line + 1, hash });

/** The records of a document, whatever it is like now. */
export function scanOf(document: vscode.TextDocument): Promise<Scan> {
  return scanRecords(document.fileName, sourceOf(document), new Pace());
}

/**
 * The index of the record with the location's hash: the one at the hinted line, else the nearest. Records in
 * `except` are other rows of the same content.
 */
export async function findRow(
  { format, records }: Scan,
  { line, hash }: RowLocation,
  except: ReadonlySet<number> = new Set(),
): Promise<number | undefined> {
  const pace = new Pace();
  const hinted = records.findIndex(({ start }) => start.line >= line - 1);
  for (const index of nearestFirst(hinted < 0 ? records.length : hinted, records.length)) {
    await pace.step();
    if (except.has(index)) continue;
    const read = format.read(records[index]!.text);
    if ('row' in read && read.row.hash === hash) return index;
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
    throw new UserError(l10n.t`${name} cannot be opened: ${errorText(error)}`);
  }
  const scan = await scanOf(document);
  const found = await findRow(scan, location);
  const line = Math.max(0, Math.min(location.line, document.lineCount) - 1);
  const selection = found === undefined ? document.lineAt(line).range : promptRange(scan.format, scan.records[found]!);
  await vscode.window.showTextDocument(document, { selection });
  if (found === undefined) {
    void vscode.window.showWarningMessage(
      l10n.t`The row has been edited or removed since it was recorded. Line ${line + 1} of ${name} is where it was.`,
    );
  }
}

export type Direction = 'next' | 'previous';

/** The record that begins nearest beyond `from`; behind the last one comes the first. Undefined where there is none. */
export function nextRecord(records: readonly RecordText[], from: Place, direction: Direction): RecordText | undefined {
  const sign = direction === 'next' ? 1 : -1;
  const compare = (a: Place, b: Place): number => sign * (a.line - b.line || a.character - b.character);
  const sorted = [...records].sort((a, b) => compare(a.start, b.start));
  return sorted.find(({ start }) => compare(start, from) > 0) ?? sorted[0];
}

/** The first user turn, or the whole row. */
export function promptRange(format: Format, record: RecordText): vscode.Range {
  const read = format.read(record.text);
  const prompt = 'row' in read ? read.row.messages.findIndex(({ role }) => role === 'user') : -1;
  const span = prompt < 0 ? undefined : spanOfMessage(format, record.text, prompt);
  return rangeOf(span ? stretchIn(record, span) : { start: record.start, end: endOf(record) });
}
