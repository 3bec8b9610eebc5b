/**
 * The rows of a dataset file of any size: where each stands and what is known of it. Texts stay on the disk and
 * are read again when they are looked at.
 */
import { statSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { isMeantAsRow, isDatasetOf } from '../report';
import { isBlank, type JsonObject, type Message } from '../rowForms';
import { isPlain, pairsOf, type MessagesOfRow, type RowOrProblem } from '../rows';
import { Columns, FAILED, MALFORMED, REFUSAL } from './columns';
import { stampOf, type RecordSource, type SourceRecord } from './sources';
import {
  FILE_CHANGED,
  FILE_GONE,
  HISTOGRAM_BINS,
  type JudgedRow,
  type RowName,
  type TableCalls,
  type TableFilter,
  type TableRow,
  type TableSummary,
  type TableView,
  type TableWorkerData,
  type UnjudgedRow,
  type WholeRow,
} from './tableProtocol';

/** Names that the file is no longer what was read. */
export class FileChanged extends Error {
  constructor(isGone: boolean) {
    super(isGone ? FILE_GONE : FILE_CHANGED);
  }
}

const PREVIEW_CHARACTERS = 300;
const MOST_SHOWN_CHARACTERS = 100_000;

export class Table implements TableCalls {
  private readonly columns = new Columns();
  private read = 0;
  /** Records that are rows or may have been meant as rows. */
  private meant = 0;
  private threshold: number;
  private reviewed: Set<bigint>;
  private ordered: { key: string; records: Uint32Array; nextAt: number } | undefined;
  private isOrderOld = false;
  private readonly stamp;

  constructor(
    private readonly source: RecordSource,
    private readonly data: TableWorkerData,
  ) {
    this.threshold = data.threshold;
    this.reviewed = asHashes(data.reviewed);
    this.stamp = stampOf(statSync(data.file));
  }

  /** Reads the file; what has been read by then can be asked for meanwhile. */
  async readAll(onProgress: (rows: number) => void): Promise<void> {
    for await (const { records, share } of this.source.records()) {
      for (const record of records) this.add(record);
      this.read = share;
      this.isOrderOld = true;
      onProgress(this.columns.length);
      await setImmediate(); // requests take their turn
    }
    this.read = 1;
    onProgress(this.columns.length);
  }

  summary(): TableSummary {
    const counts: TableSummary['counts'] = { all: this.columns.length, flagged: 0, reviewed: 0, refusals: 0, malformed: 0, unjudged: 0 };
    const histogram = new Array<number>(HISTOGRAM_BINS).fill(0);
    let failed = 0;
    for (let record = 0; record < this.columns.length; record++) {
      const state = this.stateOf(record);
      if (state === 'failed') failed++;
      const counted = COUNTED_AS[state];
      if (counted) counts[counted]++;
      else if (Number.isNaN(this.columns.risk(record))) counts.unjudged++;
      if (state === 'ordinary' || state === 'flagged') {
        const risk = this.columns.risk(record);
        if (!Number.isNaN(risk)) histogram[Math.min(HISTOGRAM_BINS - 1, Math.floor(risk * HISTOGRAM_BINS + 1e-9))]!++;
      }
    }
    const { announced, broken } = this.source;
    const isDataset = isDatasetOf({ expected: this.data.expected, announced, broken, meant: this.meant, records: this.columns.length });
    return { counts, histogram, threshold: this.threshold, read: this.read, failed, isDataset, reading: this.data.reading, broken };
  }

  page(view: TableView, first: number, count: number): { total: number; rows: TableRow[] } {
    this.requireUnchanged();
    const { total, recordAt } = this.viewed(view);
    const rows: TableRow[] = [];
    for (let position = first; position < Math.min(total, first + count); position++) {
      const record = recordAt(position);
      rows.push(this.listed(record, this.readAgain(record).read));
    }
    return { total, rows };
  }

  row(record: number): WholeRow {
    this.requireUnchanged();
    const { text, read } = this.readAgain(record);
    const worst = this.columns.messageIndex(record);
    const listed = this.listed(record, read);
    if ('problem' in read) return { ...listed, turns: [], raw: shortened(text, MOST_SHOWN_CHARACTERS), problem: read.problem };
    const turns = read.row.messages.map(({ role, content }, index) => ({
      role,
      content: shortened(content, MOST_SHOWN_CHARACTERS),
      worst: listed.state === 'flagged' && index === worst,
    }));
    return { ...listed, turns, raw: undefined, problem: undefined };
  }

  find(view: TableView, { line, hash }: RowName): number | undefined {
    const { total, recordAt } = this.viewed(view);
    const wanted = BigInt(`0x${hash}`);
    let best: number | undefined;
    let distance = Infinity;
    for (let position = 0; position < total; position++) {
      const record = recordAt(position);
      if (this.columns.hash(record) !== wanted) continue;
      const away = Math.abs(this.columns.line(record) - line);
      if (away < distance) [best, distance] = [position, away];
    }
    return best;
  }

  unjudged(from: number, count: number): { rows: UnjudgedRow[]; next: number | undefined } {
    const rows: UnjudgedRow[] = [];
    let record = from;
    for (; record < this.columns.length && rows.length < count; record++) {
      if (this.isUnjudged(record)) rows.push({ record, hash: asHex(this.columns.hash(record)) });
    }
    return { rows, next: record < this.columns.length ? record : undefined };
  }

  messages(records: number[]): (UnjudgedRow & MessagesOfRow)[] {
    this.requireUnchanged();
    return records.flatMap(record => {
      const { read } = this.readAgain(record);
      return 'row' in read ? [{ record, hash: read.row.hash, messages: read.row.messages }] : [];
    });
  }

  know(judged: JudgedRow[]): void {
    for (const { record, risk, refusal, messageIndex } of judged) this.columns.judge(record, risk, refusal, messageIndex);
    this.isOrderOld = true;
  }

  fail(records: number[]): void {
    for (const record of records) this.columns.fail(record);
    this.isOrderOld = true;
  }

  configure({ threshold, reviewed }: { threshold?: number; reviewed?: string[] }): void {
    if (threshold !== undefined) this.threshold = threshold;
    if (reviewed) this.reviewed = asHashes(reviewed);
    this.ordered = undefined;
  }

  names(view: TableView, most: number): RowName[] {
    const { total, recordAt } = this.viewed(view);
    return Array.from({ length: Math.min(total, most) }, (_, position) => this.nameOf(recordAt(position)));
  }

  values(most: number): JsonObject[] {
    this.requireUnchanged();
    const records = Array.from({ length: Math.min(this.columns.length, most) }, (_, record) => record);
    return records.flatMap((record): JsonObject[] => {
      const value = this.source.format.valueOf(this.readAgain(record).text);
      return value ? [value] : [];
    });
  }

  private add({ offset, size, line, text, problem }: SourceRecord): void {
    const read: RowOrProblem = problem ? { problem } : this.source.format.read(text);
    const hash = 'row' in read ? BigInt(`0x${read.row.hash}`) : undefined;
    const { expected } = this.data;
    const kind = 'row' in read ? { plain: isPlain(read.row) } : read;
    if (isMeantAsRow(kind, text, { announced: this.source.announced, expected })) this.meant++;
    this.columns.push(offset, size, line, hash);
  }

  /** Before rows are read again: they might not be where they were. */
  private requireUnchanged(): void {
    const stamp = stampOrNothing(this.data.file);
    if (stamp !== this.stamp) throw new FileChanged(stamp === undefined);
  }

  private readAgain(record: number): { text: string; read: RowOrProblem } {
    const { text, problem } = this.source.textAt(this.columns.offset(record), this.columns.size(record));
    return { text, read: problem ? { problem } : this.source.format.read(text) };
  }

  private listed(record: number, read: RowOrProblem): TableRow {
    const risk = this.columns.risk(record);
    const common = { ...this.nameOf(record), record, risk: Number.isNaN(risk) ? undefined : risk, state: this.stateOf(record) };
    if ('problem' in read) return { ...common, prompt: read.problem.reason, answer: '' };
    const { prompt, answer } = shownPair(read.row.messages, this.columns.messageIndex(record));
    return { ...common, prompt: preview(prompt), answer: preview(answer) };
  }

  private nameOf(record: number): RowName {
    return { line: this.columns.line(record), hash: asHex(this.columns.hash(record)) };
  }

  private stateOf(record: number): TableRow['state'] {
    const state = this.columns.state(record);
    if (state & MALFORMED) return 'malformed';
    if (state & REFUSAL) return 'refusal';
    if (state & FAILED) return 'failed';
    if (!this.data.flag || !(this.columns.risk(record) >= this.threshold)) return 'ordinary';
    return this.reviewed.has(this.columns.hash(record)) ? 'reviewed' : 'flagged';
  }

  private isUnjudged(record: number): boolean {
    return !(this.columns.state(record) & (MALFORMED | FAILED)) && Number.isNaN(this.columns.risk(record));
  }

  /** The records of a view in their order; made anew when something has changed. */
  private viewed({ filter, order }: TableView): { total: number; recordAt: (position: number) => number } {
    const { columns } = this;
    if (filter === 'all' && order === 'file') return { total: columns.length, recordAt: position => position };
    const key = `${filter} ${order}`;
    if (this.ordered?.key !== key || (this.isOrderOld && performance.now() > this.ordered.nextAt)) {
      const began = performance.now();
      this.isOrderOld = false;
      let count = 0;
      const records = new Uint32Array(columns.length);
      for (let record = 0; record < columns.length; record++) if (this.isIn(record, filter)) records[count++] = record;
      const found = records.slice(0, count);
      if (order === 'risk') {
        const risk = (record: number): number => (Number.isNaN(columns.risk(record)) ? -1 : columns.risk(record));
        found.sort((a, b) => risk(b) - risk(a) || a - b);
      }
      const now = performance.now();
      // While rows are judged, no more than a tenth of the time goes into their order.
      this.ordered = { key, records: found, nextAt: now + 10 * (now - began) };
    }
    const { records } = this.ordered;
    return { total: records.length, recordAt: position => records[position]! };
  }

  private isIn(record: number, filter: TableFilter): boolean {
    if (filter === 'all') return true;
    if (filter === 'unjudged') return this.isUnjudged(record) || (this.columns.state(record) & FAILED) > 0;
    return COUNTED_AS[this.stateOf(record)] === filter;
  }
}

const COUNTED_AS: Record<TableRow['state'], TableFilter | undefined> = {
  ordinary: undefined,
  flagged: 'flagged',
  reviewed: 'reviewed',
  refusal: 'refusals',
  malformed: 'malformed',
  failed: 'unjudged',
};

/** The message that the risk is about with the answer to it; of a row that nobody judged, the first ones. */
function shownPair(messages: readonly Message[], worst: number): { prompt: string; answer: string } {
  const pairs = pairsOf(messages);
  const pair = pairs.find(({ promptIndex, answerIndex }) => promptIndex === worst || answerIndex === worst) ?? pairs[0];
  if (pair && !isBlank(pair.prompt)) return pair;
  return { prompt: '', answer: pair?.answer ?? '' };
}

function stampOrNothing(file: string): string | undefined {
  try {
    return stampOf(statSync(file));
  } catch {
    return undefined; // it is gone
  }
}

const asHex = (hash: bigint): string => hash.toString(16).padStart(16, '0');
const asHashes = (hashes: readonly string[]): Set<bigint> => new Set(hashes.map(hash => BigInt(`0x${hash}`)));
const shortened = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most)}…` : text);
const preview = (text: string): string => shortened(text.slice(0, 4 * PREVIEW_CHARACTERS).replace(/\s+/g, ' ').trim(), PREVIEW_CHARACTERS);
