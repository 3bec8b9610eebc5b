/** A run as the monitor's page sees it. Pure. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import type { IDisposable } from '../common/disposable';
import { isOne } from '../common/language';
import { InTurns } from '../common/pace';
import { hundredths, integer, short } from '../common/format';
import type { Batch, Measured } from '../protocol/messages';
import { rowsOf } from '../trainerHost/batches';
import type { Run } from '../trainerHost/run';
import { isActive } from '../trainerHost/runFolder';
import { holdsFrom, type RunState } from '../trainerHost/runState';
import { sampleSteps, samplingSteps } from '../trainerHost/sampling';
import type { IndexRange, Series, SeriesName } from '../trainerHost/series';
import { wholeRun, type Columns, type Look, type SeriesMessage } from './chartProtocol';
import { methodOf, progressText, runLabel } from './describe';
import type { BatchMessage, BatchRow, DetailsView, InterventionView, OtherRun, RunMessage, RunView } from './monitorProtocol';
import { SmoothedSeries } from './smoothing';

const listedProblems = 200;
/** Points per chart: beyond twice as many the page gets a new selection. */
const drawnPoints = 1200;
const trendPoints = 60;

export function runView(run: Run, now: number): RunView {
  const { record, state } = run;
  const until = isActive(run.status) ? now : (state.lastEvent ?? now);
  return {
    id: run.id,
    name: run.name,
    method: methodOf(run),
    model: record?.config?.model ?? record?.script?.model ?? '',
    configuration: run.configPath ? path.basename(run.configPath) : (record?.script?.name ?? ''),
    isScript: !!record?.script,
    status: run.status,
    attempt: state.attempt?.attempt ?? record?.attempt ?? 1,
    message: run.message,
    resumable: run.resumable,
    trained: run.trained,
    reading: run.readShare,
    elapsedSeconds: Math.max(0, (until - run.startedAt) / 1000),
    phase: isActive(run.status) ? (state.phase ?? null) : null,
    current: currentValues(state),
    canaryReference: state.canary?.reference ?? null,
    attackSuccessReference: state.before ? 100 * state.before.metrics.attackSuccess.value : null,
  };
}

function currentValues(state: RunState): RunView['current'] {
  const { latest } = state;
  if (!latest) return null;
  const canary = state.series.latestOf('canary');
  const { step, totalSteps, epoch, total, nll, kl, anchors, safetyTokens, riskMean, riskMax, betaMean, betaMax } = latest;
  const { learningRate, gradNorm, tokensPerSecond, stepSeconds, memoryBytes, etaSeconds } = latest;
  return {
    ...{ step, totalSteps, epoch, total, nll, kl, anchors, safetyTokens, riskMean, riskMax, betaMean, betaMax },
    ...{ learningRate, gradNorm, tokensPerSecond, stepSeconds, memoryBytes, etaSeconds, canary },
  };
}

export function otherRun(run: Run): OtherRun {
  const { series, latest, phase } = run.state;
  return {
    id: run.id,
    name: runLabel(run),
    status: run.status,
    progress: progressText(run),
    share: phase?.total ? Math.min(1, (phase.done ?? 0) / phase.total) : null,
    loss: latest?.total ?? null,
    riskMax: latest?.riskMax ?? null,
    trend: sampleSteps(series, ['total'], trendPoints).map(index => finite(series.at('total', index))),
  };
}

export function detailsView(run: Run): DetailsView {
  const { dataset, before, after, warnings, interventions, measurements } = run.state;
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
      ...measurements.map(describeMeasurement),
      ...(run.meta.notes ?? []).map(({ step, text }): InterventionView => ({ step, kind: 'note', text })),
    ].sort((a, b) => a.step - b.step),
    safetyTokens: run.safetyTokens,
    logTail: run.logTail,
  };
}

/** What of the events could not be shown. */
function readingWarnings({ counts: { bad, unknown, repeated }, series: { missing } }: RunState): DetailsView['warnings'] {
  return [
    {
      code: 'newer-trainer',
      count: unknown,
      message: isOne(unknown)
        ? l10n.t`Written by a newer version: ${integer(unknown)} event was not understood.`
        : l10n.t`Written by a newer version: ${integer(unknown)} events were not understood.`,
    },
    {
      code: 'bad-lines',
      count: bad,
      message: isOne(bad)
        ? l10n.t`${integer(bad)} line of events.jsonl was no event and was left out.`
        : l10n.t`${integer(bad)} lines of events.jsonl were no events and were left out.`,
    },
    {
      code: 'repeated-events',
      count: repeated,
      message: isOne(repeated)
        ? l10n.t`${integer(repeated)} event came twice or late and did not count.`
        : l10n.t`${integer(repeated)} events came twice or late and did not count.`,
    },
    {
      code: 'missing-values',
      count: missing,
      message: isOne(missing)
        ? l10n.t`${integer(missing)} value is missing: it was not a finite number. The charts have a gap there.`
        : l10n.t`${integer(missing)} values are missing: they were not finite numbers. The charts have gaps there.`,
    },
  ].filter(({ count }) => count > 0);
}

