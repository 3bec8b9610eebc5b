/**
 * The bundled safety critic: how harmful a text is, as a calibrated probability.
 *
 * The twin of trainer/safe_finetuning/risk/classifier.py: a first stage settles what is clearly harmless, an
 * encoder judges the rest. The same files, the same windows, the same score to 1e-4, whatever else is in the
 * batch. Figures: classifier/CARD.md there.
 */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import * as path from "node:path";
import * as l10n from '@vscode/l10n';

import { Tokenizer } from "@huggingface/tokenizers";
import { InferenceSession, Tensor } from "onnxruntime-node";

import { batchesByLength } from "./batches";
import { FirstStage } from "./firstStage";
import { wellFormed } from "./pairText";

const WINDOW_TOKENS = 64; // with the two special tokens; longer ones drown a single request
const OVERLAP_TOKENS = 24; // so that a request on a window's edge is whole in one of them
const CLS_ID = 101;
const SEP_ID = 102;
const PAD_ID = 0;
const BATCH_TOKENS = 640; // padded tokens in one forward: bounds memory, and more at once are slower
const CHUNK_WINDOWS = 4096; // distinct windows kept at a time
const SEGMENT_UNITS = 100_000; // UTF-16 code units that are tokenised at a time: a line may have 100 MB
const SEGMENT_OVERLAP_UNITS = 1000; // more than the windows overlap

export { pairText } from "./pairText";

interface Head {
  name: string;
  version: string;
  weights: number[];
  bias: number;
}

/** One window, and which of the texts have it. */
interface Window {
  ids: number[];
  owners: number[];
}

/** The scores of texts while their windows are judged. */
class Scoring {
  readonly scores: number[];
  /** Boilerplate repeats, within a text and between texts: each window is judged once, for all its owners. */
  readonly windows = new Map<string, Window>();
  /** Windows of each text, and one until it has been cut. */
  private readonly open: number[];
  private done = 0;

  constructor(
    private readonly texts: number,
    private readonly onProgress: ((done: number, total: number) => void) | undefined,
  ) {
    this.scores = new Array<number>(texts).fill(0);
    this.open = new Array<number>(texts).fill(1);
  }

  add(owner: number, windows: readonly number[][]): void {
    for (const [key, ids] of new Map(windows.map((window) => [window.join(), window]))) {
      const window = this.windows.get(key) ?? { ids, owners: [] };
      window.owners.push(owner);
      this.windows.set(key, window);
      this.open[owner]!++;
    }
  }

  isCut(owner: number): void {
    this.close(owner);
  }

  take(judged: readonly [Window, number][]): void {
    for (const [{ owners }, probability] of judged) {
      for (const owner of owners) {
        this.scores[owner] = Math.max(this.scores[owner]!, probability);
        this.close(owner);
      }
    }
    this.onProgress?.(this.done, this.texts);
  }

  private close(owner: number): void {
    this.open[owner]!--;
    if (this.open[owner] === 0) this.done++;
  }
}

/** Pieces that cover the text, each of at most SEGMENT_UNITS: most texts are one. */
export function* segments(text: string): Generator<string> {
  const step = SEGMENT_UNITS - SEGMENT_OVERLAP_UNITS;
  for (let start = 0; start < Math.max(text.length - SEGMENT_OVERLAP_UNITS, 1); start += step) {
    yield text.slice(start, start + SEGMENT_UNITS);
  }
}

/** Token ids of the windows that cover a text of these tokens, in order; none without tokens. */
export function cutWindows(ids: number[]): number[][] {
  const size = WINDOW_TOKENS - 2;
  const windows: number[][] = [];
  for (let start = 0; start < Math.max(ids.length - OVERLAP_TOKENS, 1); start += size - OVERLAP_TOKENS) {
    // The last window ends with the text and is as long as the others.
    const first = Math.min(start, Math.max(ids.length - size, 0));
    const span = ids.slice(first, first + size);
    if (span.length > 0) {
      windows.push([CLS_ID, ...span, SEP_ID]);
    }
  }
  return windows;
}

async function readPart<T>(folder: string, name: string, read: (file: string) => Promise<T>): Promise<T> {
  try {
    return await read(path.join(folder, name));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(l10n.t`The risk classifier cannot be loaded: ${reason}. Reinstall the extension, or, in a checkout, build it with "npm run build".`);
  }
}

export class Classifier {
  private constructor(
    private readonly session: InferenceSession,
    private readonly tokenizer: Tokenizer,
    private readonly firstStage: FirstStage,
    private readonly head: Head,
    /** Names all of its parts exactly: scores of different judges must not be mixed. */
    readonly judgeId: string,
  ) {}

