/** The rows of a run's steps, read from its events. */
import { createReadStream } from 'node:fs';
import { Pace } from '../common/pace';
import type { Batch } from '../protocol/messages';
import { LineDecoder, LineParser } from './eventTail';
import type { Series } from './series';

const chunkBytes = 512 * 1024;

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

/**
 * The steps of a run that still count, from the first on. Rejects once `signal` is aborted.
 * @param steps those of the run, read to their end: what an attempt has taken back is not among them
 * @param mention only those whose line holds this text
 */
export async function* stepsThatCount(eventsFile: string, steps: Pick<Series, 'lineOf'>, { signal, mention }: { signal?: AbortSignal; mention?: string } = {}): AsyncGenerator<Batch> {
  const [decoder, parser, pace] = [new LineDecoder(), new LineParser(), new Pace()];
  for await (const chunk of createReadStream(eventsFile, { highWaterMark: chunkBytes, signal })) {
    for (const line of decoder.lines(chunk as Buffer)) {
      if (pace.isOver) await pace.pause();
      if (mention !== undefined && !line.bytes.subarray(line.from, line.to).includes(mention)) continue;
      const parsed = parser.parse(line);
      if (!parsed || !('event' in parsed) || parsed.event.type !== 'batch') continue;
      if (steps.lineOf(parsed.event.step)?.offset === line.offset) yield parsed.event;
    }
  }
}

/** One row, in the order of its steps. */
export async function stepsOfRow(eventsFile: string, steps: Pick<Series, 'lineOf'>, hash: string, isIn: (file: number) => boolean, signal?: AbortSignal): Promise<SeenRow[]> {
  const seen: SeenRow[] = [];
  for await (const { step, rows } of stepsThatCount(eventsFile, steps, { signal, mention: hash })) {
    seen.push(...rowsOf(rows).filter(row => row.hash === hash && isIn(row.file)).map(row => ({ ...row, step })));
  }
  return seen;
}
