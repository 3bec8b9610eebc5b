/** A run's events, reduced to what views show. No I/O; used by the monitor, the status bar and `npm start`. */
import type {
  AnyEvent,
  AttemptStarted,
  Batch,
  BudgetExceeded,
  CanaryReady,
  CheckpointSaved,
  CommandAcknowledged,
  DatasetRead,
  Evaluated,
  Finished,
  Measured,
  PhaseStarted,
  Progress,
  SettingsChanged,
  Warned,
} from '../protocol/messages';
import type { TailedEvent } from './eventTail';

export type Phase = PhaseStarted['phase'];

/** The numbers that every step's event has. */
const written = [
  'step',
  'ts',
  'epoch',
  'nll',
  'kl',
  'anchors',
  'safetyTokens',
  'total',
  'riskMean',
  'riskMax',
  'betaMean',
  'betaMax',
  'learningRate',
  'gradNorm',
  'tokens',
  'tokensPerSecond',
  'stepSeconds',
  'memoryBytes',
  'canary',
] as const satisfies readonly (keyof Batch)[];

/** The numbers that follow from a step's rows. */
const derived = {
  /** Share of the rows that were held near the reference. */
  regularisedShare: ({ rows }: Batch) => mean(rows.beta.map(beta => (beta > 0 ? 1 : 0))),
  /** Mean KL(reference ‖ model) of those rows. */
  klMean: ({ rows }: Batch) => mean(rows.kl.filter((kl, row) => kl !== null && (rows.beta[row] ?? 0) > 0) as number[]),
};

/** `attackSuccess`: in percent, at the steps after which the model was measured. */
export type SeriesName = ColumnName | 'attackSuccess';
type ColumnName = (typeof written)[number] | keyof typeof derived;

const mean = (values: readonly number[]): number | null =>
  values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;

export const riskBins = 10;

/** Which of the bins, 0 the lowest, a row is in; one without a score is in the highest, as it counts. */
export const riskBin = (risk: number | null): number => Math.min(riskBins - 1, Math.max(0, Math.floor((risk ?? 1) * riskBins)));

/** A list of numbers that grows; NaN where a value is missing. */
class Column {
  private values = new Float64Array(256);

  set(index: number, value: number | null): void {
    if (index >= this.values.length) {
      const larger = new Float64Array(this.values.length * 2);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[index] = value ?? NaN;
  }

  get(index: number): number {
    return this.values[index] ?? NaN;
  }
}

/** How many rows of each step are in which risk bin. */
class RiskColumn {
  private counts = new Uint16Array(256 * riskBins);

  set(index: number, risks: readonly (number | null)[]): void {
    if ((index + 1) * riskBins > this.counts.length) {
      const larger = new Uint16Array(this.counts.length * 2);
      larger.set(this.counts);
      this.counts = larger;
    }
    const own = this.counts.subarray(index * riskBins, (index + 1) * riskBins).fill(0);
    for (const risk of risks) own[riskBin(risk)]!++;
  }

  get(index: number, bin: number): number {
    return this.counts[index * riskBins + bin] ?? 0;
  }
}

/** One column per number, one row per optimiser step, steps strictly increasing. */
export class Series {
  private readonly columns = Object.fromEntries(
    [...written, ...Object.keys(derived)].map(name => [name, new Column()]),
  ) as Record<ColumnName, Column>;
  private readonly risks = new RiskColumn();
  /** By step: few of many. */
  private readonly attackSuccess = new Map<number, number>();
  private readonly offsets = new Column();
  private readonly lengths = new Column();
  private count = 0;

  get length(): number {
    return this.count;
  }

  add(batch: Batch, offset: number, length: number): void {
    for (const name of written) this.columns[name].set(this.count, batch[name]);
    for (const [name, of] of Object.entries(derived)) this.columns[name as keyof typeof derived].set(this.count, of(batch));
    this.risks.set(this.count, batch.rows.risk);
    this.offsets.set(this.count, offset);
    this.lengths.set(this.count, length);
    this.count++;
  }

