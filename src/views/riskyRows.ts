/** The rows of a run that were risky when they were trained on: the last few, for the monitor. */
import type { Run } from '../trainerHost/run';
import type { Series } from '../trainerHost/series';
import { batchRows, fileNames, thresholdOf } from './monitorModel';
import type { RiskyRow, RiskyRowsMessage } from './monitorProtocol';

const mostListed = 5;
/** So many steps are looked at together: what a series summarises. */
const stepsTogether = 256;

/** Follows one run for one page; rows are read from the events, and only those of steps that are listed. */
export class LastRiskyRows {
  private known = { generation: -1, threshold: NaN, read: 0 };
  private rows: RiskyRow[] = [];
  private told = '';
  private turn: Promise<unknown> = Promise.resolve();

  constructor(private readonly run: Run) {}

  /** What the page is to be told, where that has changed. */
  next(): Promise<RiskyRowsMessage | undefined> {
    const look = this.turn.then(() => this.look());
    this.turn = look.catch(() => undefined);
    return look;
  }

  private async look(): Promise<RiskyRowsMessage | undefined> {
    const { run } = this;
    const { series, generation } = run.state;
    const threshold = thresholdOf(run);
    const { known } = this;
    const goesOn = generation === known.generation && threshold === known.threshold;
    const read = series.length;
    let rows = goesOn ? this.rows : [];
    for (const step of lastRiskySteps(series, threshold, goesOn ? known.read : 0, read)) {
      rows = [...(await this.riskyRowsOf(step, threshold)), ...rows].slice(0, mostListed);
    }
    this.known = { generation, threshold, read };
    this.rows = rows;
    const message: RiskyRowsMessage = { type: 'risky', files: fileNames(run), threshold, rows: series.latestOf('riskMax') === null ? null : rows };
    const told = JSON.stringify(message);
    if (told === this.told) return undefined;
    this.told = told;
    return message;
  }

  private async riskyRowsOf(step: number, threshold: number): Promise<RiskyRow[]> {
    const rows = await this.run.rowsOf(step);
    const risky = rows ? batchRows(rows).filter(({ risk }) => risk === null || risk >= threshold) : [];
    return risky.map(({ file, line, hash, risk }) => ({ step, file, line, hash, risk }));
  }
}

/** The last steps with a risky row, as many as can be listed, oldest first; from one index to before another. */
export function lastRiskySteps(series: Series, threshold: number, from: number, to: number): number[] {
  const least = Math.fround(threshold); // as exactly as a series is kept
  const isRisky = (index: number): boolean => series.at('riskMax', index) >= least;
  const steps: number[] = [];
  for (let end = to; end > from && steps.length < mostListed; ) {
    const start = Math.max(from, Math.floor((end - 1) / stepsTogether) * stepsTogether);
    const extremes = series.extremes('riskMax', start, end);
    const hasRisky = extremes && isRisky(extremes.highest);
    for (let index = end - 1; hasRisky && index >= start && steps.length < mostListed; index--) {
      if (isRisky(index)) steps.push(series.at('step', index));
    }
    end = start;
  }
  return steps.reverse();
}
