/**
 * Judges as the extension sees them: training pairs in, risks out. The bundled classifier runs in a worker
 * thread that starts with the first request, so that neither its half second of loading nor its arithmetic
 * ever blocks the extension host; and so does a probe that the trainer has exported.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import * as l10n from '@vscode/l10n';
import type { IDisposable } from '../common/disposable';
import { errorText, type Log } from '../common/log';
import { SHORT_LIVED } from '../common/workers';
import { ProbeUnavailable, scoresOf, type ProbeSource } from './probeSource';
import type { PairScore, ScoreRequest, TrainingPair, WorkerData, WorkerReply, WorkerRequest } from './worker';

export { ProbeUnavailable };
export type { PairScore, ProbeSource, TrainingPair };

export interface PairJudge {
  /** Names what scores exactly. */
  judgeId(): Promise<string>;
  score(pairs: TrainingPair[], signal?: AbortSignal): Promise<PairScore[]>;
  /** How harmful each pair looks at first sight, in a fraction of the time: which to judge first. */
  glance?(pairs: TrainingPair[], signal?: AbortSignal): Promise<number[]>;
  /** It reads the conversation before an answer instead of the answer: of plain texts it knows nothing. */
  readonly readsContext: boolean;
}

export interface ScorerOptions {
  /** The bundled worker script. */
  workerFile: string;
  /** The classifier's folder at the time of the start. */
  folder: () => string;
  log: Log;
}

interface Request {
  resolve(scores: PairScore[]): void;
  reject(reason: unknown): void;
}

/** A worker that has been started. */
interface Running {
  worker: Worker;
  judgeId: Promise<string>;
  requests: Map<number, Request>;
  /** Whoever waits for the worker, ready or not, is told why it has ended. */
  lost(error: Error): void;
}

/** Rows stay unscored, and trying again does not help before something is changed. */
export class ClassifierUnavailable extends Error {
  override readonly name = 'ClassifierUnavailable';
}

const CRASHES_IN_A_ROW = 3;
/** One core stays free for the editor. */
const THREADS = Math.max(1, Math.min(4, availableParallelism() - 1));

export class Scorer implements PairJudge, IDisposable {
  readonly readsContext = false;
  private running: Running | undefined;
  private unavailable: ClassifierUnavailable | undefined;
  private crashes = 0;
  private lastId = 0;

  constructor(private readonly options: ScorerOptions) {}

  /** Names what scores exactly. Starts the classifier; rejects with `ClassifierUnavailable`. */
  async judgeId(): Promise<string> {
    return this.start().judgeId;
  }

  /** A probe, which the worker loads when it is first asked. */
  probe(source: ProbeSource): PairJudge {
    return {
      judgeId: () => Promise.resolve(scoresOf(source)),
      score: (pairs, signal) => this.ask({ pairs, probe: source }, signal),
      readsContext: true,
    };
  }

  /**
   * The risk of each pair, in order. Rejects with the signal's reason once it is aborted, with
   * `ClassifierUnavailable` or `ProbeUnavailable`, or with an error that names why these pairs could not be scored.
   */
  score(pairs: TrainingPair[], signal?: AbortSignal): Promise<PairScore[]> {
    return this.ask({ pairs }, signal);
  }

  async glance(pairs: TrainingPair[], signal?: AbortSignal): Promise<number[]> {
    return (await this.ask({ pairs, glance: true }, signal)).map(({ risk }) => risk);
  }

  private async ask(asked: Omit<ScoreRequest, 'id'>, signal: AbortSignal | undefined): Promise<PairScore[]> {
    signal?.throwIfAborted();
    const { worker, judgeId, requests } = this.start();
    await judgeId;
    signal?.throwIfAborted();
    const id = ++this.lastId;
    const post = (request: WorkerRequest): void => worker.postMessage(request);
    const cancel = (): void => {
      post({ cancel: id });
      requests.get(id)?.reject(signal?.reason);
    };
    signal?.addEventListener('abort', cancel);
    try {
      return await new Promise<PairScore[]>((resolve, reject) => {
        requests.set(id, { resolve, reject });
        post({ id, ...asked });
      });
    } finally {
      requests.delete(id);
      signal?.removeEventListener('abort', cancel);
    }
  }

