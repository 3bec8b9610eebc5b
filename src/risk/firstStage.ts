/**
 * The classifier's first stage: settles the windows that are clearly harmless before the encoder reads them.
 *
 * The twin of trainer/safe_finetuning/risk/first_stage.py, which says what it computes: the same logit to the
 * last bit, so that no window is settled in one language only.
 */

const WIDTH = 3; // tokens that a filter sees: the one before, the one itself, the one behind

interface Parameters {
  scales: number[];
  biases: number[];
  weights: number[];
  bias: number;
  clearBelow: number;
}

export class FirstStage {
  private readonly parameters: Parameters;
  private readonly filters: number;

  /** `table`: int8 [vocabulary, WIDTH, filters], what a token adds to each filter at each place. */
  constructor(
    parameters: string,
    private readonly table: Int8Array,
  ) {
    this.parameters = JSON.parse(parameters) as Parameters;
    this.filters = this.parameters.scales.length;
  }

  /** Of the probability that the encoder would find harm in a window of token ids. */
  logit(window: readonly number[]): number {
    const { scales, biases, weights, bias } = this.parameters;
    const highest = new Int32Array(this.filters).fill(-0x8000_0000);
    for (const [at, id] of window.entries()) {
      const own = (id * WIDTH + 1) * this.filters;
      const before = at > 0 ? window[at - 1]! * WIDTH * this.filters : -1;
      const behind = at + 1 < window.length ? (window[at + 1]! * WIDTH + 2) * this.filters : -1;
      for (let filter = 0; filter < this.filters; filter++) {
        let sum = this.table[own + filter]!;
        if (before >= 0) sum += this.table[before + filter]!;
        if (behind >= 0) sum += this.table[behind + filter]!;
        if (sum > highest[filter]!) highest[filter] = sum;
      }
    }
    return highest.reduce((logit, sum, filter) => logit + Math.max(sum * scales[filter]! + biases[filter]!, 0) * weights[filter]!, bias);
  }

  /** In [0, 1], that the encoder would find harm in a window of token ids. */
  probability(window: readonly number[]): number {
    return sigmoid(this.logit(window));
  }

  /** That probability of a window that is clearly harmless, undefined for every other. */
  clear(window: readonly number[]): number | undefined {
    const logit = this.logit(window);
    return logit < this.parameters.clearBelow ? sigmoid(logit) : undefined;
  }
}

const sigmoid = (logit: number): number => 1 / (1 + Math.exp(-logit));
