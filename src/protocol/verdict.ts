/** Whether a measurement has become better: all measures are such that lower is better. */
import type { MeanEstimate } from './messages';

type Interval = Pick<MeanEstimate, 'low' | 'high'>;

/** Undefined where the 95 % intervals overlap, or where there are none: the difference may be chance. */
export function verdict(before: Interval, after: Interval): 'better' | 'worse' | undefined {
  if (![before.low, before.high, after.low, after.high].every(Number.isFinite)) return undefined;
  if (after.low! > before.high!) return 'worse';
  return after.high! < before.low! ? 'better' : undefined;
}
