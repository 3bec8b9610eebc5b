/** A list of numbers that grows, for many of them: in blocks, so that growing neither copies much nor reserves much. */

/**
 * What a column's numbers are kept as. `float32`: the numbers of a chart need no more than 7 digits; NaN where one is
 * missing. `exact`: whole numbers take as few bytes as those of their block differ by, others eight; 0 where one is missing.
 */
export type Precision = 'float32' | 'exact';

const kinds = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array, float64: Float64Array };
export type Kind = keyof typeof kinds;

/** Numbers that are kept as what they are more than `base`. */
interface Block {
  kind: Kind;
  base: number;
  numbers: InstanceType<(typeof kinds)[Kind]>;
}

/** A block as it is written to a file: `bytes` is no copy. */
export interface StoredBlock extends Omit<Block, 'numbers'> {
  bytes: Uint8Array;
}

/** The indices of the lowest and the highest of some numbers; of equal ones the first. */
export interface Extremes {
  lowest: number;
  highest: number;
}

export const blockLength = 65_536;
export const mostBlockBytes = 8 * blockLength;
const smallestBlock = 256;

export class Column {
  /** Missing where no number of the block is there. */
  private readonly blocks: (Block | undefined)[] = [];
  private readonly missing: number;

  constructor(readonly precision: Precision) {
    this.missing = precision === 'exact' ? 0 : NaN;
  }

  /**
   * Numbers are set in their order, and set anew as they were; those before the first one are missing.
   * @param given what is not a finite number is missing
   */
  set(index: number, given: number | null): void {
    const value = this.kept(given ?? NaN);
    const number = Math.floor(index / blockLength);
    const within = index % blockLength;
    let block = this.blocks[number];
    if (!block && Object.is(value, this.missing)) return;
    if (!block || within >= block.numbers.length || !holds(block, value)) {
      const length = lengthFor(number, within, block);
      block = this.precision === 'float32' ? this.plain(length, block) : this.packed(length, within, value, block, this.blocks[number - 1]?.kind);
      this.blocks[number] = block;
    }
    block.numbers[within] = value - block.base;
  }

  get(index: number): number {
    const block = this.blocks[Math.floor(index / blockLength)];
    const number = block?.numbers[index % blockLength];
    return number === undefined ? this.missing : number + block!.base;
  }

  /** Of all numbers from one index to before another that are there. */
  sum(from: number, to: number): number {
    let sum = 0;
    for (let index = from; index < to; ) {
      const [block, first] = [this.blocks[Math.floor(index / blockLength)], index - (index % blockLength)];
      const end = Math.min(to, first + blockLength);
      if (block) sum += sumOf(block, index - first, end - first);
      index = end;
    }
    return sum;
  }

  /** Where the lowest and the highest number are, from one index to before another; undefined where none is there. */
  extremes(from: number, to: number): Extremes | undefined {
    let found: Extremes | undefined;
    for (let index = from; index < to; ) {
      const [block, first] = [this.blocks[Math.floor(index / blockLength)], index - (index % blockLength)];
      const end = Math.min(to, first + blockLength);
      if (block) found = this.outermost(found, within(block.numbers, index - first, end - first, first));
      index = end;
    }
    return found;
  }

  /** Of two ranges, the first before the second, the extremes of both. */
  outermost(a: Extremes | undefined, b: Extremes | undefined): Extremes | undefined {
    if (!a || !b) return a ?? b;
    const [lower, higher] = [this.get(b.lowest) < this.get(a.lowest), this.get(b.highest) > this.get(a.highest)];
    if (lower === higher) return lower ? b : a;
    return lower ? { lowest: b.lowest, highest: a.highest } : { lowest: a.lowest, highest: b.highest };
  }

  /** A block's first numbers; undefined where none is there. */
  stored(number: number, length: number): StoredBlock | undefined {
    const block = this.blocks[number];
    if (!block) return undefined;
    const { kind, base, numbers } = block;
    return { kind, base, bytes: new Uint8Array(numbers.buffer, 0, Math.min(length, numbers.length) * numbers.BYTES_PER_ELEMENT) };
  }

