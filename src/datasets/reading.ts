/** A document as rows and problems; after an edit, only the records that changed are read again. */
import { isUtf8 } from 'node:buffer';
import * as l10n from '@vscode/l10n';
import { Pace } from '../common/pace';
import { decode, splitBytes } from './bytes';
import { scanRecords, type TextSource } from './formats';
import type { Broken, Format, RecordText, Scan } from './formats/format';
import { isPlain, type Problem } from './rows';

/** A text as lines, as an editor has them. */
export async function textSource(text: string, signal: AbortSignal): Promise<TextSource> {
  const pace = new Pace();
  const lines: { start: number; end: number | undefined }[] = [];
  const lineEnd = /\r\n|\r|\n/g;
  for (let start = 0; ; start = lineEnd.lastIndex) {
    await pace.step(signal);
    const found = lineEnd.exec(text);
    lines.push({ start, end: found?.index });
    if (!found) break;
  }
  return {
    lineCount: lines.length,
    lineAt: index => text.slice(lines[index]!.start, lines[index]!.end),
    textOf: (from, to) => text.slice(lines[from]?.start ?? text.length, lines[to]?.start),
  };
}

/** Contents of rows are not kept: the record has them. */
export type ReadRecord = RecordText & { read: { hash: string; plain?: true } | { problem: Problem } };

/** What a document held when it was read. */
export interface Reading extends Scan {
  records: ReadRecord[];
}

/** The lines of a file that are not UTF-8, which a document shows with replacement characters. */
export interface Undecodable {
  /** What is wrong with the bytes of a line that a document shows as `text`. */
  of(text: string, line: number): Problem | undefined;
  first: Broken;
  /** No line is, whatever the document shows. */
  isAll?: boolean;
}

export const UTF16_REASON = l10n.t('The file is in UTF-16, which is not read as a dataset. Save it with the encoding UTF-8.');

/** A document shows it as text; to whoever expects UTF-8 no line of it is. */
export const UTF16: Undecodable = { of: () => undefined, first: { place: { line: 0, character: 0 }, reason: UTF16_REASON }, isAll: true };

/** Whether the byte order mark says so. */
export const isUtf16 = ([first, second]: Uint8Array): boolean => (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);

export async function readDocument(
  file: string,
  source: TextSource,
  previous: Reading | undefined,
  undecodable: Undecodable | undefined,
  signal: AbortSignal,
): Promise<Reading> {
  const pace = new Pace();
  const { format, records, broken, announced, listStart } = await scanRecords(file, source, pace, signal);
  const known = previous?.format.id === format.id ? previous.records : [];
  const shorter = Math.min(records.length, known.length);
  let sameStart = 0;
  while (sameStart < shorter && records[sameStart]!.text === known[sameStart]!.text) {
    sameStart++;
    await pace.step(signal);
  }
  let sameEnd = 0;
  while (sameEnd < shorter - sameStart && records.at(-1 - sameEnd)!.text === known.at(-1 - sameEnd)!.text) {
    sameEnd++;
    await pace.step(signal);
  }
  const wrongBytes = format.isOfLines ? undecodable : undefined; // others are not read line by line
  const read: ReadRecord[] = [];
  for (const [index, record] of records.entries()) {
    await pace.step(signal);
    const fromEnd = records.length - index;
    const same = index < sameStart ? known[index] : fromEnd <= sameEnd ? known.at(-fromEnd) : undefined;
    read.push({ ...record, read: same?.read ?? readRecord(format, record, wrongBytes) });
  }
  return { format, records: read, broken: broken ?? brokenByBytes(format, source, undecodable), announced, ...(listStart && { listStart }) };
}

function readRecord(format: Format, { start, text }: RecordText, undecodable: Undecodable | undefined): ReadRecord['read'] {
  const wrong = undecodable?.of(text, start.line);
  if (wrong) return { problem: wrong };
  const read = format.read(text);
  return 'row' in read ? { hash: read.row.hash, ...(isPlain(read.row) && { plain: true as const }) } : read;
}

function brokenByBytes({ isOfLines }: Format, { lineCount, lineAt }: TextSource, undecodable: Undecodable | undefined): Broken | undefined {
  if (undecodable?.isAll) return undecodable.first;
  const line = undecodable?.first.place.line;
  if (line === undefined || isOfLines || line >= lineCount || !undecodable!.of(lineAt(line), line)) return undefined;
  return undecodable!.first;
}

export const invalidUtf8 = (offset: number): Problem => ({
  code: 'invalid-utf8',
  offset,
  reason: l10n.t('Not valid UTF-8. Save the file with the encoding UTF-8, and check this text.'),
});

/**
 * How many replacement characters there are is up to the editor, so lines are known by the text around those; in
 * a document of another encoding, which has none, by their number.
 */
export async function findUndecodable(bytes: Uint8Array, documentIsUtf8: boolean): Promise<Undecodable | undefined> {
  if (isUtf8(bytes)) return undefined;
  const around = (text: string): string => text.replace(/\ufffd+/g, '\ufffd');
  const byText = new Map<string, Problem>();
  const byLine = new Map<number, Problem>();
  const pace = new Pace();
  let line = 0;
  let first: Broken | undefined;
  for (const bytesOfLine of splitBytes(bytes)) {
    if (!isUtf8(bytesOfLine)) {
      const { text, invalidAt } = decode(bytesOfLine);
      const found = invalidUtf8(invalidAt!);
      first ??= { place: { line, character: invalidAt! }, reason: found.reason };
      byText.set(around(text), found);
      byLine.set(line, found);
    }
    line++;
    await pace.step();
  }
  return {
    first: first!,
    of: documentIsUtf8
      ? text => (text.includes('\ufffd') ? byText.get(around(text)) : undefined)
      : (_, line) => byLine.get(line),
  };
}
