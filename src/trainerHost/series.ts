/** The numbers of a run's steps, and how many of each step's rows are how risky. No I/O. */
import type { Batch, Measured } from '../protocol/messages';
import { Column, type Extremes } from './column';

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
export type ColumnName = (typeof seriesNames)[number] | keyof typeof derived | 'time';

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
export const groupLength = 256;

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

/** Indices of steps, the last one not among them. */
export interface IndexRange {
  from: number;
  to: number;
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
