/** A run as its report sees it. Pure. */
import path from 'node:path';
import { reportedSeries, type ReportInput, type ReportSeries } from '../report/reportInput';
import type { NotableRows } from '../trainerHost/notableRows';
import type { Run } from '../trainerHost/run';
import { isActive } from '../trainerHost/runFolder';
import type { RunState } from '../trainerHost/runState';
import { wholeRun, type SeriesMessage } from './chartProtocol';
import { runLabel, statusWord } from './describe';
import { detailsView, SeriesFeed } from './monitorModel';

export function reportInput(run: Run, rows: NotableRows, series: ReportSeries, now: number): ReportInput {
  const { state, record, meta } = run;
  const { interventions, warnings } = detailsView(run);
  return {
    id: run.id,
    name: runLabel(run),
    tags: meta.tags ?? [],
    configuration: run.configPath ? path.basename(run.configPath) : '',
    status: statusWord(run.status),
    active: isActive(run.status),
    message: run.message,
    startedAt: run.startedAt,
    lastEvent: state.lastEvent,
    madeAt: now,
    attempts: state.attempt?.attempt ?? record?.attempt ?? 1,
    record,
    dataset: state.dataset,
    before: state.before?.metrics,
    after: state.after?.metrics,
    canary: state.canary,
    happened: interventions,
    warnings: warnings.map(({ message }) => message),
    series,
    totalSteps: state.latest?.totalSteps ?? state.dataset?.totalSteps,
    trainingSeconds: (state.series.at('time', state.series.length - 1) || 0) / 1000,
    rows,
    badLines: state.counts.bad,
  };
}

/** Of a long run some steps, however long it takes to choose them. */
export async function readSeries(state: RunState): Promise<ReportSeries> {
  const { columns, gaps } = await new Promise<SeriesMessage<(typeof reportedSeries)[number]>>(resolve => {
    const look = (): void => {
      const message = feed.next(state);
      if (message) resolve(message);
    };
    const feed = new SeriesFeed(reportedSeries, wholeRun, look);
    look();
  });
  for (const index of gaps.canary ?? []) columns.canary[index] = NaN;
  return columns;
}
