/** From where to where the scale of a chart's values reaches. Pure. */
import type { Range } from './chartSpec';
import { paddedRange } from './drawing';
import { percentiles } from './values';

const outermost = [0.01, 0.99] as const;

export interface Scaled {
  /** Of all that is shown. */
  low: number | null;
  high: number | null;
  /** What it shows at least; otherwise the values decide. */
  least?: Range | undefined;
  level: number | null;
  isLogarithmic: boolean;
  /** The shown values, where the most extreme of them are to be left out. */
  clipped: number[] | null;
}

/** `outside`: how many values do not lie in the range. */
export function valueScale({ low, high, least, level, isLogarithmic, clipped }: Scaled): { range: Range; outside: number } {
  if (least) return { range: [least[0], Math.max(least[1], 1.06 * Math.max(high ?? 0, level ?? 0))], outside: 0 };
  const kept = clipped && percentiles(clipped, outermost);
  const outside = kept && clipped ? clipped.filter(value => value < kept[0] || value > kept[1]).length : 0;
  const ends = [...(kept ?? [low, high]), level].filter(value => value !== null);
  const [from, to] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [null, null];
  if (!isLogarithmic) return { range: paddedRange(from, to), outside };
  return { range: from === null || from <= 0 ? [0.1, 10] : [from / 1.15, to * 1.15], outside };
}