  /** `threads`: processor threads of one forward pass, 0 for all. */
  static async load(folder: string, threads = 0): Promise<Classifier> {
    const hash = createHash("sha256");
    const session = await readPart(folder, "encoder.onnx", async (file) => {
      for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
      // By its path: the runtime would keep a copy of bytes.
      // No plan of memory per shape: hardly two batches have the same.
      return InferenceSession.create(file, { intraOpNumThreads: threads, enableMemPattern: false, logSeverityLevel: 3 });
    });
    const read = async (name: string): Promise<Buffer> => {
      const content = await readPart(folder, name, (file) => readFile(file));
      hash.update(content);
      return content;
    };
    const tokenizer = new Tokenizer(JSON.parse((await read("tokenizer.json")).toString()) as object, {});
    const { buffer, byteOffset, length } = await read("first_stage.int8");
    const firstStage = new FirstStage((await read("first_stage.json")).toString(), new Int8Array(buffer, byteOffset, length));
    const head = JSON.parse((await read("head.json")).toString()) as Head;
    const judgeId = `${head.name}@${head.version}-${hash.digest("hex").slice(0, 12)}`;
    return new Classifier(session, tokenizer, firstStage, head, judgeId);
  }

  /** What the first stage alone takes the probability for that each text is harmful: no judgement, but a hundred times as fast. */
  glance(texts: readonly string[]): number[] {
    return texts.map((text) => {
      const windows = [...segments(text)].flatMap((segment) => this.windows(segment));
      return Math.max(0, ...windows.map((ids) => this.firstStage.probability(ids)));
    });
  }

  /**
   * Probability in [0, 1] that each text is harmful: the maximum over its windows. A text without
   * any token scores 0. `onProgress` counts texts and is called after the first stage and after
   * every forward pass. Rejects with the signal's reason when it is aborted.
   */
  async score(
    texts: readonly string[],
    onProgress?: (done: number, total: number) => void,
    signal?: AbortSignal,
  ): Promise<number[]> {
    const scoring = new Scoring(texts.length, onProgress);
    for (const [owner, text] of texts.entries()) {
      for (const segment of segments(text)) {
        signal?.throwIfAborted();
        scoring.add(owner, this.windows(segment));
        if (scoring.windows.size >= CHUNK_WINDOWS) await this.judgeChunk(scoring, signal);
      }
      scoring.isCut(owner);
    }
    await this.judgeChunk(scoring, signal);
    return scoring.scores;
  }

  private async judgeChunk(scoring: Scoring, signal: AbortSignal | undefined): Promise<void> {
    const unsettled: Window[] = [];
    const clear: [Window, number][] = [];
    for (const window of scoring.windows.values()) {
      const probability = this.firstStage.clear(window.ids);
      if (probability === undefined) unsettled.push(window);
      else clear.push([window, probability]);
    }
    scoring.take(clear);
    for (const batch of batchesByLength(unsettled, BATCH_TOKENS)) {
      signal?.throwIfAborted();
      const probabilities = await this.judge(batch);
      scoring.take(batch.map((window, row) => [window, probabilities[row]!]));
    }
    scoring.windows.clear();
  }

  private windows(text: string): number[][] {
    return cutWindows(this.tokenizer.encode(wellFormed(text), { add_special_tokens: false }).ids);
  }

  /** Probabilities of one batch of windows, padded to the longest. */
  private async judge(batch: Window[]): Promise<number[]> {
    const longest = Math.max(...batch.map(({ ids }) => ids.length));
    const inputIds = new BigInt64Array(batch.length * longest).fill(BigInt(PAD_ID));
    const attentionMask = new BigInt64Array(batch.length * longest);
    for (const [row, { ids }] of batch.entries()) {
      for (const [column, id] of ids.entries()) {
        inputIds[row * longest + column] = BigInt(id);
        attentionMask[row * longest + column] = 1n;
      }
    }
    const shape = [batch.length, longest];
    const { embeddings } = await this.session.run({
      input_ids: new Tensor("int64", inputIds, shape),
      attention_mask: new Tensor("int64", attentionMask, shape),
    });
    const values = embeddings!.data as Float32Array;
    const { weights, bias } = this.head;
    return batch.map((_, row) => {
      let logit = bias;
      for (const [component, weight] of weights.entries()) {
        logit += weight * values[row * weights.length + component]!;
      }
      return 1 / (1 + Math.exp(-logit));
    });
  }
}
