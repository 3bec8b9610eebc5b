/** The series of several runs on one axis. Pure. */
import uPlot from 'uplot';
import { comparedSeries, type ComparedSeries } from '../../src/views/compareProtocol';
import type { Look } from '../../src/views/chartProtocol';
import type { Cell, ChartData } from '../charts/chartSpec';
import { growing } from '../charts/values';

export type Axis = Look['axis'];

type Cells = Record<ComparedSeries, Cell[]>;

export interface RunColumns {
  values: Cells;
  smoothed: Cells | null;
  /** On the axis. */
  extent: [number, number];
}

export type KnownRun = RunColumns | undefined;

type Key = `${number}:${ComparedSeries}`;

/** One axis with the points of all; where only others have one, a run has none, which is no gap. */
export function layOver(runs: readonly KnownRun[], axis: Axis): ChartData<Key> {
  const smoothed = runs.some(run => run?.smoothed) ? joined(runs, axis, run => run.smoothed ?? run.values) : null;
  const { x, values } = joined(runs, axis, run => run.values);
  return { x, values, smoothed: smoothed?.values ?? null };
}

function joined(runs: readonly KnownRun[], axis: Axis, columnsOf: (run: RunColumns) => Cells): { x: number[]; values: Record<Key, Cell[]> } {
  const keys: Key[] = [];
  const tables = runs.map((run, index): uPlot.AlignedData => {
    keys.push(...comparedSeries.map((name): Key => `${index}:${name}`));
    if (!run) return [[], ...comparedSeries.map(() => [])];
    const whole = run.values[axis].map(value => value ?? NaN);
    const indices = growing(whole);
    return [indices.map(at => whole[at]!), ...comparedSeries.map(name => indices.map(at => columnsOf(run)[name][at]))];
  });
  const [x, ...columns] = tables.length > 1 ? uPlot.join(tables) : tables[0]!;
  return { x: x as number[], values: Object.fromEntries(keys.map((key, at) => [key, columns[at] ?? []])) as Record<Key, Cell[]> };
}

/** What all of them reach from and to. */
export function extentOf(runs: readonly KnownRun[]): [number, number] {
  const known = runs.filter(run => run !== undefined);
  return [Math.min(...known.map(({ extent }) => extent[0])), Math.max(...known.map(({ extent }) => extent[1]))];
}
