/** The lines of a document as rows and problems; after an edit, only the lines that changed are read again. */
import { isUtf8 } from 'node:buffer';
import { Pace } from '../common/pace';
import { decode, readLine, readLineBytes, splitBytes, type Problem } from './rows';

export type ReadLine = { hash: string } | { problem: Problem } | undefined;

/** What a document held when it was read: line i (from 0) said `texts[i]`, which is `lines[i]`. */
export interface Reading {
  texts: readonly string[];
  lines: readonly ReadLine[];
}

/** A document that is not copied: reading it is aborted when it changes. */
export interface LineSource {
  lineCount: number;
  lineAt(index: number): string;
}

/** What is wrong with the bytes of a line that a document shows as `text`. */
export type FindUndecodable = (text: string, index: number) => Problem | undefined;

export const NO_READING: Reading = { texts: [], lines: [] };
export const ALL_DECODABLE: FindUndecodable = () => undefined;

export async function readDocument(
  source: LineSource,
  previous: Reading,
  findUndecodable: FindUndecodable,
  signal: AbortSignal,
): Promise<Reading> {
  const pace = new Pace();
  const shorter = Math.min(source.lineCount, previous.texts.length);
  let sameStart = 0;
  while (sameStart < shorter && source.lineAt(sameStart) === previous.texts[sameStart]) {
    sameStart++;
    await pace.step(signal);
  }
  const fromEnd = (back: number): boolean =>
    source.lineAt(source.lineCount - 1 - back) === previous.texts[previous.texts.length - 1 - back];
  let sameEnd = 0;
  while (sameEnd < shorter - sameStart && fromEnd(sameEnd)) {
    sameEnd++;
    await pace.step(signal);
  }
  const changedTexts: string[] = [];
  const changedLines: ReadLine[] = [];
  for (let index = sameStart; index < source.lineCount - sameEnd; index++) {
    const text = source.lineAt(index);
    changedTexts.push(text);
    changedLines.push(readOne(text, index, findUndecodable));
    await pace.step(signal);
  }
  const endOfPrevious = previous.texts.length - sameEnd;
  return {
    texts: previous.texts.slice(0, sameStart).concat(changedTexts, previous.texts.slice(endOfPrevious)),
    lines: previous.lines.slice(0, sameStart).concat(changedLines, previous.lines.slice(endOfPrevious)),
  };
}

/**
 * The lines of a file that are not UTF-8. A document shows them with replacement characters, how many is
 * up to the editor, so lines are known by the text around those; in a document of another encoding, which
 * has none, by their number.
 */
export async function readUndecodable(bytes: Uint8Array, documentIsUtf8: boolean): Promise<FindUndecodable> {
  if (isUtf8(bytes)) return ALL_DECODABLE;
  const around = (text: string): string => text.replace(/\ufffd+/g, '\ufffd');
  const byText = new Map<string, Problem>();
  const byIndex = new Map<number, Problem>();
  const pace = new Pace();
  let index = 0;
  for (const line of splitBytes(bytes)) {
    const read = isUtf8(line) ? undefined : readLineBytes(line);
    if (read && 'problem' in read) {
      byText.set(around(decode(line).text), read.problem);
      byIndex.set(index, read.problem);
    }
    index++;
    await pace.step();
  }
  return documentIsUtf8
    ? text => (text.includes('\ufffd') ? byText.get(around(text)) : undefined)
    : (_, index) => byIndex.get(index);
}

/** Contents are not kept: the document has them. */
function readOne(text: string, index: number, findUndecodable: FindUndecodable): ReadLine {
  const undecodable = findUndecodable(text, index);
  if (undecodable) return { problem: undecodable };
  const read = readLine(text);
  return read && ('row' in read ? { hash: read.row.hash } : read);
}
