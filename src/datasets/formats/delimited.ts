/** CSV and TSV (RFC 4180) with a header. Our own reader, as no library says where in the file a cell stands. */
import * as l10n from '@vscode/l10n';
import type { ColumnNames } from '../columnNames';
import type { JsonPath, Span } from '../jsonScan';
import { nameConversation } from '../rowForms';
import { problem, rowOf, type RowOrProblem } from '../rows';
import { LINE_END, moreLines, wholeLines, type Format, type Insertion, type LineSource, type Replacement, type Scan, type ScanOptions } from './format';
import { TextWindow, type TextSource } from './textWindow';

const DELIMITERS = [',', ';', '\t', '|'] as const;
type Delimiter = (typeof DELIMITERS)[number];

interface Cell {
  value: string;
  /** Of the text, without quotes. */
  span: Span;
  quoted: boolean;
  /** A quote stands where none can. */
  misplaced: boolean;
}

export async function scanDelimited(source: TextSource, delimiter: Delimiter | undefined, { names, pace, signal }: ScanOptions): Promise<Scan> {
  const window = new TextWindow(source);
  const cells = cellReader(delimiter ?? delimiterOf(window));
  const scan: Scan = { format: new Delimited(cells, '', [], names), records: [], broken: undefined, announced: names !== undefined };
  let columns: string[] | undefined;
  for (let at = 0; at < window.text.length; at = window.moveTo(at)) {
    await pace.step(signal);
    BLANK_LINE.lastIndex = at;
    if (BLANK_LINE.test(window.text)) {
      at = BLANK_LINE.lastIndex;
      continue;
    }
    const start = window.placeOf(at);
    const from = at;
    const read = window.find(text => cells.read(text, from));
    if (!read) {
      scan.broken = { place: start, reason: l10n.t('This row has a quote that is not closed.') };
      break;
    }
    const record = window.text.slice(at, read.end);
    at = read.next;
    if (columns) {
      scan.records.push({ start, text: record });
      continue;
    }
    columns = read.cells.map(({ value }) => value);
    scan.announced ||= nameConversation(columns);
    scan.format = new Delimited(cells, record, columns, names);
    const named = columns.filter(name => name !== '');
    if (new Set(named).size < named.length) {
      scan.broken = { place: start, reason: l10n.t('Two columns of the header have the same name. Rename one of them.') };
      break;
    }
  }
  return scan;
}

class Delimited implements Format {
  readonly id: string;
  readonly isOfLines = false;
  readonly removing = wholeLines;

  /** A column without a name, which a table's index has, is no part of a row. */
  constructor(
    private readonly cells: CellReader,
    private readonly header: string,
    private readonly columns: readonly string[],
    private readonly names: ColumnNames | undefined,
  ) {
    this.id = `${cells.delimiter}${JSON.stringify(columns)} ${names?.id ?? ''}`;
  }

  read(text: string): RowOrProblem {
    const { cells } = this.cells.read(text, 0)!;
    const { columns } = this;
    if (cells.some(({ misplaced }) => misplaced)) {
      return problem('quote', 0, l10n.t('A quote stands where none can. Put the whole cell in quotes, and write those in it twice.'));
    }
    if (cells.length !== columns.length) {
      return problem('ragged', 0, l10n.t`The header has ${columns.length} columns, this row ${cells.length}. Put texts with "${this.cells.delimiter}" in quotes.`);
    }
    const nul = cells.findIndex(({ value }) => value.includes('\0'));
    if (nul >= 0) return problem('nul', 0, l10n.t('The cell contains a NUL character. Remove it: the file may be damaged.'), [columns[nul]!]);
    return rowOf(this.named(cells), 0, this.names);
  }

  valueOf(text: string): Record<string, string> {
    return this.named(this.cells.read(text, 0)!.cells);
  }

