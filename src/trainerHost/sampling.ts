/** Which steps of a long run its charts are drawn by. Pure. */
import { atOnce } from '../common/pace';
import type { Extremes } from './column';
import { groupLength, varying, type ColumnName, type IndexRange, type Series, type SeriesName } from './series';

/** At the clock, while steps are chosen of many. */
const groupsBetweenLooks = 32;

/**
 * Steps to draw some series by, when there are more than `maximum`: the lowest and the highest value of each of them in
 * as many groups of steps as leaves that few, so that no peak goes missing and every point is a step that was;
 * those after which the model was measured; and those at which a value was NaN or infinite, a quarter of all at most.
 */
export const sampleSteps = (...of: Parameters<typeof samplingSteps>): number[] => atOnce(samplingSteps(...of));

/** The same, for a run so long that it must not be done in one go. */
export function* samplingSteps(series: Series, names: readonly SeriesName[], maximum: number, { from, to }: IndexRange = { from: 0, to: series.length }): Generator<void, number[]> {
  const length = Math.max(0, to - from);
  if (length <= maximum) return Array.from({ length }, (_, index) => from + index);
  const measured = series.measured.filter(index => index >= from && index < to);
  const gaps = evenly(yield* oddOf(series, names, { from, to }), Math.floor(maximum / 4));
  const peaks = yield* peaksOf(series, varying.filter(name => names.includes(name)), maximum - 2 - gaps.length, { from, to });
  const chosen = new Set([from, ...peaks, ...gaps, ...measured, to - 1]);
  return [...chosen].sort((a, b) => a - b);
}

/** Where one of the numbers was NaN or infinite: of a run that has gone wrong, at every step. */
function* oddOf(series: Series, names: readonly SeriesName[], range: IndexRange): Generator<void, number[]> {
  const odd: number[] = [];
  for (const [at, index] of series.oddIn(range).entries()) {
    if (names.some(name => series.isOdd(name, index))) odd.push(index);
    if (at % groupLength === 0) yield;
  }
  return odd;
}

const evenly = <T>(all: readonly T[], most: number): readonly T[] =>
  all.length <= most ? all : Array.from({ length: most }, (_, index) => all[Math.floor((index * all.length) / most)]!);

/** The extremes of each series in each group of steps; groups are joined until there are few enough. */
function* peaksOf(series: Series, names: readonly ColumnName[], maximum: number, { from, to }: IndexRange): Generator<void, Set<number>> {
  const count = Math.max(1, Math.floor(maximum / 2));
  // Of many steps, groups are what is summarised already.
  const grain = to - from >= count * groupLength ? groupLength : 1;
  const boundary = (group: number): number => (group === count ? to : Math.max(from, Math.floor((from + (group * (to - from)) / count) / grain) * grain));
  const groups = names.map((): (Extremes | undefined)[] => []);
  for (const [at, name] of names.entries()) {
    for (let group = 0; group < count; group++) {
      groups[at]!.push(series.extremes(name, boundary(group), boundary(group + 1)));
      if (group % groupsBetweenLooks === 0) yield;
    }
  }
  for (let together = 1; ; ) {
    const peaks = new Set<number>();
    for (const [at, name] of names.entries()) {
      yield;
      for (let group = 0; group < count; group += together) {
        let joined: Extremes | undefined;
        for (let one = group; one < Math.min(count, group + together); one++) joined = series.outermost(name, joined, groups[at]![one]);
        if (joined) peaks.add(joined.lowest).add(joined.highest);
      }
    }
    if (peaks.size <= maximum || together >= count) return peaks;
    together = Math.max(together + 1, Math.floor((together * peaks.size) / maximum));
  }
}
