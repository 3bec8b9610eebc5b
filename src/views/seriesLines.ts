/** Series as the lines of a table, every step of them. Pure. */
import { riskBins, type IndexRange, type Series, type SeriesName } from '../trainerHost/runState';
import type { Cell } from './csv';

/** The steps of a range, every one of them. */
export const stepRange = (series: Series, range: readonly [number, number] | null): IndexRange =>
  range ? { from: series.firstFrom('step', range[0]), to: series.firstFrom('step', Math.floor(range[1]) + 1) } : { from: 0, to: series.length };

export function* seriesLines(series: Series, names: readonly SeriesName[], { from, to }: IndexRange): Generator<Cell[]> {
  yield ['step', ...names];
  for (let index = from; index < to; index++) yield [series.at('step', index), ...names.map(name => series.at(name, index))];
}

export function* riskLines(series: Series, { from, to }: IndexRange): Generator<Cell[]> {
  const bins = Array.from({ length: riskBins }, (_, bin) => bin);
  yield ['step', ...bins.map(bin => `risk ${(bin / riskBins).toFixed(1)} to ${((bin + 1) / riskBins).toFixed(1)}`)];
  for (let index = from; index < to; index++) yield [series.at('step', index), ...bins.map(bin => series.rowsInBin(index, bin))];
}