  private named(cells: readonly Cell[]): Record<string, string> {
    const named = this.columns.flatMap((name, index) => (name === '' ? [] : [[name, cells[index]?.value ?? '']]));
    return Object.fromEntries(named) as Record<string, string>;
  }

  spanOf(text: string, path: JsonPath): Span | undefined {
    return this.cellOf(text, path)?.span;
  }

  replacing(text: string, path: JsonPath, value: string): Replacement | undefined {
    const cell = this.cellOf(text, path);
    if (!cell) return undefined;
    const { span, quoted } = cell;
    const around = quoted ? { start: span.start - 1, end: span.end + 1 } : span;
    const bare = !/["\r\n]|^\s|\s$/.test(value) && !value.includes(this.cells.delimiter);
    return { ...around, text: bare ? value : `"${value.replaceAll('"', '""')}"` };
  }

  adding(_: Scan, texts: readonly string[], lines: LineSource, eol: string): Insertion {
    return moreLines(texts, lines, eol);
  }

  empty(eol: string): string {
    return this.header + eol;
  }

  private cellOf(text: string, path: JsonPath): Cell | undefined {
    const index = this.columns.indexOf(String(path[0]));
    return index < 0 ? undefined : this.cells.read(text, 0)?.cells[index];
  }
}

interface CellReader {
  delimiter: string;
  /** The record at `at`: its cells, its end, and where the next one is. Undefined where a quote is not closed. */
  read(text: string, at: number): { cells: Cell[]; end: number; next: number } | undefined;
}

const BLANK_LINE = /[ \t]*(?:\r\n|\r|\n|$)/y;

function cellReader(delimiter: Delimiter): CellReader {
  const d = delimiter === '|' ? '\\|' : delimiter;
  // Text without quotes around it, or what follows those that are; and what ends the cell.
  const plain = new RegExp(`([^${d}\\r\\n]*)(${d}|\\r\\n|\\r|\\n|$)`, 'y');
  return {
    delimiter,
    read(text, at) {
      const cells: Cell[] = [];
      for (;;) {
        const quoted = text[at] === '"';
        const start = quoted ? at + 1 : at;
        const closing = quoted ? closingQuote(text, start) : start;
        if (closing === undefined) return undefined;
        plain.lastIndex = quoted ? closing + 1 : start;
        const [whole, rest, end] = plain.exec(text)!;
        const written = quoted ? text.slice(start, closing) : rest!;
        cells.push({
          value: quoted ? written.replaceAll('""', '"').replace(LINE_END, '\n') : written,
          span: { start, end: start + written.length },
          quoted,
          misplaced: quoted ? rest !== '' : /^[ \t]+"/.test(written),
        });
        at = (quoted ? closing + 1 : start) + whole.length;
        if (end !== delimiter) return { cells, end: at - end!.length, next: at };
      }
    },
  };
}

/** Of the text in quotes that begins at `start`; undefined where there is none. By hand: patterns run out of stack. */
function closingQuote(text: string, start: number): number | undefined {
  for (let at = text.indexOf('"', start); at >= 0; at = text.indexOf('"', at + 2)) if (text[at + 1] !== '"') return at;
  return undefined;
}

/** What most often stands outside quotes in the header. */
function delimiterOf(window: TextWindow): Delimiter {
  let unquoted = '';
  let at = window.find(text => /[^ \t\r\n]/.exec(text)?.index);
  while (at !== undefined && at < window.text.length && !/[\r\n]/.test(window.text[at]!)) {
    const next: number = at + 1;
    const isQuote = window.text[at] === '"';
    if (!isQuote) unquoted += window.text[at];
    const closing = isQuote ? window.find(text => closingQuote(text, next)) : at;
    at = closing === undefined ? undefined : closing + 1;
  }
  const count = (delimiter: string): number => unquoted.split(delimiter).length;
  return DELIMITERS.reduce((most, delimiter) => (count(delimiter) > count(most) ? delimiter : most));
}
