/** How far each row of a run pulled the model away from its safe reference, from the events of the run. */
import { createReadStream } from 'node:fs';
import { Stretch } from '../common/stretch';
import type { RowColumns } from '../protocol/messages';
import { LineDecoder, LineParser } from './eventTail';
import type { Series } from './runState';

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

const chunkBytes = 512 * 1024;

/** @param steps those of the run: what an attempt has taken back is not among them */
export async function readRowPulls(eventsFile: string, steps: Pick<Series, 'lineOf'>): Promise<RowPulls> {
  const sums = new Map<number, Map<string, Sum>>();
  const [decoder, parser, stretch] = [new LineDecoder(), new LineParser(), new Stretch()];
  for await (const chunk of createReadStream(eventsFile, { highWaterMark: chunkBytes })) {
    for (const line of decoder.lines(chunk as Buffer)) {
      if (stretch.isOver) await stretch.pause();
      const parsed = parser.parse(line);
      if (!parsed || !('event' in parsed) || parsed.event.type !== 'batch') continue;
      const { step, rows } = parsed.event;
      if (steps.lineOf(step)?.offset === line.offset) add(rows, sums);
    }
  }
  return pulls(sums);
}

function add(rows: RowColumns, sums: Map<number, Map<string, Sum>>): void {
  const { kl } = rows;
  if (kl.every(value => value === null)) return;
  const { file, hash } = rows;
  for (const [index, value] of kl.entries()) {
    if (value === null) continue;
    const ofFile = sums.get(file[index]!) ?? new Map<string, Sum>();
    sums.set(file[index]!, ofFile);
    const sum = ofFile.get(hash[index]!);
    if (sum) {
      sum.kl += value;
      sum.times++;
    } else ofFile.set(hash[index]!, { kl: value, times: 1 });
  }
}

function pulls(sums: ReadonlyMap<number, ReadonlyMap<string, Sum>>): RowPulls {
  const means = [...sums.values()].flatMap(ofFile => [...ofFile.values()].map(({ kl, times }) => kl / times)).sort((a, b) => a - b);
  const median = means[Math.floor(means.length / 2)] ?? 0;
  const pullOf = ({ kl, times }: Sum): RowPull => ({ kl: kl / times, timesMedian: median > 0 ? kl / times / median : 0 });
  return new Map([...sums].map(([file, ofFile]) => [file, new Map([...ofFile].map(([hash, sum]) => [hash, pullOf(sum)]))]));
}
