/** What a table of a dataset's rows can be asked for: the worker that holds it answers. */
import * as l10n from '@vscode/l10n';
import type { RowScore } from '../../risk/cache';
import type { Place } from '../formats/format';
import type { JsonObject, Role } from '../rowForms';
import type { MessagesOfRow, Problem } from '../rows';

export type TableFilter = 'all' | 'flagged' | 'reviewed' | 'refusals' | 'malformed' | 'unjudged';
export type TableOrder = 'file' | 'risk';

/** Which rows are looked at, and in what order. */
export interface TableView {
  filter: TableFilter;
  order: TableOrder;
}

/** Of what is read so far. */
export interface TableSummary {
  counts: Record<TableFilter, number>;
  /** Rows by risk, in bins of 1 / HISTOGRAM_BINS; refusals and reviewed rows are not among them. */
  histogram: number[];
  threshold: number;
  /** Share of the file that has been read. */
  read: number;
  /** Rows that the classifier failed on. */
  failed: number;
  isDataset: boolean;
  /** Counts how often the file has been read: what was shown of another reading is old. */
  reading: number;
  broken: { place: Place; reason: string } | undefined;
}

export const HISTOGRAM_BINS = 20;

/** What a row is called elsewhere. */
export interface RowName {
  /** From 1. */
  line: number;
  hash: string;
}

/** A row as a list shows it. */
export interface TableRow extends RowName {
  /** Among the records of the file. */
  record: number;
  /** Undefined where nobody has judged it. */
  risk: number | undefined;
  state: 'ordinary' | 'flagged' | 'reviewed' | 'refusal' | 'malformed' | 'failed';
  /** The beginnings of the prompt that the risk is about and of its answer; of a malformed row what is wrong. */
  prompt: string;
  answer: string;
}

/** A row as a whole. */
export interface WholeRow extends TableRow {
  turns: { role: Role; content: string; worst: boolean }[];
  /** What stands in the file, of a malformed row. */
  raw: string | undefined;
  problem: Pick<Problem, 'code' | 'reason'> | undefined;
}

export interface UnjudgedRow {
  record: number;
  hash: string;
}

export interface JudgedRow extends RowScore {
  record: number;
}

export interface TableCalls {
  summary(): TableSummary;
  /** How many rows a view has, and those from `first` on. */
  page(view: TableView, first: number, count: number): { total: number; rows: TableRow[] };
  /** Rejects where the file is no longer what was read. */
  row(record: number): WholeRow;
  /** Where a row stands in a view; the one with this hash nearest to the line. */
  find(view: TableView, name: RowName): number | undefined;
  /** Rows that nobody has judged, from `from` on; `next` is where to go on, undefined at the end of what is read. */
  unjudged(from: number, count: number): { rows: UnjudgedRow[]; next: number | undefined };
  /** What there is to be judged; rejects where the file is no longer what was read. */
  messages(records: number[]): (UnjudgedRow & MessagesOfRow)[];
  know(judged: JudgedRow[]): void;
  fail(records: number[]): void;
  configure(options: { threshold?: number; reviewed?: string[] }): void;
  /** Names of the rows of a view, the first `most`. */
  names(view: TableView, most: number): RowName[];
  /** What the first records say, those that are objects, under the names of their own. */
  values(most: number): JsonObject[];
}

export type TableRequest = { [K in keyof TableCalls]: { id: number; call: K; args: Parameters<TableCalls[K]> } }[keyof TableCalls];

export type TableReply =
  | { id: number; value: unknown }
  /** `changed`: the file is no longer what was read. */
  | { id: number; failed: string; changed: boolean }
  /** More of the file has been read; `done` when all of it has. */
  | { rows: number; done: boolean }
  /** The file cannot be read at all. */
  | { unreadable: string };

export const FILE_CHANGED = l10n.t('The file has changed since it was read. Try again.');
export const FILE_GONE = l10n.t('The file is gone. It is read again when it is back.');

export interface TableWorkerData {
  file: string;
  spool: string;
  threshold: number;
  reviewed: string[];
  /** Of a quarantine no row is flagged. */
  flag: boolean;
  /** Whether the file should be a dataset, by its name. */
  expected: boolean;
  /** As in TableSummary. */
  reading: number;
}