function describeIntervention(event: RunState['interventions'][number]): InterventionView {
  const step = holdsFrom(event);
  if (event.type === 'budget') return { step, kind: 'budget', text: event.message };
  const changed = [
    event.betaMin !== null && event.betaMax !== null ? l10n.t`β from ${event.betaMin} to ${event.betaMax}` : '',
    event.learningRate !== null ? l10n.t`peak learning rate ${event.learningRate}` : '',
  ].filter(Boolean);
  return { step, kind: event.by === 'budget' ? 'budget' : 'settings', text: l10n.t`Set: ${changed.join(', ')}.` };
}

function describeMeasurement({ step, metrics }: Measured): InterventionView {
  const { attackSuccess, overRefusal, degenerate, heldOutLoss } = metrics;
  const percent = (share: { value: number }) => `${short(100 * share.value, 1)}\u00a0%`; // stays on its line
  const shares = [percent(attackSuccess), percent(overRefusal), percent(degenerate)] as const;
  const text =
    heldOutLoss.value === null
      ? l10n.t('Attack success {0}, over-refusal {1}, degenerate {2}.', ...shares)
      : l10n.t('Attack success {0}, over-refusal {1}, degenerate {2}, held-out loss {3}.', ...shares, hundredths(heldOutLoss.value));
  return { step, kind: 'measurement', text };
}

/** What `details` depends on: it is sent again when this changes. */
export const detailsStamp = ({ state, logTail, record, meta, safetyTokens }: Run): string =>
  [state.dataset, state.before, state.after, state.warnings.at(-1), state.measurements.at(-1)].map(event => event?.seq ?? '').join() +
  `;${Object.values(state.counts).join()};${state.series.missing};${safetyTokens.length};${logTail.join('\n')};${record?.datasets.length ?? ''};${state.warnings.length};${state.interventions.length};${state.measurements.length};${state.interventions.at(-1)?.seq ?? ''};${JSON.stringify(meta.notes)}`;

export const fileNames = (run: Run): string[] => (run.record?.datasets ?? []).map(({ path: file }) => path.basename(file));

/** What is new about a run since the last call, for one page that follows it. */
export class RunFeed<Name extends SeriesName> implements IDisposable {
  private readonly series: SeriesFeed<Name>;
  private details = '';

  constructor(
    private readonly run: Run,
    names: readonly Name[],
    look = wholeRun,
    onReady?: () => void,
  ) {
    this.series = new SeriesFeed(names, look, onReady);
  }

  lookAt(look: Look): void {
    this.series.lookAt(look);
  }

  /** The page will be told of steps that it does not have yet. */
  get isBehind(): boolean {
    return this.series.isBehind;
  }

  next(now: number): RunMessage<Name>[] {
    const { run } = this;
    const messages: RunMessage<Name>[] = [{ type: 'run', run: runView(run, now) }];
    const details = detailsStamp(run);
    if (details !== this.details) messages.push({ type: 'details', details: detailsView(run) });
    this.details = details;
    const series = this.series.next(run.state);
    if (series) messages.push(series);
    return messages;
  }

  dispose(): void {
    this.series.dispose();
  }
}

/** The steps that are looked at, and half as many on either side: a page that moves along does not run dry at once. */
export function rangeOf(series: Series, { axis, range }: Look): IndexRange {
  if (!range) return { from: 0, to: series.length };
  const air = (range[1] - range[0]) / 2;
  return {
    from: Math.max(0, series.firstFrom(axis, range[0] - air) - 1),
    to: Math.min(series.length, series.firstFrom(axis, range[1] + air) + 1),
  };
}

/** A message in the making; what has come since it was begun is for the next one. */
interface Making<Name extends SeriesName> {
  generation: number;
  to: number;
  length: number;
  work: InTurns<SeriesMessage<Name>>;
}

/** What is new in a series since the last call, for one reader. */
export class SeriesFeed<Name extends SeriesName> implements IDisposable {
  private generation = -1;
  private read = 0;
  private length = 0;
  private points = 0;
  private smoothed: SmoothedSeries<Name> | undefined;
  private making: Making<Name> | undefined;
  /** There are steps that the last message did not have yet. */
  isBehind = false;

