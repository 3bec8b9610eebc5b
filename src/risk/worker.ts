/**
 * Worker-thread entry that scores texts with the bundled classifier.
 *
 * Started with `WorkerData`; answers `WorkerRequest`s with `WorkerReply`s, first of all with
 * `ready` or, when the classifier cannot be loaded, `failed`. Requests are answered in order; a
 * cancelled one is answered with an error named "AbortError".
 */

import { parentPort, workerData } from "node:worker_threads";

import { Classifier } from "./classifier";

export interface WorkerData {
  /** Where encoder.onnx, tokenizer.json and head.json lie. */
  folder: string;
  /** Processor threads of one forward pass, 0 for all. */
  threads: number;
}

export type WorkerRequest = { id: number; texts: string[] } | { cancel: number };

export type WorkerReply =
  | { ready: { judgeId: string; threshold: number } }
  | { failed: string }
  | { id: number; progress: { done: number; total: number } }
  | { id: number; scores: number[] }
  | { id: number; error: { name: string; message: string } };

function reply(message: WorkerReply): void {
  parentPort!.postMessage(message);
}

const { folder, threads } = workerData as WorkerData;
const loading = Classifier.load(folder, threads);
loading.then(
  ({ judgeId, threshold }) => reply({ ready: { judgeId, threshold } }),
  (error: Error) => reply({ failed: error.message }),
);

const cancellations = new Map<number, AbortController>();
let lastRequest: Promise<void> = Promise.resolve();

async function answer(id: number, texts: string[], signal: AbortSignal): Promise<void> {
  try {
    const classifier = await loading;
    const onProgress = (done: number, total: number): void => reply({ id, progress: { done, total } });
    reply({ id, scores: await classifier.score(texts, onProgress, signal) });
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
  lastRequest = lastRequest.then(() => answer(request.id, request.texts, cancellation.signal));
});
