/** A run as the monitor's page sees it. Pure. */
import path from 'node:path';
import type { Run } from '../trainerHost/run';
import { isActive } from '../trainerHost/runFolder';
import { sampleSteps, type RunState, type Series } from '../trainerHost/runState';
import { drawnSeries, type BatchRow, type DetailsView, type InterventionView, type RunView, type SeriesColumns } from './monitorProtocol';

const listedProblems = 200;
/** Points per chart: beyond twice as many the page gets a new selection. */
const drawnPoints = 1200;

export function runView(run: Run, now: number): RunView {
  const { record, state } = run;
  const until = isActive(run.status) ? now : (state.lastEvent ?? now);
  return {
    id: run.id,
    name: run.name,
    method: record?.config.method ?? '',
    model: record?.config.model ?? '',
    configuration: run.configPath ? path.basename(run.configPath) : '',
    status: run.status,
    attempt: state.attempt?.attempt ?? record?.attempt ?? 1,
    message: run.message,
    resumable: run.resumable,
    reading: run.readShare,
    elapsedSeconds: Math.max(0, (until - run.startedAt) / 1000),
    phase: isActive(run.status) ? (state.phase ?? null) : null,
    current: currentValues(state),
    canaryReference: state.canary?.reference ?? null,
  };
}

function currentValues(state: RunState): RunView['current'] {
  const { latest } = state;
  if (!latest) return null;
  const canary = state.series.latestOf('canary');
  const { step, totalSteps, epoch, total, nll, kl, anchors, safetyTokens, riskMean, riskMax, betaMean, betaMax } = latest;
  const { learningRate, gradNorm, tokensPerSecond, memoryBytes, etaSeconds } = latest;
  return {
    ...{ step, totalSteps, epoch, total, nll, kl, anchors, safetyTokens, riskMean, riskMax, betaMean, betaMax },
    ...{ learningRate, gradNorm, tokensPerSecond, memoryBytes, etaSeconds, canary },
  };
}

export function detailsView(run: Run): DetailsView {
  const { dataset, before, after, warnings, interventions } = run.state;
  return {
    dataset: dataset
      ? {
          files: fileNames(run),
          rows: dataset.rows,
          trained: dataset.trained,
          heldOut: dataset.heldOut,
          flagged: dataset.flagged,
          refusals: dataset.refusals,
          reviewed: dataset.reviewed,
          unscored: dataset.unscored,
          filtered: dataset.filtered,
          invalid: dataset.invalid.slice(0, listedProblems),
          truncated: dataset.truncated.slice(0, listedProblems),
          unsupervised: dataset.unsupervised.slice(0, listedProblems),
        }
      : null,
    before: before?.metrics ?? null,
    after: after?.metrics ?? null,
    warnings: [...warnings.map(({ code, message }) => ({ code, message })), ...readingWarnings(run.state)],
    interventions: [
      ...interventions.map(describeIntervention),
      ...(run.meta.notes ?? []).map(({ step, text }): InterventionView => ({ step, kind: 'note', text })),
    ].sort((a, b) => a.step - b.step),
    logTail: run.logTail,
  };
}

/** What of the events could not be shown. */
function readingWarnings({ counts: { bad, unknown, repeated }, series: { missing } }: RunState): DetailsView['warnings'] {
  const of = (count: number, what: string, one: string, many: string): string => `${count.toLocaleString('en')} ${what}${count === 1 ? one : many}`;
  return [
    { code: 'newer-trainer', count: unknown, message: `Written by a newer version: ${of(unknown, 'event', ' was', 's were')} not understood.` },
    { code: 'bad-lines', count: bad, message: `${of(bad, 'line', ' of events.jsonl was no event and was', 's of events.jsonl were no events and were')} left out.` },
    { code: 'repeated-events', count: repeated, message: `${of(repeated, 'event', '', 's')} came twice or late and did not count.` },
    { code: 'missing-values', count: missing, message: `${of(missing, 'value', ' is', 's are')} missing: loss or gradient norm was not a finite number. The charts have gaps there.` },
  ].filter(({ count }) => count > 0);
}

function describeIntervention(event: RunState['interventions'][number]): InterventionView {
  const { step } = event;
  if (event.type === 'budget') return { step, kind: 'budget', text: event.message };
  const changed = [
    event.betaMin !== null && event.betaMax !== null ? `β from ${event.betaMin} to ${event.betaMax}` : '',
    event.learningRate !== null ? `peak learning rate ${event.learningRate}` : '',
  ].filter(Boolean);
  return { step, kind: event.by === 'budget' ? 'budget' : 'settings', text: `Set: ${changed.join(', ')}.` };
}

/** What `details` depends on: it is sent again when this changes. */
export const detailsStamp = ({ state, logTail, record, meta }: Run): string =>
  [state.dataset, state.before, state.after, state.warnings.at(-1)].map(event => event?.seq ?? '').join() +
  `;${Object.values(state.counts).join()};${state.series.missing};${logTail.join('\n')};${record?.datasets.length ?? ''};${state.warnings.length};${state.interventions.length};${state.interventions.at(-1)?.seq ?? ''};${JSON.stringify(meta.notes)}`;

export const fileNames = (run: Run): string[] => (run.record?.datasets ?? []).map(({ path: file }) => path.basename(file));

/** What is new in a series since the last call, for one reader. */
export class SeriesFeed {
  private generation = -1;
  private read = 0;
  private points = 0;

  next({ series, generation }: RunState): { replace: boolean; columns: SeriesColumns } | undefined {
    const replace = generation !== this.generation || this.points + series.length - this.read > 2 * drawnPoints;
    if (!replace && series.length === this.read) return undefined;
    const indices = replace
      ? sampleSteps(series, drawnPoints)
      : Array.from({ length: series.length - this.read }, (_, index) => this.read + index);
    this.points = (replace ? 0 : this.points) + indices.length;
    this.generation = generation;
    this.read = series.length;
    return { replace, columns: columnsAt(series, indices) };
  }
}

function columnsAt(series: Series, indices: readonly number[]): SeriesColumns {
  const column = (name: (typeof drawnSeries)[number]) =>
    indices.map(index => {
      const value = series.at(name, index);
      return Number.isFinite(value) ? value : null;
    });
  return Object.fromEntries(drawnSeries.map(name => [name, column(name)])) as SeriesColumns;
}

/** The rows of a batch, riskiest first; unscored ones count as risky. */
export function batchRows(rows: Awaited<ReturnType<Run['rowsOf']>>): BatchRow[] {
  if (!rows) return [];
  return rows.hash
    .map((hash, index) => ({
      hash,
      file: rows.file[index] ?? 0,
      line: rows.line[index] ?? 1,
      risk: rows.risk[index] ?? null,
      beta: rows.beta[index] ?? 0,
      nll: rows.nll[index] ?? null,
      kl: rows.kl[index] ?? null,
    }))
    .sort((a, b) => (b.risk ?? 1) - (a.risk ?? 1) || a.line - b.line);
}