  addMeasurement({ step, metrics }: Measured): void {
    this.attackSuccess.set(step, 100 * metrics.attackSuccess.value);
  }

  at(name: SeriesName, index: number): number {
    if (index >= this.count) return NaN;
    if (name === 'attackSuccess') return this.attackSuccess.get(this.columns.step.get(index)) ?? NaN;
    return this.columns[name].get(index);
  }

  /** Where the model was measured. */
  get measured(): number[] {
    return [...this.attackSuccess.keys()].map(step => this.indexOf(step)).filter(index => index >= 0);
  }

  /** How many rows of a step are in a risk bin. */
  rowsInBin(index: number, bin: number): number {
    return index < this.count ? this.risks.get(index, bin) : 0;
  }

  /** The newest value that there is, or null. */
  latestOf(name: SeriesName): number | null {
    for (let index = this.count - 1; index >= 0; index--) {
      const value = this.at(name, index);
      if (Number.isFinite(value)) return value;
    }
    return null;
  }

  /** Forgets the steps after `step`; says whether there were any. */
  cutAfter(step: number): boolean {
    const before = this.count;
    while (this.count && this.at('step', this.count - 1) > step) this.count--;
    for (const measured of this.attackSuccess.keys()) if (measured > step) this.attackSuccess.delete(measured);
    return this.count !== before;
  }

  /** Index of a step, or -1. */
  indexOf(step: number): number {
    const index = this.firstFrom('step', step);
    return this.at('step', index) === step ? index : -1;
  }

  /** Index of the first step whose value, of those that grow from step to step, is no smaller; the length where none is. */
  firstFrom(name: SeriesName, value: number): number {
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at(name, middle) < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Where the step's event lies in events.jsonl: its rows are read from there when they are wanted. */
  lineOf(step: number): { offset: number; length: number } | undefined {
    const index = this.indexOf(step);
    return index < 0 ? undefined : { offset: this.offsets.get(index), length: this.lengths.get(index) };
  }
}

export interface PhaseProgress {
  phase: Phase;
  message: string;
  /** When the phase began, milliseconds since the Unix epoch. */
  since: number;
  done: number | null;
  total: number | null;
  unit: string;
}

export class RunState {
  readonly series = new Series();
  /** Counts up whenever steps that were there have gone or changed: whoever copied the series starts again. */
  generation = 0;
  attempt: AttemptStarted | undefined;
  phase: PhaseProgress | undefined;
  dataset: DatasetRead | undefined;
  latest: Batch | undefined;
  before: Evaluated | undefined;
  after: Evaluated | undefined;
  checkpoint: CheckpointSaved | undefined;
  canary: CanaryReady | undefined;
  /** What was done to the run while it trained, oldest first: by the user or because its budget was exceeded. */
  interventions: (BudgetExceeded | SettingsChanged)[] = [];
  /** What the model was like while it trained, oldest first. */
  measurements: Measured[] = [];
  finished: Finished | undefined;
  paused = false;
  warnings: Warned[] = [];
  /** The answers to commands, newest last. */
  acknowledged: CommandAcknowledged[] = [];
  /** Milliseconds since the Unix epoch of the first and the last event. */
  firstEvent: number | undefined;
  lastEvent: number | undefined;

  apply({ event, offset, length }: TailedEvent): void {
    this.firstEvent ??= event.ts;
    this.lastEvent = event.ts;
    this.reduce(event, offset, length);
  }

  private reduce(event: AnyEvent, offset: number, length: number): void {
    switch (event.type) {
      case 'attempt_started':
        return this.startAttempt(event);
      case 'phase':
        this.phase = { ...event, since: event.ts, done: null, total: null, unit: '' };
        if (this.latest) this.countSteps(this.latest);
        return;
      case 'progress':
        return this.progress(event);
      case 'dataset':
        this.dataset = event;
        return;
      case 'batch':
        return this.addBatch(event, offset, length);
      case 'checkpoint':
        this.checkpoint = event;
        return;
      case 'canary':
        this.canary = event;
        return;
      case 'budget':
      case 'settings':
        this.interventions.push(event);
        return;
      case 'evaluation':
        this[event.model] = event;
        return;
      case 'measurement':
        return this.addMeasurement(event);
      case 'command_acknowledged':
        this.acknowledged.push(event);
        return;
      case 'activity':
        this.paused = event.paused;
        return;
      case 'warning':
        this.warnings.push(event);
        return;
      case 'heartbeat':
        return;
      case 'finished':
        this.finished = event;
        this.phase = undefined;
        return;
      default: {
        const unknown: never = event;
        throw new Error(`unknown event ${JSON.stringify(unknown)}`);
      }
    }
  }