  /** `onReady`: there is something new after all, which was too much to do at once, or came meanwhile. */
  constructor(
    private readonly names: readonly Name[],
    private look = wholeRun,
    private readonly onReady = (): void => undefined,
  ) {
    this.smoothAs(look);
  }

  /** What is smoothed stays, where it is smoothed alike. */
  lookAt(look: Look): void {
    if (look.smoothing !== this.look.smoothing) this.smoothAs(look);
    this.look = look;
    this.generation = -1;
    this.giveUp();
  }

  private smoothAs({ smoothing }: Look): void {
    this.smoothed?.dispose();
    this.smoothed = smoothing > 0 ? new SmoothedSeries(this.names, smoothing, this.onReady) : undefined;
  }

  next(state: RunState): SeriesMessage<Name> | undefined {
    const message = this.take(state);
    this.isBehind = this.making !== undefined || state.series.length > this.length;
    if (message && this.isBehind) setImmediate(this.onReady);
    return message;
  }

  private take({ series, generation }: RunState): SeriesMessage<Name> | undefined {
    if (this.smoothed && !this.smoothed.has(series)) return undefined;
    if (this.making?.generation !== generation) this.giveUp();
    const making = (this.making ??= this.begin(series, generation));
    const message = making?.work.result;
    if (!making || !message) return undefined;
    this.making = undefined;
    this.points = (message.replace ? 0 : this.points) + message.columns[this.names[0]!].length;
    [this.generation, this.read, this.length] = [generation, making.to, making.length];
    return message;
  }

  private begin(series: Series, generation: number): Making<Name> | undefined {
    const { length } = series;
    const { from, to } = rangeOf(series, this.look);
    const most = (this.look.range ? 2 : 1) * drawnPoints;
    const replace = generation !== this.generation || this.points + to - this.read > 2 * most;
    if (!replace && length === this.length) return undefined;
    const { read } = this;
    const chosen = replace ? samplingSteps(series, this.names, most, { from, to }) : undefined;
    return { generation, to, length, work: new InTurns(this.make(series, replace, chosen, { from: read, to }), this.onReady) };
  }

  private *make(series: Series, replace: boolean, chosen: Generator<void, number[]> | undefined, { from, to }: IndexRange): Generator<void, SeriesMessage<Name>> {
    const { smoothed, names } = this;
    const indices = chosen ? yield* chosen : Array.from({ length: to - from }, (_, index) => from + index);
    const columns = yield* columnsOf(names, indices, (name, index) => series.at(name, index));
    const averages = smoothed ? yield* columnsOf(names, indices, (name, index) => smoothed.at(series, name, index)) : null;
    const gaps = Object.fromEntries(names.filter(isSparse).map(name => [name, indices.flatMap((index, at) => (series.isOdd(name, index) ? [at] : []))]));
    const { axis } = this.look;
    return { type: 'series', replace, columns, smoothed: averages, gaps: gaps as Partial<Record<Name, number[]>>, extent: [series.at(axis, 0) || 0, series.at(axis, series.length - 1) || 0] };
  }

  private giveUp(): void {
    this.making?.work.cancel();
    this.making = undefined;
  }

  dispose(): void {
    this.smoothed?.dispose();
    this.giveUp();
  }
}

/** Has a value at some steps only. */
const isSparse = (name: SeriesName): boolean => name === 'canary' || name === 'attackSuccess';

function* columnsOf<Name extends SeriesName>(names: readonly Name[], indices: readonly number[], valueOf: (name: Name, index: number) => number): Generator<void, Columns<Name>> {
  const columns = {} as Columns<Name>;
  for (const name of names) {
    columns[name] = indices.map(index => finite(valueOf(name, index)));
    if (indices.length >= drawnPoints / 2) yield;
  }
  return columns;
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

/** The rows of a step, as the file has them. */
export const batchMessage = (run: Run, step: number, rows: Awaited<ReturnType<Run['rowsOf']>>): BatchMessage => ({
  type: 'rows',
  step,
  files: fileNames(run),
  threshold: thresholdOf(run),
  rows: rows ? batchRows(rows) : null,
});

export const thresholdOf = ({ record }: Run): number => record?.config?.risk.threshold ?? 0.5;

/** The rows of a batch, riskiest first; unscored ones count as risky. */
export function batchRows(rows: Batch['rows']): BatchRow[] {
  return rowsOf(rows).sort((a, b) => (b.risk ?? 1) - (a.risk ?? 1) || a.line - b.line);
}
