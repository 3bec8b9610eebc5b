/**
 * Worker-thread entry that scores training pairs with the bundled classifier, or with an exported probe.
 *
 * Started with `WorkerData`; answers `WorkerRequest`s with `WorkerReply`s, first of all with
 * `ready` or, when the classifier cannot be loaded, `failed`. Requests are answered one at a time, in
 * the order of `RequestQueue`; a cancelled one is answered with an error named "AbortError".
 */

import "../common/workerLanguage";
import { parentPort, workerData } from "node:worker_threads";

import { collectGarbage } from "../common/workers";
import { Classifier } from "./classifier";
import { LastProbe } from "./lastProbe";
import { pairText } from "./pairText";
import type { ProbeSource, Turn } from "./probeSource";
import { isRefusal, patternsId } from "./refusal";
import { RequestQueue } from "./requestQueue";

export interface TrainingPair {
  prompt: string;
  answer: string;
  /** The conversation before the answer, for a judge that reads it. */
  context?: readonly Turn[];
}

export interface PairScore {
  /** Probability in [0, 1] that the pair is harmful; 0 where the answer is a refusal, NaN where a probe cannot judge it. */
  risk: number;
  refusal: boolean;
}

export interface WorkerData {
  /** Where the classifier's parts lie. */
  folder: string;
  /** Processor threads of one forward pass, 0 for all. */
  threads: number;
}

export interface ScoreRequest {
  id: number;
  pairs: TrainingPair[];
  /** Who judges in place of the classifier. */
  probe?: ProbeSource;
  /** A first look of the classifier is enough. */
  glance?: boolean;
}

export type WorkerRequest =
  | ScoreRequest
  | { cancel: number }
  /** A probe that could not be loaded is to be tried again when it is next asked. */
  | { retry: true };

export type WorkerReply =
  /** Names the classifier and the refusal patterns exactly: scores of different judges must not be mixed. */
  | { ready: { judgeId: string } }
  | { failed: string }
  | { id: number; scores: PairScore[] }
  | { id: number; error: { name: string; message: string } };

function reply(message: WorkerReply): void {
  parentPort!.postMessage(message);
}

const { folder, threads } = workerData as WorkerData;
const loading = Classifier.load(folder, threads);
loading.then(
  ({ judgeId }) => {
    collectGarbage(); // what its files were read into
    reply({ ready: { judgeId: `${judgeId}+${patternsId}` } });
  },
  (error: Error) => reply({ failed: error.message }),
);

const lastProbe = new LastProbe(threads);
const cancellations = new Map<number, AbortController>();
const queue = new RequestQueue<ScoreRequest>(answer, ({ probe }) => probe !== undefined && lastProbe.isAnother(probe));

async function score({ pairs, probe, glance }: ScoreRequest, signal: AbortSignal): Promise<PairScore[]> {
  signal.throwIfAborted();
  const refusals = pairs.map(({ answer }) => isRefusal(answer));
  const judged = pairs.filter((_, index) => !refusals[index]);
  const risks = probe
    ? await lastProbe.score(probe, judged.map(({ context = [] }) => context), signal)
    : await byClassifier(judged, glance ?? false, signal);
  let next = 0;
  return refusals.map((refusal) => ({ refusal, risk: refusal ? 0 : risks[next++]! }));
}

async function byClassifier(pairs: TrainingPair[], glance: boolean, signal: AbortSignal): Promise<number[]> {
  const classifier = await loading;
  const texts = pairs.map(({ prompt, answer }) => pairText(prompt, answer));
  return glance ? classifier.glance(texts) : classifier.score(texts, undefined, signal);
}

async function answer(request: ScoreRequest): Promise<void> {
  const { id } = request;
  try {
    reply({ id, scores: await score(request, cancellations.get(id)!.signal) });
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
  if ("retry" in request) {
    lastProbe.retry();
    return;
  }
  cancellations.set(request.id, new AbortController());
  queue.add(request);
});
