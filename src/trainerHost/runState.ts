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
import { atOnce } from '../common/pace';
import { Column, type Extremes } from './column';
import type { TailedEvent } from './eventTail';

export type Phase = PhaseStarted['phase'];

/** The numbers that every step's event has. */
export const seriesNames = [
  'step',
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
  'gpuLoad',
  'canary',
] as const satisfies readonly (keyof Batch)[];

/** The numbers that follow from a step's rows. */
const derived = {
  /** Share of the rows that were held near the reference. */
  regularisedShare: ({ rows }: Batch) => mean(rows.beta.map(beta => (beta > 0 ? 1 : 0))),
  /** Mean KL(reference ‖ model) of those rows. */
  klMean: ({ rows }: Batch) => mean(rows.kl.filter((kl, row) => kl !== null && (rows.beta[row] ?? 0) > 0) as number[]),
};

const derivedNames = Object.keys(derived) as (keyof typeof derived)[];

/**
 * `time`: in milliseconds, what the steps have taken so far. No clock can jump in it, and neither pauses nor the nights
 * between attempts stretch it. `attackSuccess`: in percent, at the steps after
 * which the model was measured.
 */
export type SeriesName = ColumnName | 'attackSuccess';
type ColumnName = (typeof seriesNames)[number] | keyof typeof derived | 'time';

const mean = (values: readonly number[]): number | null =>
  values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;

export const riskBins = 10;

/** Which of the bins, 0 the lowest, a row is in; one without a score is in the highest, as it counts. */
export const riskBin = (risk: number | null): number => Math.min(riskBins - 1, Math.max(0, Math.floor((risk ?? 1) * riskBins)));

/** Kept to the last digit, the time to the millisecond; the others as charts need them. */
const exactSeries: readonly ColumnName[] = ['step', 'time', 'tokens'];
/** What every step has: where it is missing without a word, an earlier trainer had NaN or infinity. */
const everyStepHas = ['nll', 'total', 'gradNorm'] as const satisfies readonly ColumnName[];
/** They grow from step to step: their extremes are the ends. */
const growing: readonly ColumnName[] = ['step', 'time', 'epoch'];
const columnNames: readonly ColumnName[] = [...seriesNames, 'time', ...derivedNames];
export const varying = columnNames.filter(name => !growing.includes(name));
/** So many steps are summarised, to find the extremes of many more. */
const groupLength = 256;
/** At the clock, while steps are chosen of many. */
const groupsBetweenLooks = 32;

/** The numbers of a step that cannot be drawn, as bits in the order of their names. */
function oddBits(batch: Batch): number {
  let bits = 0;
  seriesNames.forEach((name, at) => {
    const value = batch[name];
    if ((value !== null && !Number.isFinite(Math.fround(value))) || batch.notFinite.includes(name)) bits += 2 ** at;
  });
  return bits;
}

const hasBit = (bits: number, at: number): boolean => at >= 0 && Math.floor(bits / 2 ** at) % 2 === 1;

