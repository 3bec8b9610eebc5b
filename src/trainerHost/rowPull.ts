/** How far each row of a run pulled the model away from its safe reference, from the events of the run. */
import type { RowColumns } from '../protocol/messages';
import { stepsThatCount } from './batches';
import type { Series } from './series';

export interface RowPull {
  /** Mean KL(reference ‖ model) in nats a token, over the steps in which the row was regularised. */
  kl: number;
  /** Of the median of all such rows. */
  timesMedian: number;
}

/** By index into the run's datasets and content hash. Rows that were never regularised have no KL, and are left out. */
export type RowPulls = ReadonlyMap<number, ReadonlyMap<string, RowPull>>;

interface Sum {
  kl: number;
  times: number;
}

/** @param steps those of the run, read to their end */
export async function readRowPulls(eventsFile: string, steps: Pick<Series, 'lineOf'>): Promise<RowPulls> {
  const pulls = new PullsSoFar();
  for await (const { rows } of stepsThatCount(eventsFile, steps)) pulls.add(rows);
  return pulls.result();
}

/** Adds up rows step by step. */
export class PullsSoFar {
  private readonly sums = new Map<number, Map<string, Sum>>();

  add(rows: RowColumns): void {
    const { kl } = rows;
    if (kl.every(value => value === null)) return;
    const { file, hash } = rows;
    for (const [index, value] of kl.entries()) {
      if (value === null) continue;
      const ofFile = this.sums.get(file[index]!) ?? new Map<string, Sum>();
      this.sums.set(file[index]!, ofFile);
      const sum = ofFile.get(hash[index]!);
      if (sum) {
        sum.kl += value;
        sum.times++;
      } else ofFile.set(hash[index]!, { kl: value, times: 1 });
    }
  }

  result(): RowPulls {
    const means = [...this.sums.values()].flatMap(ofFile => [...ofFile.values()].map(({ kl, times }) => kl / times)).sort((a, b) => a - b);
    const median = means[Math.floor(means.length / 2)] ?? 0;
    const pullOf = ({ kl, times }: Sum): RowPull => ({ kl: kl / times, timesMedian: median > 0 ? kl / times / median : 0 });
    return new Map([...this.sums].map(([file, ofFile]) => [file, new Map([...ofFile].map(([hash, sum]) => [hash, pullOf(sum)]))]));
  }
}
