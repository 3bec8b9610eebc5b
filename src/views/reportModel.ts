/** A run as its report sees it. Pure. */
import path from 'node:path';
import { reportedSeries, type ReportInput, type ReportSeries } from '../report/reportInput';
import type { NotableRows } from '../trainerHost/notableRows';
import type { Run } from '../trainerHost/run';
import { isActive } from '../trainerHost/runFolder';
import type { RunState, Series } from '../trainerHost/runState';
import { runLabel, statusWord } from './describe';
import { detailsView, SeriesFeed } from './monitorModel';

export function reportInput(run: Run, rows: NotableRows, now: number): ReportInput {
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
    series: reportSeries(state),
    totalSteps: state.latest?.totalSteps ?? state.dataset?.totalSteps,
    trainingSeconds: secondsInSteps(state.series),
    rows,
    badLines: state.counts.bad,
  };
}

function reportSeries(state: RunState): ReportSeries {
  const { columns, gaps } = new SeriesFeed(reportedSeries).next(state)!;
  for (const index of gaps.canary ?? []) columns.canary[index] = NaN;
  return columns;
}

function secondsInSteps(series: Series): number {
  let seconds = 0;
  for (let index = 0; index < series.length; index++) seconds += series.at('stepSeconds', index) || 0;
  return seconds;
}