function bitsIn(bits: number): number {
  let count = 0;
  for (let rest = bits; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2;
  return count;
}

/** One column per number, one row per optimiser step, steps strictly increasing. */
export class Series {
  private readonly columns = Object.fromEntries(
    columnNames.map(name => [name, new Column(exactSeries.includes(name) ? 'exact' : 'float32')]),
  ) as Record<ColumnName, Column>;
  /** How many rows of each step are in which risk bin. */
  private readonly risks = Array.from({ length: riskBins }, () => new Column('exact'));
  /** By step: few of many. */
  private readonly attackSuccess = new Map<number, number>();
  private readonly offsets = new Column('exact');
  private readonly lengths = new Column('exact');
  /** Of each number that varies, the extremes of each full group of steps. */
  private readonly groups = new Map<ColumnName, (Extremes | undefined)[]>(varying.map(name => [name, []]));
  /** Where the newest value of each number is. */
  private readonly newest = new Map<ColumnName, number>();
  /** Of each step, a bit for every number that was there but was none: NaN or infinite. */
  private readonly notFinite = new Column('exact');
  /** The steps that have such a number. */
  private readonly oddSteps: number[] = [];
  private oddNumbers = 0;
  private readonly missingBy = new Map<ColumnName, number>(everyStepHas.map(name => [name, 0]));
  private count = 0;
  /** How often steps were forgotten: whoever has added up steps starts again. */
  cuts = 0;

  get length(): number {
    return this.count;
  }

  /** Values that were NaN or infinite, or are missing though other steps have them. */
  get missing(): number {
    let sum = this.oddNumbers;
    for (const missing of this.missingBy.values()) sum += missing < this.count ? missing : 0;
    return sum;
  }

  /** @param from the step that the run began after, where this is the first one */
  add(batch: Batch, offset: number, length: number, from = 0): void {
    for (const name of seriesNames) this.columns[name].set(this.count, batch[name]);
    this.columns.time.set(this.count, this.timeAfter(batch, from));
    this.notFinite.set(this.count, oddBits(batch));
    for (const name of derivedNames) this.columns[name].set(this.count, derived[name](batch));
    const inBins = new Array<number>(riskBins).fill(0);
    for (const risk of batch.rows.risk) inBins[riskBin(risk)]!++;
    this.risks.forEach((bin, index) => bin.set(this.count, inBins[index]!));
    this.offsets.set(this.count, offset);
    this.lengths.set(this.count, length);
    this.countIn();
  }

  /** Takes in the steps that columns hold already, up to an index; false where they are not in order. */
  admit(count: number): boolean {
    while (this.count < count) {
      const step = this.columns.step.get(this.count);
      if (!(step >= 1) || !(this.count === 0 || step > this.columns.step.get(this.count - 1))) return false;
      this.countIn();
    }
    return true;
  }

  /** Everything that is kept of the steps, by names that do not change while it is kept in the same way. */
  get stored(): [name: string, column: Column][] {
    const risks = this.risks.map((bin, index): [string, Column] => [`risk ${index} of ${riskBins}`, bin]);
    return [...Object.entries(this.columns), ['not finite', this.notFinite], ...risks, ['offset', this.offsets], ['length', this.lengths]];
  }

  addMeasurement({ step, metrics }: Measured): void {
    this.attackSuccess.set(step, 100 * metrics.attackSuccess.value);
  }

  at(name: SeriesName, index: number): number {
    if (index >= this.count) return NaN;
    if (name === 'attackSuccess') return this.attackSuccess.get(this.columns.step.get(index)) ?? NaN;
    return this.columns[name].get(index);
  }

  /** Whether a step's value was NaN or infinite, which is something else than none. */
  isOdd(name: SeriesName, index: number): boolean {
    const bits = index < this.count ? this.notFinite.get(index) : 0;
    return bits > 0 && hasBit(bits, (seriesNames as readonly SeriesName[]).indexOf(name));
  }

  /** Where a value was NaN or infinite. */
  oddIn({ from, to }: IndexRange): number[] {
    return this.oddSteps.filter(index => index >= from && index < to);
  }

  /** Where the model was measured. */
  get measured(): number[] {
    return [...this.attackSuccess.keys()].map(step => this.indexOf(step)).filter(index => index >= 0);
  }

  /** How many rows of a step are in a risk bin. */
  rowsInBin(index: number, bin: number): number {
    return index < this.count ? (this.risks[bin]?.get(index) ?? 0) : 0;
  }

  /** How many rows of the steps from one index to before another are in a risk bin. */
  rowsIn(bin: number, from: number, to: number): number {
    return this.risks[bin]!.sum(from, Math.min(to, this.count));
  }

  /** The newest value that there is; null where there is none, or where it was NaN or infinite. */
  latestOf(name: SeriesName): number | null {
    const index = name === 'attackSuccess' ? this.measured.reduce((a, b) => Math.max(a, b), -1) : (this.newest.get(name) ?? -1);
    return index < 0 || this.isOdd(name, index) ? null : this.at(name, index);
  }

  /** Forgets the steps after `step`; says whether there were any. */
  cutAfter(step: number): boolean {
    const before = this.count;
    while (this.count && this.at('step', this.count - 1) > step) this.countOut();
    for (const measured of this.attackSuccess.keys()) if (measured > step) this.attackSuccess.delete(measured);
    if (this.count === before) return false;
    this.findNewest();
    this.cuts++;
    return true;
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

  /** Where the lowest and the highest value are, from one index to before another; undefined where there is none. */
  extremes(name: ColumnName, from: number, to: number): Extremes | undefined {
    const [column, groups] = [this.columns[name], this.groups.get(name) ?? []];
    let found: Extremes | undefined;
    for (let index = from; index < to; ) {
      const end = Math.min(to, index - (index % groupLength) + groupLength);
      const group = index / groupLength;
      const isKnown = end - index === groupLength && group < groups.length;
      found = column.outermost(found, isKnown ? groups[group] : column.extremes(index, end));
      index = end;
    }
    return found;
  }

  /** Of two ranges, the first before the second, the extremes of both. */
  outermost(name: ColumnName, a: Extremes | undefined, b: Extremes | undefined): Extremes | undefined {
    return this.columns[name].outermost(a, b);
  }

  private countIn(): void {
    const index = this.count++;
    for (const name of everyStepHas) this.countMissing(name, index, 1);
    for (const name of columnNames) if (this.has(name, index)) this.newest.set(name, index);
    const odd = bitsIn(this.notFinite.get(index));
    this.oddNumbers += odd;
    if (odd > 0) this.oddSteps.push(index);
    if (this.count % groupLength > 0) return;
    for (const [name, groups] of this.groups) groups.push(this.columns[name].extremes(this.count - groupLength, this.count));
  }

  private countOut(): void {
    for (const name of everyStepHas) this.countMissing(name, this.count - 1, -1);
    this.count--;
    this.oddNumbers -= bitsIn(this.notFinite.get(this.count));
    if (this.oddSteps.at(-1) === this.count) this.oddSteps.pop();
    for (const groups of this.groups.values()) groups.length = Math.min(groups.length, Math.floor(this.count / groupLength));
  }

  /** Of each number whose newest value has gone, the one before it. */
  private findNewest(): void {
    for (const [name, newest] of this.newest) {
      let index = Math.min(newest, this.count - 1);
      while (index >= 0 && !this.has(name, index)) index--;
      if (index < 0) this.newest.delete(name);
      else this.newest.set(name, index);
    }
  }

  /** A script tells of some steps only, with the mean time of those since the last. */
  private timeAfter({ step, stepSeconds }: Batch, from: number): number {
    const [last, time] = this.count ? [this.at('step', this.count - 1), this.at('time', this.count - 1)] : [Math.min(from, step - 1), 0];
    const milliseconds = 1000 * stepSeconds * (step - last);
    return Math.round(time + (milliseconds > 0 && Number.isFinite(milliseconds) ? milliseconds : 0));
  }

  /** Whether a step has a value, be it NaN or infinite. */
  private has(name: ColumnName, index: number): boolean {
    return !Number.isNaN(this.columns[name].get(index)) || this.isOdd(name, index);
  }

  private countMissing(name: ColumnName, index: number, by: number): void {
    if (!this.has(name, index)) this.missingBy.set(name, (this.missingBy.get(name) ?? 0) + by);
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

/** Lines that tell nothing. */
export interface EventCounts {
  /** No events. */
  bad: number;
  /** Events that only a newer trainer knows. */
  unknown: number;
  /** Events that came twice, or after later ones. */
  repeated: number;
}

export class RunState {
  private steps: Series | undefined;
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
  counts: EventCounts = { bad: 0, unknown: 0, repeated: 0 };
  /** Of the attempt, the number of the newest event of each kind. */
  private readonly newest = new Map<string, number>();
  private readonly listed = new Set<string>();
  /** Milliseconds since the Unix epoch of the first and the last event. */
  firstEvent: number | undefined;
  lastEvent: number | undefined;

  /** Made when it is asked for: of many runs most are never looked into. */
  get series(): Series {
    return (this.steps ??= new Series());
  }

  /**
   * A state whose steps are known already, from the other events in their order, and the last of any batches between
   * them: whatever a batch changes beside the series, the next one changes again.
   */
  static restored(series: Series, events: readonly TailedEvent[], counts: EventCounts): RunState {
    const state = new RunState();
    for (const event of events) state.apply(event);
    state.steps = series;
    for (const measured of state.measurements) series.addMeasurement(measured);
    state.generation = 0;
    state.counts = { bad: counts.bad, unknown: counts.unknown, repeated: counts.repeated };
    return state;
  }

  /** What is known of the run stays, the numbers of its steps do not. */
  forgetSteps(): void {
    this.steps = undefined;
    this.generation++;
  }

  /** Says whether the event counts: one that comes again, or late, does not. */
  apply({ event, offset, length }: TailedEvent): boolean {
    if (this.isRepeated(event)) {
      this.counts.repeated++;
      return false;
    }
    this.newest.set(kindOf(event), event.seq);
    this.firstEvent ??= event.ts;
    this.lastEvent = event.ts;
    this.reduce(event, offset, length);
    return true;
  }

  /**
   * Attempts come in the order of their numbers, and events in that of theirs: what an earlier attempt said counts no
   * more, and the newest word of a kind is not taken back by an older one. What is listed must not be listed twice.
   */
  private isRepeated(event: AnyEvent): boolean {
    if (event.type === 'attempt_started') return event.attempt <= (this.attempt?.attempt ?? 0);
    if (event.seq < (this.attempt?.seq ?? 0)) return true;
    const newest = this.newest.get(kindOf(event)) ?? -1;
    switch (event.type) {
      case 'heartbeat':
        return false;
      case 'batch':
        return event.seq <= newest;
      case 'budget':
      case 'settings':
      case 'command_acknowledged':
      case 'warning': {
        const listed = `${event.type} ${event.seq} ${event.ts}`;
        if (this.listed.has(listed)) return true;
        this.listed.add(listed);
        return false;
      }
      default:
        return event.seq < newest;
    }
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
    this.newest.clear();
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
    this.series.add(batch, offset, length, this.attempt?.fromStep);
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

/** Reports of progress and phases are one story. */
const kindOf = ({ type }: AnyEvent): string => (type === 'progress' ? 'phase' : type);

/** The step after which it holds: of a roll-back, the one that the run has gone back to. */
export const holdsFrom = (event: BudgetExceeded | SettingsChanged): number => ('backTo' in event ? event.backTo : null) ?? event.step;

/** Indices of steps, the last one not among them. */
export interface IndexRange {
  from: number;
  to: number;
}

/**
 * Steps to draw some series by, when there are more than `maximum`: the lowest and the highest value of each of them in
 * as many groups of steps as leaves that few, so that no peak goes missing and every point is a step that was;
 * those after which the model was measured; and those at which a value was NaN or infinite, a quarter of all at most.
 */
export const sampleSteps = (...of: Parameters<typeof samplingSteps>): number[] => atOnce(samplingSteps(...of));

/** The same, for a run so long that it must not be done in one go. */
export function* samplingSteps(series: Series, names: readonly SeriesName[], maximum: number, { from, to }: IndexRange = { from: 0, to: series.length }): Generator<void, number[]> {
  const length = Math.max(0, to - from);
  if (length <= maximum) return Array.from({ length }, (_, index) => from + index);
  const measured = series.measured.filter(index => index >= from && index < to);
  const gaps = evenly(yield* oddOf(series, names, { from, to }), Math.floor(maximum / 4));
  const peaks = yield* peaksOf(series, varying.filter(name => names.includes(name)), maximum - 2 - gaps.length, { from, to });
  const chosen = new Set([from, ...peaks, ...gaps, ...measured, to - 1]);
  return [...chosen].sort((a, b) => a - b);
}

/** Where one of the numbers was NaN or infinite: of a run that has gone wrong, at every step. */
function* oddOf(series: Series, names: readonly SeriesName[], range: IndexRange): Generator<void, number[]> {
  const odd: number[] = [];
  for (const [at, index] of series.oddIn(range).entries()) {
    if (names.some(name => series.isOdd(name, index))) odd.push(index);
    if (at % groupLength === 0) yield;
  }
  return odd;
}

const evenly = <T>(all: readonly T[], most: number): readonly T[] =>
  all.length <= most ? all : Array.from({ length: most }, (_, index) => all[Math.floor((index * all.length) / most)]!);

/** The extremes of each series in each group of steps; groups are joined until there are few enough. */
function* peaksOf(series: Series, names: readonly ColumnName[], maximum: number, { from, to }: IndexRange): Generator<void, Set<number>> {
  const count = Math.max(1, Math.floor(maximum / 2));
  // Of many steps, groups are what is summarised already.
  const grain = to - from >= count * groupLength ? groupLength : 1;
  const boundary = (group: number): number => (group === count ? to : Math.max(from, Math.floor((from + (group * (to - from)) / count) / grain) * grain));
  const groups = names.map((): (Extremes | undefined)[] => []);
  for (const [at, name] of names.entries()) {
    for (let group = 0; group < count; group++) {
      groups[at]!.push(series.extremes(name, boundary(group), boundary(group + 1)));
      if (group % groupsBetweenLooks === 0) yield;
    }
  }
  for (let together = 1; ; ) {
    const peaks = new Set<number>();
    for (const [at, name] of names.entries()) {
      yield;
      for (let group = 0; group < count; group += together) {
        let joined: Extremes | undefined;
        for (let one = group; one < Math.min(count, group + together); one++) joined = series.outermost(name, joined, groups[at]![one]);
        if (joined) peaks.add(joined.lowest).add(joined.highest);
      }
    }
    if (peaks.size <= maximum || together >= count) return peaks;
    together = Math.max(together + 1, Math.floor((together * peaks.size) / maximum));
  }
}
