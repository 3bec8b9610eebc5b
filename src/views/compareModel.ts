/** Runs as the page that compares them sees them. Pure. */
import path from 'node:path';
import type { Run } from '../trainerHost/run';
import type { Series } from '../trainerHost/runState';
import type { Look } from './chartProtocol';
import type { ComparedRun, ToCompare } from './compareProtocol';
import { configDifferences } from './configDifference';
import { runLabel } from './describe';

type Runs = readonly (Run | undefined)[];

export const runsMessage = (folders: readonly string[], runs: Runs): Extract<ToCompare, { type: 'runs' }> => ({
  type: 'runs',
  runs: folders.map((folder, index) => comparedRun(folder, runs[index])),
  differences: configDifferences(runs.map(run => run?.record?.config)),
});

function comparedRun(folder: string, run: Run | undefined): ComparedRun {
  const id = path.basename(folder);
  if (!run) return { folder, id, name: id, status: null, began: null, before: null, after: null };
  const { series, before, after } = run.state;
  return {
    folder,
    id,
    name: runLabel(run),
    status: run.status,
    began: series.length ? beganAt(series) : null,
    before: before?.metrics ?? null,
    after: after?.metrics ?? null,
  };
}

/** When its first step was done, milliseconds since the Unix epoch. */
export const beganAt = (series: Series): number => series.at('ts', 0);

/** Times of several runs are counted from the first step of each. */
export function lookAtRun(look: Look, series: Series): Look {
  const { axis, range } = look;
  if (axis !== 'ts' || !range || !series.length) return look;
  const began = beganAt(series);
  return { ...look, range: [range[0] + began, range[1] + began] };
}
