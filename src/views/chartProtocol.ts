/** What the extension and every page with charts say to each other about a run's series. */
import type { SeriesName } from '../trainerHost/series';

/** `null` where a value is missing. */
export type Columns<Name extends SeriesName> = Record<Name, (number | null)[]>;

export interface SeriesMessage<Name extends SeriesName> {
  type: 'series';
  /** Instead of what the page has, or after it. */
  replace: boolean;
  columns: Columns<Name>;
  /** The same, smoothed, where that was asked for. */
  smoothed: Columns<Name> | null;
  /** Of the series that have a value at some steps only, where among these it was NaN or infinite, which is another thing than none. */
  gaps: Partial<Record<Name, number[]>>;
  /** What the whole run reaches from and to, on the axis. */
  extent: [number, number];
}

/** Which part of a run a page looks at, and how. */
export interface Look {
  /** What grows from step to step. */
  axis: 'step' | 'epoch' | 'time';
  /** From and to on the axis; `null` is everything. */
  range: [number, number] | null;
  /** What the steps before weigh in a smoothed value, from 0 to less than 1. */
  smoothing: number;
}

export const wholeRun: Look = { axis: 'step', range: null, smoothing: 0 };

/** A page's word is not trusted. */
export function asLook({ axis, range, smoothing }: Look): Look {
  const isRange = range?.length === 2 && range.every(Number.isFinite) && range[0] < range[1];
  return {
    axis: axis === 'epoch' || axis === 'time' ? axis : 'step',
    range: isRange ? range : null,
    smoothing: smoothing >= 0 && smoothing < 1 ? smoothing : 0,
  };
}
