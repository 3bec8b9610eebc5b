/** Series as the lines of a table, every step of them. Pure. */
import { riskBins, type IndexRange, type Series, type SeriesName } from '../trainerHost/series';
import type { Look } from './chartProtocol';
import type { Cell } from './csv';

/** The steps that lie in a range, and no others. */
export function stepsIn(series: Series, { axis, range }: Pick<Look, 'axis' | 'range'>): IndexRange {
  if (!range) return { from: 0, to: series.length };
  const last = series.firstFrom(axis, range[1]);
  return { from: series.firstFrom(axis, range[0]), to: series.at(axis, last) === range[1] ? last + 1 : last };
}

export function* seriesLines(series: Series, names: readonly SeriesName[], { from, to }: IndexRange): Generator<Cell[]> {
  yield ['step', ...names];
  for (let index = from; index < to; index++) yield [series.at('step', index), ...names.map(name => readable(series.at(name, index)))];
}

/** Without the digits that single precision makes up. */
export const readable = (value: number): number => (Number.isInteger(value) ? value : Number(value.toPrecision(7)));

export function* riskLines(series: Series, { from, to }: IndexRange): Generator<Cell[]> {
  const bins = Array.from({ length: riskBins }, (_, bin) => bin);
  yield ['step', ...bins.map(bin => `risk ${(bin / riskBins).toFixed(1)} to ${((bin + 1) / riskBins).toFixed(1)}`)];
  for (let index = from; index < to; index++) yield [series.at('step', index), ...bins.map(bin => series.rowsInBin(index, bin))];
}
