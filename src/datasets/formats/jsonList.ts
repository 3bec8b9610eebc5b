/** JSON: a list of rows, or an object with such a list as its `data`. */
import * as l10n from '@vscode/l10n';
import type { ColumnNames } from '../columnNames';
import { endOfValue, JsonError } from '../jsonScan';
import { endOf, type Broken, type Format, type Insertion, type LineSource, type Place, type RecordText, type Scan, type ScanOptions, type Stretch } from './format';
import { jsonRecord } from './jsonRecord';
import { TextWindow, type TextSource } from './textWindow';

const jsonList = (names: ColumnNames | undefined): Format => ({
  id: `json ${names?.id ?? ''}`,
  isOfLines: false,
  ...jsonRecord(names),
  removing,
  adding,
  empty: eol => `[${eol}]${eol}`,
});

/** Undefined where it is no list, nor an object that is not the first of many, one a line. */
export async function scanJsonList(source: TextSource, { names, pace, signal }: ScanOptions): Promise<Scan | undefined> {
  const scan: Scan = { format: jsonList(names), records: [], broken: undefined, announced: names !== undefined };
  const window = new TextWindow(source);
  try {
    const start = afterSpace(0);
    const { line } = window.placeOf(start);
    const isList = window.text[start] === '[';
    if (!isList && window.text[start] !== '{') return undefined;
    const end = isList ? await readList(start) : await readObject(start);
    if (!scan.listStart && window.placeOf(end).line === line && isBlankAfter(end)) return undefined;
    const rest = afterSpace(end);
    if (rest < window.text.length) throw new JsonError(rest, l10n.t('there is more after its end'));
    if (!scan.listStart) {
      const reason = l10n.t('it is neither a list of rows nor an object with such a list as `data`');
      scan.broken = notJson({ line, character: 0 }, reason);
    }
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    scan.broken = notJson(window.placeOf(error.offset), error.message);
  }
  return scan;

  async function readList(start: number): Promise<number> {
    scan.records = [];
    scan.listStart = window.placeOf(start + 1);
    return members(start, ']', at => {
      const end = endOfMember(at);
      scan.records.push({ start: window.placeOf(at), text: window.text.slice(at, end) });
      return end;
    });
  }

  /** Of `data` that is there twice, the last counts. */
  async function readObject(start: number): Promise<number> {
    try {
      return await members(start, '}', at => {
        if (window.text[at] !== '"') throw new JsonError(at, l10n.t('a property name in double quotes is expected'));
        const nameEnd = endOfMember(at);
        const name: unknown = JSON.parse(window.text.slice(at, nameEnd));
        const colon = afterSpace(nameEnd);
        if (window.text[colon] !== ':') throw new JsonError(colon, l10n.t('a colon is expected'));
        const value = afterSpace(colon + 1);
        if (name !== 'data') return endOfMember(value);
        forgetList();
        return window.text[value] === '[' ? readList(value) : endOfMember(value);
      });
    } catch (error) {
      forgetList();
      throw error;
    }
  }

  function forgetList(): void {
    scan.records = [];
    delete scan.listStart;
  }

  /** Has `readMember` read every member of the container at `start`, from its start to its end. */
  async function members(start: number, closing: string, readMember: (at: number) => number | Promise<number>): Promise<number> {
    let at = afterSpace(start + 1);
    if (window.text[at] === closing) return at + 1;
    for (;;) {
      await pace.step(signal);
      at = afterSpace(await readMember(window.moveTo(at)));
      if (window.text[at] === closing) return at + 1;
      if (window.text[at] !== ',') throw new JsonError(at, l10n.t`a comma or ${closing} is expected`);
      at = afterSpace(at + 1);
    }
  }

  function afterSpace(at: number): number {
    for (;;) {
      SPACE.lastIndex = at;
      SPACE.test(window.text);
      if (SPACE.lastIndex < window.text.length || window.isLast) return SPACE.lastIndex;
      at = window.moveTo(SPACE.lastIndex);
    }
  }

  function endOfMember(at: number): number {
    for (;;) {
      try {
        return endOfValue(window.text, at);
      } catch (error) {
        // No token goes from one line to the next: only what is wrong at the very end may go on.
        if (!(error instanceof JsonError) || error.offset < window.text.length || window.isLast) throw error;
        window.grow();
      }
    }
  }

  function isBlankAfter(at: number): boolean {
    REST_OF_LINE.lastIndex = at;
    return REST_OF_LINE.test(window.text);
  }
}

const notJson = (place: Place, reason: string): Broken => ({ place, reason: l10n.t`Not valid JSON: ${reason}.` });

const SPACE = /[ \t\r\n]*/y;
const REST_OF_LINE = /[ \t\r]*(?:\n|$)/y;

/** With the comma that parts a row from the next one, or the last ones from the one before. */
function removing(records: readonly RecordText[], removed: readonly number[]): Stretch[] {
  const gone = new Set(removed);
  const stretches: Stretch[] = [];
  for (let first = 0; first < records.length; first++) {
    if (!gone.has(first)) continue;
    let next = first;
    while (gone.has(next)) next++;
    if (next < records.length) stretches.push({ start: records[first]!.start, end: records[next]!.start });
    else if (first > 0) stretches.push({ start: endOf(records[first - 1]!), end: endOf(records[next - 1]!) });
    else stretches.push({ start: records[0]!.start, end: endOf(records[next - 1]!) });
    first = next;
  }
  return stretches;
}

function adding({ records, listStart }: Scan, texts: readonly string[], { lineAt }: LineSource, eol: string): Insertion {
  const last = records.at(-1);
  if (!last) return { at: listStart!, text: eol + texts.join(`,${eol}`) };
  const before = lineAt(last.start.line).slice(0, last.start.character);
  const indent = before.trim() === '' ? before : '';
  return { at: endOf(last), text: texts.map(text => `,${eol}${indent}${text}`).join('') };
}
