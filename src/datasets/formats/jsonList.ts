/** JSON: a list of rows, or an object with such a list as its `data`. */
import * as l10n from '@vscode/l10n';
import type { ColumnNames } from '../columnNames';
import { endOfValue, JsonError } from '../jsonScan';
import { endOf, Walk, type Format, type Insertion, type LineSource, type RecordText, type Scan, type ScanOptions, type Stretch } from './format';
import { jsonRecord } from './jsonRecord';

const jsonList = (names: ColumnNames | undefined): Format => ({
  id: `json ${names?.id ?? ''}`,
  isOfLines: false,
  ...jsonRecord(names),
  removing,
  adding,
  empty: eol => `[${eol}]${eol}`,
});

export async function scanJsonList(text: string, { names, pace, signal }: ScanOptions): Promise<Scan> {
  const scan: Scan = { format: jsonList(names), records: [], broken: undefined, announced: names !== undefined };
  const walk = new Walk(text);
  try {
    const start = afterSpace(text, 0);
    const end = text[start] === '[' ? await readList(start) : await readObject(start);
    const rest = afterSpace(text, end);
    if (rest < text.length) throw new JsonError(rest, l10n.t('there is more after its end'));
    if (!scan.listStart) throw new JsonError(start, l10n.t('it is neither a list of rows nor an object with such a list as `data`'));
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    scan.broken = { place: new Walk(text).to(error.offset), reason: l10n.t`Not valid JSON: ${error.message}.` };
  }
  return scan;

  async function readList(start: number): Promise<number> {
    scan.records = [];
    scan.listStart = walk.to(start + 1);
    return members(start, ']', at => {
      const end = endOfValue(text, at);
      scan.records.push({ start: walk.to(at), text: text.slice(at, end) });
      return end;
    });
  }

  async function readObject(start: number): Promise<number> {
    let data: number | undefined;
    const end = await members(start, '}', at => {
      if (text[at] !== '"') throw new JsonError(at, l10n.t('a property name in double quotes is expected'));
      const nameEnd = endOfValue(text, at);
      const colon = afterSpace(text, nameEnd);
      if (text[colon] !== ':') throw new JsonError(colon, l10n.t('a colon is expected'));
      const value = afterSpace(text, colon + 1);
      if (JSON.parse(text.slice(at, nameEnd)) === 'data') data = text[value] === '[' ? value : undefined;
      return endOfValue(text, value);
    });
    if (data !== undefined) await readList(data);
    return end;
  }

  /** Has `readMember` read every member of the container at `start`, from its start to its end. */
  async function members(start: number, closing: string, readMember: (at: number) => number): Promise<number> {
    let at = afterSpace(text, start + 1);
    if (text[at] === closing) return at + 1;
    for (;;) {
      await pace.step(signal);
      at = afterSpace(text, readMember(at));
      if (text[at] === closing) return at + 1;
      if (text[at] !== ',') throw new JsonError(at, l10n.t`a comma or ${closing} is expected`);
      at = afterSpace(text, at + 1);
    }
  }
}

const SPACE = /[ \t\r\n]*/y;

function afterSpace(text: string, at: number): number {
  SPACE.lastIndex = at;
  SPACE.test(text);
  return SPACE.lastIndex;
}

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
