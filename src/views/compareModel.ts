/** Runs as the page that compares them sees them. Pure. */
import path from 'node:path';
import type { Run } from '../trainerHost/run';
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
  if (!run) return { folder, id, name: id, status: null, before: null, after: null };
  const { before, after } = run.state;
  return {
    folder,
    id,
    name: runLabel(run),
    status: run.status,
    before: before?.metrics ?? null,
    after: after?.metrics ?? null,
  };
}