  /** Forgets that the classifier or a probe did not run: the next request tries again. */
  retry(): void {
    this.unavailable = undefined;
    this.crashes = 0;
    this.running?.worker.postMessage({ retry: true } satisfies WorkerRequest);
  }

  /** Stops the classifier, whatever it is doing; the next request starts it from its folder of then. */
  restart(): void {
    this.retry();
    this.stop(new Error(l10n.t('The risk classifier was restarted.')));
  }

  dispose(): void {
    this.unavailable = new ClassifierUnavailable(l10n.t('The extension is closing.'));
    this.stop(this.unavailable);
  }

  private start(): Running {
    if (this.unavailable) throw this.unavailable;
    this.running ??= this.spawn();
    return this.running;
  }

  private spawn(): Running {
    const workerData: WorkerData = { folder: this.options.folder(), threads: THREADS };
    const worker = new Worker(this.options.workerFile, { workerData, name: 'safe-finetuning-risk', resourceLimits: SHORT_LIVED });
    const requests = new Map<number, Request>();
    const began = performance.now();
    let lost!: Running['lost'];
    const judgeId = new Promise<string>((resolve, reject) => {
      lost = (error: Error): void => {
        reject(error);
        for (const request of requests.values()) request.reject(error);
        if (this.running?.worker === worker) this.running = undefined;
      };
      let ready = false;
      worker.on('message', (reply: WorkerReply) => {
        if ('ready' in reply) {
          ready = true;
          this.options.log.info(`Risk classifier ready after ${Math.round(performance.now() - began)} ms.`);
          resolve(reply.ready.judgeId);
        } else if ('failed' in reply) {
          this.unavailable = new ClassifierUnavailable(reply.failed);
          lost(this.unavailable);
          void worker.terminate();
        } else if ('scores' in reply) {
          this.crashes = 0;
          requests.get(reply.id)?.resolve(reply.scores);
        } else if ('error' in reply) {
          const { name, message } = reply.error;
          requests.get(reply.id)?.reject(name === 'ProbeUnavailable' ? new ProbeUnavailable(message) : new Error(message));
        }
      });
      worker.on('error', error => {
        this.options.log.error(`Risk classifier: ${error.stack ?? error.message}`);
        if (!ready) this.unavailable = cannotStart(error);
        lost(this.unavailable ?? this.crashed(errorText(error)));
      });
      worker.on('exit', code => {
        if (this.running?.worker === worker) lost(this.crashed(l10n.t`exit code ${code}`));
      });
    });
    judgeId.catch(() => undefined); // whoever waits for it is told; nobody may be waiting
    return { worker, judgeId, requests, lost };
  }

  private crashed(reason: string): Error {
    this.crashes++;
    if (this.crashes < CRASHES_IN_A_ROW) {
      return new Error(l10n.t`The risk classifier stopped unexpectedly (${reason}); it starts again with the next rows.`);
    }
    this.unavailable = new ClassifierUnavailable(
      l10n.t`The risk classifier stopped unexpectedly ${this.crashes} times in a row (${reason}).`,
    );
    return this.unavailable;
  }

  private stop(reason: Error): void {
    const { running } = this;
    running?.lost(reason);
    running?.worker.removeAllListeners('message'); // what it still says is about the folder of before
    void running?.worker.terminate();
  }
}

function cannotStart(error: Error): ClassifierUnavailable {
  const platform = `${process.platform}-${process.arch}`;
  return new ClassifierUnavailable(
    /onnxruntime|ERR_DLOPEN_FAILED/.test(`${error.message} ${(error as NodeJS.ErrnoException).code}`)
      ? l10n.t`The risk classifier cannot run on this platform (${platform}): ONNX Runtime has no working binary here.`
      : l10n.t`The risk classifier cannot start: ${error.message}.`,
  );
}
