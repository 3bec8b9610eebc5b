/**
 * The bundled safety critic: how harmful a text is, as a calibrated probability.
 *
 * The twin of trainer/safe_finetuning/risk/classifier.py: the same two files, the same windows,
 * the same score to 1e-4, whatever else is in the batch. Figures: classifier/CARD.md there.
 */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import * as path from "node:path";

import { Tokenizer } from "@huggingface/tokenizers";
import { InferenceSession, Tensor } from "onnxruntime-node";

const WINDOW_TOKENS = 64; // with the two special tokens; longer ones drown a single request
const OVERLAP_TOKENS = 24; // so that a request on a window's edge is whole in one of them
const CLS_ID = 101;
const SEP_ID = 102;
const PAD_ID = 0;
const BATCH_TOKENS = 1024; // padded tokens in one forward: bounds memory, and more at once are slower
const CHUNK_TEXTS = 1024; // texts tokenised at a time

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

/** The windows, shortest first, in batches of at most BATCH_TOKENS when padded. */
function* batchesByLength(windows: Window[]): Generator<Window[]> {
  let batch: Window[] = [];
  for (const window of [...windows].sort((a, b) => a.ids.length - b.ids.length)) {
    if (batch.length > 0 && (batch.length + 1) * window.ids.length > BATCH_TOKENS) {
      yield batch;
      batch = [];
    }
    batch.push(window);
  }
  if (batch.length > 0) {
    yield batch;
  }
}

async function readPart<T>(folder: string, name: string, read: (file: string) => Promise<T>): Promise<T> {
  try {
    return await read(path.join(folder, name));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`The risk classifier cannot be loaded: ${reason}. Reinstall the extension, or, in a checkout, build it with "npm run build".`);
  }
}

export class Classifier {
  private constructor(
    private readonly session: InferenceSession,
    private readonly tokenizer: Tokenizer,
    private readonly head: Head,
    /** Names the encoder and head exactly: scores of different judges must not be mixed. */
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
    const tokenizer = await readPart(folder, "tokenizer.json", (file) => readFile(file, "utf8"));
    const head = await readPart(folder, "head.json", (file) => readFile(file, "utf8"));
    const parsedHead = JSON.parse(head) as Head;
    const digest = hash.update(head).digest("hex");
    return new Classifier(
      session,
      new Tokenizer(JSON.parse(tokenizer) as object, {}),
      parsedHead,
      `${parsedHead.name}@${parsedHead.version}-${digest.slice(0, 12)}`,
    );
  }

  /**
   * Probability in [0, 1] that each text is harmful: the maximum over its windows. A text without
   * any token scores 0. `onProgress` counts texts and is called after every forward pass. Rejects
   * with the signal's reason when it is aborted.
   */
  async score(
    texts: readonly string[],
    onProgress?: (done: number, total: number) => void,
    signal?: AbortSignal,
  ): Promise<number[]> {
    const scores = new Array<number>(texts.length).fill(0);
    let done = 0;
    for (let first = 0; first < texts.length; first += CHUNK_TEXTS) {
      // Boilerplate repeats, within a text and between texts: each window is judged once.
      const windows = new Map<string, Window>();
      const openWindows = new Map<number, number>();
      for (const [offset, text] of texts.slice(first, first + CHUNK_TEXTS).entries()) {
        signal?.throwIfAborted();
        const owner = first + offset;
        const ofText = new Map(this.windows(text).map((ids) => [ids.join(), ids]));
        for (const [key, ids] of ofText) {
          const window = windows.get(key) ?? { ids, owners: [] };
          window.owners.push(owner);
          windows.set(key, window);
        }
        openWindows.set(owner, ofText.size);
        done += ofText.size === 0 ? 1 : 0;
      }
      for (const batch of batchesByLength([...windows.values()])) {
        signal?.throwIfAborted();
        const probabilities = await this.judge(batch);
        for (const [row, { owners }] of batch.entries()) {
          for (const owner of owners) {
            scores[owner] = Math.max(scores[owner]!, probabilities[row]!);
            openWindows.set(owner, openWindows.get(owner)! - 1);
            done += openWindows.get(owner) === 0 ? 1 : 0;
          }
        }
        onProgress?.(done, texts.length);
      }
    }
    return scores;
  }

  private windows(text: string): number[][] {
    // Half a UTF-16 pair cannot be encoded; U+FFFD takes its place, as in Python.
    const wellFormed = text.replace(/\p{Surrogate}/gu, "\ufffd");
    return cutWindows(this.tokenizer.encode(wellFormed, { add_special_tokens: false }).ids);
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
