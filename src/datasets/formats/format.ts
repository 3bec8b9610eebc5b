/**
 * What the formats of dataset files have in common: a file is a sequence of records, each of which is a row or
 * should be one. The rules, and which formats there are: index.ts.
 */
import type { Pace } from '../../common/pace';
import type { ColumnNames } from '../columnNames';
import type { JsonPath, Span } from '../jsonScan';
import type { JsonObject } from '../rowForms';
import type { RowOrProblem } from '../rows';

/** In a document: both count from 0, the character in UTF-16 units. */
export interface Place {
  line: number;
  character: number;
}

export interface Insertion {
  at: Place;
  text: string;
}

export interface Stretch {
  start: Place;
  end: Place;
}

/** What stands where a row stands or should stand. */
export interface RecordText {
  start: Place;
  text: string;
}

/** From a place on, a file cannot be read. */
export interface Broken {
  place: Place;
  reason: string;
}

export interface Replacement extends Span {
  text: string;
}

/** How records are written: to be compared by `id`, which says everything that their reading depends on. */
export interface Format {
  readonly id: string;
  /** Whether each line is read by itself, so that one that cannot be read breaks nothing else. */
  readonly isOfLines: boolean;
  read(text: string): RowOrProblem;
  /** What a record says under the names of its own, if it is an object at all. */
  valueOf(text: string): JsonObject | undefined;
  /** Where in a record the value at `path` stands; of a text without its quotes, if it has any. */
  spanOf(text: string, path: JsonPath): Span | undefined;
  /** What makes the text at `path` say `value`; undefined where it does not stand by itself. */
  replacing(text: string, path: JsonPath, value: string): Replacement | undefined;
  /** What to delete for the records at these indices, in order, to be gone, and nothing else. */
  removing(records: readonly RecordText[], removed: readonly number[], lines: LineSource): Stretch[];
  /** What to insert for records of these texts to follow those of a scan that is not broken. */
  adding(scan: Scan, texts: readonly string[], lines: LineSource, eol: string): Insertion;
  /** What a file without a record says. */
  empty(eol: string): string;
}

export interface ScanOptions {
  /** Of the columns, where the file has its own. */
  names: ColumnNames | undefined;
  pace: Pace;
  signal?: AbortSignal;
}

export interface Scan {
  format: Format;
  records: RecordText[];
  broken: Broken | undefined;
  /** Whether what stands around the rows, a header or the names of its columns, says that they are conversations. */
  announced: boolean;
  /** In a list, where its first row would stand. */
  listStart?: Place;
}

/** A document that is not copied: reading it is aborted when it changes. */
export interface LineSource {
  lineCount: number;
  lineAt: (index: number) => string;
}

/** The place `offset` characters behind the start of a record. */
export function placeIn({ start, text }: RecordText, offset: number): Place {
  let { line, character } = start;
  let from = 0;
  for (const end of text.slice(0, offset).matchAll(LINE_END)) {
    line++;
    character = 0;
    from = end.index + end[0].length;
  }
  return { line, character: character + offset - from };
}

export const endOf = (record: RecordText): Place => placeIn(record, record.text.length);

/** In a record, by places in the document. */
export const stretchIn = (record: RecordText, { start, end }: Span): Stretch => ({
  start: placeIn(record, start),
  end: placeIn(record, end),
});

export const LINE_END = /\r\n|\r|\n/g;

/** Whole lines, each with its line end, which the last one has not. */
export function wholeLines(records: readonly RecordText[], removed: readonly number[], { lineCount, lineAt }: LineSource): Stretch[] {
  return removed.map(index => {
    const record = records[index]!;
    const last = endOf(record).line;
    const end = last + 1 < lineCount ? { line: last + 1, character: 0 } : { line: last, character: lineAt(last).length };
    return { start: { line: record.start.line, character: 0 }, end };
  });
}

/** New lines at the end of a document. */
export function moreLines(texts: readonly string[], { lineCount, lineAt }: LineSource, eol: string): Insertion {
  const line = lineCount - 1;
  const last = lineAt(line);
  const at = { line, character: last.length };
  return { at, text: (last === '' ? '' : eol) + texts.map(text => text + eol).join('') };
}
