/** Exponential moving averages. */
import type { IDisposable } from '../common/disposable';
import { Pace } from '../common/pace';
import { Column } from '../trainerHost/column';
import { varying, type Series, type SeriesName } from '../trainerHost/series';

/** At the clock. */
const stepsBetweenLooks = 64;

/** The average of what came so far, without the pull of the nothing that it began from; gaps stay gaps. */
export class Smoother {
  private average = 0;
  private missing = 1;

  /** `weight`: what the average so far weighs beside a new value, from 0 to less than 1. */
  constructor(private readonly weight: number) {}

  next(value: number | null): number | null {
    if (value === null || !Number.isFinite(value)) return null;
    this.average = this.weight * this.average + (1 - this.weight) * value;
    this.missing *= this.weight;
    return this.average / (1 - this.missing);
  }
}

/** Series, smoothed: each value is computed once, and more as steps come. */
export class SmoothedSeries<Name extends SeriesName> implements IDisposable {
  private kept: { name: Name; smoother: Smoother; column: Column }[] = [];
  private series: Series | undefined;
  private cuts = 0;
  private length = 0;
  private isGoingOn = false;
  private isDisposed = false;

  /** `onReady`: it has all that there was when it was asked for too much at once. */
  constructor(
    private readonly names: readonly Name[],
    private readonly weight: number,
    private readonly onReady: () => void,
  ) {}

  /** Whether it has every step; where there is more to do than fits into a turn it goes on in others. */
  has(series: Series): boolean {
    if (this.isGoingOn) return false;
    const pace = new Pace();
    if (this.take(series, pace)) return true;
    void this.goOn(series, pace);
    return false;
  }

  /** NaN where a value is missing; of what is not smoothed, the value itself. */
  at(series: Series, name: Name, index: number): number {
    return this.kept.find(one => one.name === name)?.column.get(index) ?? series.at(name, index);
  }

  private async goOn(series: Series, pace: Pace): Promise<void> {
    this.isGoingOn = true;
    do await pace.pause();
    while (!this.isDisposed && !this.take(series, pace));
    this.isGoingOn = false;
    if (!this.isDisposed) this.onReady();
  }

  private take(series: Series, pace: Pace): boolean {
    if (series !== this.series || series.cuts !== this.cuts) this.begin(series);
    while (this.length < series.length) {
      if (this.length % stepsBetweenLooks === 0 && pace.isOver) return false;
      for (const { name, smoother, column } of this.kept) column.set(this.length, smoother.next(series.at(name, this.length)));
      this.length++;
    }
    return true;
  }

  private begin(series: Series): void {
    [this.series, this.cuts, this.length] = [series, series.cuts, 0];
    const smoothed = this.names.filter(name => (varying as readonly SeriesName[]).includes(name));
    this.kept = smoothed.map(name => ({ name, smoother: new Smoother(this.weight), column: new Column('float32') }));
  }

  dispose(): void {
    this.isDisposed = true;
  }
}
