/** A list of numbers that grows, for many of them: in blocks, so that growing neither copies much nor reserves much. */

/** What a column's numbers are kept as; the numbers of a chart need no more than 7 digits. `count`: up to 65,535, 0 where it is missing. */
export type Precision = 'float32' | 'float64' | 'count';
type Block = Float32Array | Float64Array | Uint16Array;

export const blockLength = 65_536;
const smallestBlock = 256;
const blockTypes = { float32: Float32Array, float64: Float64Array, count: Uint16Array };
const mostCounted = 65_535;

export class Column {
  /** Missing where no number of the block is there. */
  private readonly blocks: (Block | undefined)[] = [];

  private readonly missing: number;

  constructor(readonly precision: Precision) {
    this.missing = precision === 'count' ? 0 : NaN;
  }

  /** @param given what is not a finite number, or too large to be kept, is missing */
  set(index: number, given: number | null): void {
    const value = this.kept(given ?? NaN);
    const number = Math.floor(index / blockLength);
    const within = index % blockLength;
    let block = this.blocks[number];
    if (!block && Object.is(value, this.missing)) return;
    if (!block || within >= block.length) {
      block = this.larger(block, number, within);
      this.blocks[number] = block;
    }
    block[within] = value;
  }

  get(index: number): number {
    return this.blocks[Math.floor(index / blockLength)]?.[index % blockLength] ?? this.missing;
  }

  /** The bytes of a block's first numbers, not copied; undefined where none is there. */
  bytesOf(number: number, length: number): Uint8Array | undefined {
    const block = this.blocks[number];
    return block && new Uint8Array(block.buffer, 0, Math.min(length, block.length) * block.BYTES_PER_ELEMENT);
  }

  /** Room for the first numbers of a block that is not there yet, as many as so many bytes are; undefined where those are too many. */
  reserve(number: number, atMost: number, bytes: number): Uint8Array | undefined {
    const length = bytes / blockTypes[this.precision].BYTES_PER_ELEMENT;
    if (this.blocks[number] || !Number.isInteger(length) || length < 1 || length > atMost) return undefined;
    const block = this.larger(undefined, number, length - 1);
    this.blocks[number] = block;
    return new Uint8Array(block.buffer, 0, bytes);
  }

  private kept(given: number): number {
    if (this.precision === 'count') return Math.min(mostCounted, given || 0);
    const kept = this.precision === 'float32' ? Math.fround(given) : given;
    return Number.isFinite(kept) ? kept : NaN;
  }

  private larger(block: Block | undefined, number: number, within: number): Block {
    const wanted = number > 0 ? blockLength : Math.min(blockLength, 2 ** Math.ceil(Math.log2(Math.max(smallestBlock, within + 1))));
    const larger = new blockTypes[this.precision](wanted).fill(this.missing);
    if (block) larger.set(block);
    return larger;
  }
}
