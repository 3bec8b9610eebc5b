/** What is known of every record of a file, 31 bytes each, so that files of millions of rows fit into memory. */

const BLOCK_ROWS = 1 << 16;
const MILLION = 1e6;
const UNJUDGED = 0xffffffff;

/** Bits of `state`. */
export const MALFORMED = 1;
export const REFUSAL = 2;
export const FAILED = 4;

class Block {
  /** Where the record begins and how long it is, in its source's unit. */
  readonly offset = new Float64Array(BLOCK_ROWS);
  readonly size = new Uint32Array(BLOCK_ROWS);
  /** From 1; of a Parquet file the number of the row. */
  readonly line = new Uint32Array(BLOCK_ROWS);
  readonly hash = new BigUint64Array(BLOCK_ROWS);
  /** In millionths. */
  readonly risk = new Uint32Array(BLOCK_ROWS).fill(UNJUDGED);
  readonly state = new Uint8Array(BLOCK_ROWS);
  readonly messageIndex = new Uint16Array(BLOCK_ROWS);
}

export class Columns {
  length = 0;
  private readonly blocks: Block[] = [];

  push(offset: number, size: number, line: number, hash: bigint | undefined): void {
    const at = this.length++ % BLOCK_ROWS;
    if (at === 0) this.blocks.push(new Block());
    const block = this.blocks.at(-1)!;
    block.offset[at] = offset;
    block.size[at] = size;
    block.line[at] = line;
    if (hash === undefined) block.state[at] = MALFORMED;
    else block.hash[at] = hash;
  }

  offset = (row: number): number => this.block(row).offset[row % BLOCK_ROWS]!;
  size = (row: number): number => this.block(row).size[row % BLOCK_ROWS]!;
  line = (row: number): number => this.block(row).line[row % BLOCK_ROWS]!;
  hash = (row: number): bigint => this.block(row).hash[row % BLOCK_ROWS]!;
  /** To six decimal places, as scores are kept; NaN where nobody has judged the row. */
  risk = (row: number): number => {
    const millionths = this.block(row).risk[row % BLOCK_ROWS]!;
    return millionths === UNJUDGED ? NaN : millionths / MILLION;
  };
  state = (row: number): number => this.block(row).state[row % BLOCK_ROWS]!;
  messageIndex = (row: number): number => this.block(row).messageIndex[row % BLOCK_ROWS]!;

  judge(row: number, risk: number, refusal: boolean, messageIndex: number): void {
    const block = this.block(row);
    const at = row % BLOCK_ROWS;
    block.risk[at] = Number.isNaN(risk) ? UNJUDGED : Math.round(risk * MILLION);
    block.state[at] = refusal ? REFUSAL : 0;
    block.messageIndex[at] = Math.min(messageIndex, 0xffff);
  }

  fail(row: number): void {
    this.block(row).state[row % BLOCK_ROWS]! |= FAILED;
  }

  private block(row: number): Block {
    return this.blocks[Math.floor(row / BLOCK_ROWS)]!;
  }
}
