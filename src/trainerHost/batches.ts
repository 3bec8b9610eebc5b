/** The rows of a run's steps, read from its events. */
import { createReadStream } from 'node:fs';
import readline from 'node:readline';
import type { AnyEvent, Batch } from '../protocol/messages';

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

/** Rows in the order of their steps; those of steps that a later attempt took back are not among them. */
export async function seenRows(eventsFile: string, wanted: (row: StepRow) => boolean, mention = '', signal?: AbortSignal): Promise<SeenRow[]> {
  let seen: SeenRow[] = [];
  for await (const line of readline.createInterface({ input: createReadStream(eventsFile, { signal }), crlfDelay: Infinity })) {
    const event = parse(line, mention);
    if (event?.type === 'attempt_started') seen = seen.filter(({ step }) => step <= event.fromStep);
    if (event?.type === 'batch') seen.push(...rowsOf(event.rows).filter(wanted).map(row => ({ ...row, step: event.step })));
  }
  return seen;
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

/** The events of interest: of the steps, those that mention a text; a torn line is none. */
function parse(line: string, mention: string): AnyEvent | undefined {
  const isStep = line.includes('"type":"batch"') && line.includes(mention);
  if (!isStep && !line.includes('"type":"attempt_started"')) return undefined;
  try {
    return JSON.parse(line) as AnyEvent;
  } catch {
    return undefined;
  }
}