  /** What an earlier attempt did after this one's first step no longer counts. */
  private startAttempt(event: AttemptStarted): void {
    if (this.series.cutAfter(event.fromStep)) this.generation++;
    this.interventions = this.interventions.filter(intervention => holdsFrom(intervention) <= event.fromStep);
    this.measurements = this.measurements.filter(({ step }) => step <= event.fromStep);
    this.attempt = event;
    this.phase = undefined;
    this.latest = undefined;
    this.after = undefined;
    this.finished = undefined;
    this.paused = false;
  }

  private progress({ phase, done, total, unit, ts }: Progress): void {
    const known = this.phase?.phase === phase ? this.phase : { phase, message: '', since: ts };
    this.phase = { ...known, done, total, unit };
  }

  private addBatch(batch: Batch, offset: number, length: number): void {
    if (this.series.cutAfter(batch.step - 1)) this.generation++;
    this.series.add(batch, offset, length);
    this.latest = batch;
    this.countSteps(batch);
  }

  private countSteps({ step, totalSteps }: Batch): void {
    if (this.phase?.phase === 'training') this.phase = { ...this.phase, done: step, total: totalSteps, unit: 'steps' };
  }

  private addMeasurement(event: Measured): void {
    this.measurements = [...this.measurements.filter(({ step }) => step !== event.step), event];
    this.series.addMeasurement(event);
    this.generation++;
  }
}

/** The step after which it holds: of a roll-back, the one that the run has gone back to. */
export const holdsFrom = (event: BudgetExceeded | SettingsChanged): number => ('backTo' in event ? event.backTo : null) ?? event.step;

/** Indices of steps, the last one not among them. */
export interface IndexRange {
  from: number;
  to: number;
}

/**
 * Steps to draw when there are more than `maximum`: per bucket the lowest and highest loss, the highest risk and
 * the lowest canary, so that no peak goes missing and every point is a step that was; and those after which the model
 * was measured.
 */
export function sampleSteps(series: Series, maximum: number, { from, to }: IndexRange = { from: 0, to: series.length }): number[] {
  const length = Math.max(0, to - from);
  if (length <= maximum) return Array.from({ length }, (_, index) => from + index);
  const buckets = Math.max(1, Math.floor(maximum / 5));
  const chosen = new Set<number>();
  for (let bucket = 0; bucket < buckets; bucket++) {
    const first = from + Math.floor((bucket * length) / buckets);
    const end = from + Math.floor(((bucket + 1) * length) / buckets);
    let [low, high, risky, unsafe] = [first, first, first, first];
    for (let index = first + 1; index < end; index++) {
      if (isLower(series.at('total', index), series.at('total', low))) low = index;
      if (isLower(-series.at('total', index), -series.at('total', high))) high = index;
      if (series.at('riskMax', index) > series.at('riskMax', risky)) risky = index;
      if (isLower(series.at('canary', index), series.at('canary', unsafe))) unsafe = index;
    }
    for (const index of [low, high, risky, unsafe]) chosen.add(index);
  }
  for (const index of series.measured) if (index >= from && index < to) chosen.add(index);
  chosen.add(to - 1);
  return [...chosen].sort((a, b) => a - b);
}

/** The canary is asked at some steps only, and a loss may be missing: any number goes before NaN. */
const isLower = (value: number, lowest: number): boolean => value < lowest || (Number.isNaN(lowest) && !Number.isNaN(value));
