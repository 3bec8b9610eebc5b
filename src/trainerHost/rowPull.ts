/** How far each row of a run pulled the model away from its safe reference, from the events of the run. */
import type { AttemptStarted, Batch } from '../protocol/messages';
import { rowEvents, rowsOf, type SeenRow } from './batches';

export interface RowPull {
  /** Mean KL(reference ‖ model) in nats a token, over the steps in which the row was regularised. */
  kl: number;
  /** Of the median of all such rows. */
  timesMedian: number;
}

/** By index into the run's datasets and content hash. Rows that were never regularised have no KL, and are left out. */
export type RowPulls = ReadonlyMap<number, ReadonlyMap<string, RowPull>>;

export async function readRowPulls(eventsFile: string): Promise<RowPulls> {
  const pulls = new PullsSoFar();
  for await (const event of rowEvents(eventsFile)) pulls.add(event);
  return pulls.result();
}

/** Adds up rows event by event. */
export class PullsSoFar {
  private seen: SeenRow[] = [];

  add(event: AttemptStarted | Batch): void {
    if (event.type === 'attempt_started') {
      this.seen = this.seen.filter(({ step }) => step <= event.fromStep); // the others were taken back
      return;
    }
    for (const row of rowsOf(event.rows)) if (row.kl !== null) this.seen.push({ ...row, step: event.step });
  }

  result(): RowPulls {
    const sums = new Map<number, Map<string, { kl: number; times: number }>>();
    for (const { file, hash, kl } of this.seen) {
      const ofFile = sums.get(file) ?? new Map<string, { kl: number; times: number }>();
      const sum = ofFile.get(hash) ?? { kl: 0, times: 0 };
      ofFile.set(hash, { kl: sum.kl + kl!, times: sum.times + 1 });
      sums.set(file, ofFile);
    }
    const means = [...sums.values()].flatMap(ofFile => [...ofFile.values()].map(({ kl, times }) => kl / times)).sort((a, b) => a - b);
    const median = means[Math.floor(means.length / 2)] ?? 0;
    const pullOf = ({ kl, times }: { kl: number; times: number }): RowPull => ({ kl: kl / times, timesMedian: median > 0 ? kl / times / median : 0 });
    return new Map([...sums].map(([file, ofFile]) => [file, new Map([...ofFile].map(([hash, sum]) => [hash, pullOf(sum)]))]));
  }
}