  /** Room for the first numbers of a block that is not there yet, as many as so many bytes are; undefined where those are too many, or not of this column. */
  reserve(number: number, atMost: number, { kind, base, bytes }: Omit<StoredBlock, 'bytes'> & { bytes: number }): Uint8Array | undefined {
    const ofThisColumn = (kind === 'float32') === (this.precision === 'float32') && Number.isFinite(base);
    const length = bytes / (kinds[kind]?.BYTES_PER_ELEMENT ?? 0);
    if (this.blocks[number] || !ofThisColumn || !Number.isInteger(length) || length < 1 || length > atMost) return undefined;
    const numbers = new kinds[kind](lengthFor(number, length - 1));
    this.blocks[number] = { kind, base, numbers };
    return new Uint8Array(numbers.buffer, 0, bytes);
  }

  private kept(given: number): number {
    const kept = this.precision === 'float32' ? Math.fround(given) : given;
    return Number.isFinite(kept) ? kept : this.missing;
  }

  private plain(length: number, before: Block | undefined): Block {
    const numbers = new Float32Array(length).fill(this.missing);
    if (before) numbers.set(before.numbers);
    return { kind: 'float32', base: 0, numbers };
  }

  /** A block of the narrowest kind that holds the numbers before `within`, and `value`; no narrower than `least`, that of the block before it, which most are like. */
  private packed(length: number, within: number, value: number, before: Block | undefined, least: Kind = 'uint8'): Block {
    const known = before ? before.numbers.length : within; // what is missing is 0, also where there was no block
    let [lowest, highest, whole] = [value, value, Number.isSafeInteger(value)];
    for (let index = 0; index < Math.min(known, length); index++) {
      const number = before ? before.numbers[index]! + before.base : this.missing;
      lowest = Math.min(lowest, number);
      highest = Math.max(highest, number);
      whole &&= Number.isSafeInteger(number);
    }
    // Numbers that fall again and again must not have the block packed anew each time.
    const base = before && lowest < before.base ? lowest - (highest - lowest) : lowest;
    const kind = whole ? narrowest(Math.max(highest - base, mostOf[least])) : 'float64';
    const block: Block = { kind, base: kind === 'float64' ? 0 : base, numbers: new kinds[kind](length) };
    for (let index = 0; before && index < before.numbers.length; index++) block.numbers[index] = before.numbers[index]! + before.base - block.base;
    if (!before) block.numbers.fill(this.missing - block.base, 0, within);
    return block;
  }
}

function sumOf({ numbers, base }: Block, from: number, to: number): number {
  const end = Math.min(to, numbers.length);
  let sum = base * Math.max(0, end - from);
  for (let at = from; at < end; at++) sum += numbers[at]!;
  return sum;
}

/** The extremes of a block's numbers between two places; `first` is the index of its first one. */
function within(numbers: Block['numbers'], from: number, to: number, first: number): Extremes | undefined {
  let [low, high, lowest, highest] = [Infinity, -Infinity, -1, -1];
  for (let at = from; at < Math.min(to, numbers.length); at++) {
    const number = numbers[at]!;
    if (number < low) [low, lowest] = [number, at];
    if (number > high) [high, highest] = [number, at];
  }
  return lowest < 0 ? undefined : { lowest: first + lowest, highest: first + highest };
}

/** Whether a value is kept in a block as it is. */
function holds({ kind, base }: Block, value: number): boolean {
  if (kind === 'float32' || kind === 'float64') return true;
  return value >= base && value - base <= mostOf[kind] && Number.isSafeInteger(value);
}

/** The highest number of each kind of whole numbers. */
const mostOf: Record<Kind, number> = { uint8: 2 ** 8 - 1, uint16: 2 ** 16 - 1, uint32: 2 ** 32 - 1, float32: Infinity, float64: Infinity };

const narrowest = (span: number): Kind => (span < 2 ** 8 ? 'uint8' : span < 2 ** 16 ? 'uint16' : span < 2 ** 32 ? 'uint32' : 'float64');

function lengthFor(number: number, within: number, block?: Block): number {
  if (block && within < block.numbers.length) return block.numbers.length;
  return number > 0 ? blockLength : Math.min(blockLength, 2 ** Math.ceil(Math.log2(Math.max(smallestBlock, within + 1))));
}
