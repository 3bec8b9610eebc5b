/** What is done with a chart's values before they are drawn. Pure. */

/** `null` where a value is missing, undefined where a line has no point at all. */
export type Cell = number | null | undefined;

/** For a logarithmic scale: what is not above 0 is a gap. */
export const positive = (values: readonly Cell[]): Cell[] => values.map(value => (typeof value === 'number' && value <= 0 ? null : value));

/** The values that so large a share of all is no greater than, by the nearest rank; null where there is none. */
export function percentiles(values: readonly number[], [low, high]: readonly [number, number]): [number, number] | null {
  if (values.length === 0) return null;
  const sorted = Float64Array.from(values).sort();
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
  return [at(low), at(high)];
}

/** Leaves out what does not grow: a clock was set back, or two steps fall on one instant. */
export function growing(x: readonly number[]): number[] {
  let highest = -Infinity;
  return x.flatMap((value, index) => {
    if (!(value > highest)) return [];
    highest = value;
    return [index];
  });
}
