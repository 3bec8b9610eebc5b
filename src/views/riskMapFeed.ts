/** The map of risks of one page, as it grows. Pure. */
import type { IDisposable } from '../common/disposable';
import { InTurns } from '../common/pace';
import type { RunState } from '../trainerHost/runState';
import { riskBins, type IndexRange, type Series } from '../trainerHost/series';
import type { RiskMap } from './riskMap';

const mostColumns = 160;

/** What has changed since the last call, for one reader; it goes on where it was while steps only come in addition. */
export class RiskMapFeed implements IDisposable {
  private generation = -1;
  private from = -1;
  private read = 0;
  private width = 1;
  private counts: number[] = [];
  private reading: InTurns<RiskMap> | undefined;

  /** `onReady`: there is something new after all, which was too much to do at once, or came meanwhile. */
  constructor(private readonly onReady = (): void => undefined) {}

  next({ series, generation }: RunState, { from, to }: IndexRange): RiskMap | undefined {
    const goesOn = generation === this.generation && from === this.from && to >= this.read;
    if (!goesOn) this.beginAt(generation, from, to);
    if (!this.reading && to === this.read && goesOn) return undefined;
    const { result } = (this.reading ??= new InTurns(this.readTo(series, to), this.onReady));
    if (!result) return undefined;
    this.reading = undefined;
    if (to > this.read) setImmediate(this.onReady);
    return result;
  }

  private beginAt(generation: number, from: number, to: number): void {
    this.dispose();
    [this.generation, this.from, this.read, this.counts] = [generation, from, from, []];
    this.width = Math.max(1, Math.ceil((to - from) / mostColumns));
  }

  private *readTo(series: Series, to: number): Generator<void, RiskMap> {
    while (this.read < to) {
      this.addColumn(series, to);
      yield;
    }
    return this.view(series);
  }

  dispose(): void {
    this.reading?.cancel();
    this.reading = undefined;
  }

  /** The steps that are still to be read of one column. */
  private addColumn(series: Series, to: number): void {
    while (this.read - this.from >= mostColumns * this.width) this.halve();
    const column = Math.floor((this.read - this.from) / this.width);
    const end = Math.min(to, this.from + (column + 1) * this.width);
    for (let bin = 0; bin < riskBins; bin++) {
      const at = column * riskBins + bin;
      this.counts[at] = (this.counts[at] ?? 0) + series.rowsIn(bin, this.read, end);
    }
    this.read = end;
  }

  /** Two columns become one. */
  private halve(): void {
    const halved: number[] = [];
    this.counts.forEach((rows, at) => {
      const column = Math.floor(at / riskBins / 2) * riskBins + (at % riskBins);
      halved[column] = (halved[column] ?? 0) + rows;
    });
    this.counts = halved;
    this.width *= 2;
  }

  private view(series: Series): RiskMap {
    const { counts, from, width, read } = this;
    const columns = Array.from({ length: counts.length / riskBins }, (_, column) => from + column * width);
    return {
      first: columns.map(index => series.at('step', index)),
      last: columns.map(index => series.at('step', Math.min(index + width, read) - 1)),
      counts: [...counts],
    };
  }
}
