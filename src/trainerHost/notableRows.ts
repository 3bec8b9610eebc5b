/** The rows of a run that somebody should read: the riskiest, and those that pulled the model hardest. Never their text. */
import { rowsOf, stepsThatCount } from './batches';
import { PullsSoFar } from './rowPull';
import type { Series } from './series';

export interface NotableRow {
  /** Index into the run's datasets. */
  file: number;
  line: number;
  hash: string;
  /** Null where the judge failed on it: it counts as 1. */
  risk: number | null;
  beta: number;
  /** Null where it was never regularised. */
  kl: number | null;
  timesMedian: number | null;
}

export interface NotableRows {
  /** Of the rows that were trained on and have any risk, the highest first. */
  riskiest: NotableRow[];
  /** The highest mean KL first. */
  hardest: NotableRow[];
}

const listed = 20;

/** @param steps those of the run, read to their end */
export async function readNotableRows(eventsFile: string, steps: Pick<Series, 'lineOf'>, signal?: AbortSignal): Promise<NotableRows> {
  const pulls = new PullsSoFar();
  const seen = new Map<string, Omit<NotableRow, 'kl' | 'timesMedian'>>();
  for await (const { rows } of stepsThatCount(eventsFile, steps, { signal })) {
    pulls.add(rows);
    for (const { file, line, hash, risk, beta } of rowsOf(rows)) seen.set(`${file}:${hash}`, { file, line, hash, risk, beta });
  }
  const result = pulls.result();
  const all = [...seen.values()].map((row): NotableRow => {
    const pull = result.get(row.file)?.get(row.hash);
    return { ...row, kl: pull?.kl ?? null, timesMedian: pull?.timesMedian ?? null };
  });
  const byPlace = (a: NotableRow, b: NotableRow) => a.file - b.file || a.line - b.line;
  const counted = ({ risk }: NotableRow) => risk ?? 1;
  return {
    riskiest: all.filter(row => counted(row) > 0).sort((a, b) => counted(b) - counted(a) || byPlace(a, b)).slice(0, listed),
    hardest: all.filter(({ kl }) => kl !== null).sort((a, b) => b.kl! - a.kl! || byPlace(a, b)).slice(0, listed),
  };
}
