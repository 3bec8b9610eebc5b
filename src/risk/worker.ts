/**
 * Worker-thread entry that scores training pairs with the bundled classifier.
 *
 * Started with `WorkerData`; answers `WorkerRequest`s with `WorkerReply`s, first of all with
 * `ready` or, when the classifier cannot be loaded, `failed`. Requests are answered in order; a
 * cancelled one is answered with an error named "AbortError".
 */

import "../common/workerLanguage";
import { createHash } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";

import refusalPatterns from "../../trainer/safe_finetuning/risk/refusal.json";
import { collectGarbage } from "../common/workers";
import { Classifier } from "./classifier";
import { pairText } from "./pairText";
import { isRefusal } from "./refusal";

export interface TrainingPair {
  prompt: string;
  answer: string;
}

export interface PairScore {
  /** Probability in [0, 1] that the pair is harmful; 0 where the answer is a refusal. */
  risk: number;
  refusal: boolean;
}

export interface WorkerData {
  /** Where the classifier's parts lie. */
  folder: string;
  /** Processor threads of one forward pass, 0 for all. */
  threads: number;
}

export type WorkerRequest = { id: number; pairs: TrainingPair[] } | { cancel: number };

export type WorkerReply =
  /** Names the classifier and the refusal patterns exactly: scores of different judges must not be mixed. */
  | { ready: { judgeId: string } }
  | { failed: string }
  | { id: number; scores: PairScore[] }
  | { id: number; error: { name: string; message: string } };

function reply(message: WorkerReply): void {
  parentPort!.postMessage(message);
}

const refusalId = createHash("sha256").update(JSON.stringify(refusalPatterns)).digest("hex").slice(0, 8);
const { folder, threads } = workerData as WorkerData;
const loading = Classifier.load(folder, threads);
loading.then(
  ({ judgeId }) => {
    collectGarbage(); // what its files were read into
    reply({ ready: { judgeId: `${judgeId}+${refusalId}` } });
  },
  (error: Error) => reply({ failed: error.message }),
);

const cancellations = new Map<number, AbortController>();
let lastRequest: Promise<void> = Promise.resolve();

async function score(pairs: TrainingPair[], signal: AbortSignal): Promise<PairScore[]> {
  const classifier = await loading;
  const refusals = pairs.map(({ answer }) => isRefusal(answer));
  const judged = pairs.filter((_, index) => !refusals[index]);
  const texts = judged.map(({ prompt, answer }) => pairText(prompt, answer));
  const risks = await classifier.score(texts, undefined, signal);
  let next = 0;
  return refusals.map((refusal) => ({ refusal, risk: refusal ? 0 : risks[next++]! }));
}

async function answer(id: number, pairs: TrainingPair[], signal: AbortSignal): Promise<void> {
  try {
    reply({ id, scores: await score(pairs, signal) });
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    reply({ id, error: { name, message } });
  } finally {
    cancellations.delete(id);
  }
}

parentPort!.on("message", (request: WorkerRequest) => {
  if ("cancel" in request) {
    cancellations.get(request.cancel)?.abort();
    return;
  }
  const cancellation = new AbortController();
  cancellations.set(request.id, cancellation);
  lastRequest = lastRequest.then(() => answer(request.id, request.pairs, cancellation.signal));
});
