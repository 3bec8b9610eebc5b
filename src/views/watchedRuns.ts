/** Has the runs of a page read at once while the page is looked at; otherwise a look now and then is enough. */
import type { IDisposable } from '../common/disposable';
import type { Run } from '../trainerHost/run';

export class WatchedRuns implements IDisposable {
  private runs: readonly Run[] = [];
  private watches: readonly IDisposable[] = [];

  constructor(private readonly isLookedAt: () => boolean) {}

  show(runs: readonly Run[]): void {
    this.runs = runs;
    this.update();
  }

  /** The page has come on the screen or has gone from it. */
  update(): void {
    const before = this.watches;
    this.watches = this.isLookedAt() ? this.runs.map(run => run.watch()) : [];
    for (const watch of before) watch.dispose();
  }

  dispose(): void {
    for (const watch of this.watches) watch.dispose();
    this.watches = [];
  }
}
