/** The rows of a run's steps, read from its events. */
import { createReadStream } from 'node:fs';
import readline from 'node:readline';
import type { AttemptStarted, Batch } from '../protocol/messages';
import { parseEvent } from './eventTail';

/** A row of one step. Its text is never here. */
export interface StepRow {
  /** Index into the run's datasets. */
  file: number;
  line: number;
  hash: string;
  /** `null` where it is unscored. */
  risk: number | null;
  beta: number;
  nll: number | null;
  /** `null` where it was not regularised. */
  kl: number | null;
}

export interface SeenRow extends StepRow {
  step: number;
}

export const rowsOf = (rows: Batch['rows']): StepRow[] =>
  rows.hash.map((hash, index) => ({
    file: rows.file[index] ?? 0,
    line: rows.line[index] ?? 1,
    hash,
    risk: rows.risk[index] ?? null,
    beta: rows.beta[index] ?? 0,
    nll: rows.nll[index] ?? null,
    kl: rows.kl[index] ?? null,
  }));

/** What a run's events say of rows, from the first on; of the steps, those that mention a text. Rejects once `signal` is aborted. */
export async function* rowEvents(eventsFile: string, signal?: AbortSignal, mention = ''): AsyncGenerator<AttemptStarted | Batch> {
  for await (const line of readline.createInterface({ input: createReadStream(eventsFile, { signal }), crlfDelay: Infinity })) {
    const isStep = line.includes('"type":"batch"') && line.includes(mention);
    if (!isStep && !line.includes('"type":"attempt_started"')) continue;
    const parsed = parseEvent(line); // a torn line is none
    if ('event' in parsed && (parsed.event.type === 'attempt_started' || parsed.event.type === 'batch')) yield parsed.event;
  }
}

/** One row in the order of its steps, but for those that a later attempt took back. */
export async function stepsOfRow(eventsFile: string, hash: string, isIn: (file: number) => boolean, signal?: AbortSignal): Promise<SeenRow[]> {
  let seen: SeenRow[] = [];
  for await (const event of rowEvents(eventsFile, signal, hash)) {
    if (event.type === 'attempt_started') seen = seen.filter(({ step }) => step <= event.fromStep);
    else seen.push(...rowsOf(event.rows).filter(row => row.hash === hash && isIn(row.file)).map(row => ({ ...row, step: event.step })));
  }
  return seen;
}
