/** What is done with a chart's values before they are drawn. Pure. */

/** `null` where a value is missing, undefined where a line has no point at all. */
export type Cell = number | null | undefined;

/**
 * As they are drawn. The series that `gaps` names have a value at some steps only: elsewhere there is no point, and a
 * gap only where the value was NaN or infinite.
 */
export function withGaps<Name extends string>(columns: Record<Name, (number | null)[]>, gaps: Partial<Record<Name, number[]>>): Record<Name, Cell[]> {
  const cells: Record<Name, Cell[]> = { ...columns };
  for (const name of Object.keys(gaps) as Name[]) {
    cells[name] = columns[name].map(value => value ?? undefined);
    for (const index of gaps[name] ?? []) cells[name][index] = null;
  }
  return cells;
}

/** For a logarithmic scale: what is not above 0 is a gap. */
export const positive = (values: readonly Cell[]): Cell[] => values.map(value => (typeof value === 'number' && value <= 0 ? null : value));

/** The values that so large a share of all is no greater than, by the nearest rank; null where there is none. */
export function percentiles(values: readonly number[], [low, high]: readonly [number, number]): [number, number] | null {
  if (values.length === 0) return null;
  const sorted = Float64Array.from(values).sort();
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
  return [at(low), at(high)];
}

/** Leaves out what does not grow: two steps fall on one instant. */
export function growing(x: readonly number[]): number[] {
  let highest = -Infinity;
  return x.flatMap((value, index) => {
    if (!(value > highest)) return [];
    highest = value;
    return [index];
  });
}
