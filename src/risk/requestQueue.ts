/** The order in which the worker serves those who wait for it. */
import { setTimeout } from 'node:timers/promises';

/** Whoever has waited so long goes first, whoever else asks. */
const PATIENCE_MS = 20_000;
/** Who asks a probe sends the next rows only when it has the risks of the last. */
const NEXT_ROWS_MS = 200;

interface Waiting<Request> {
  request: Request;
  since: number;
}

/**
 * Serves one request at a time: first those of the classifier, which take the least time, then those of the probe that
 * is loaded, and others at last, as loading another probe takes seconds.
 */
export class RequestQueue<Request extends { probe?: object }> {
  private readonly waiting: Waiting<Request>[] = [];
  private serving = false;

  /** `serve` never rejects; `mustLoad` says whether a request's probe would have to take the place of another. */
  constructor(
    private readonly serve: (request: Request) => Promise<void>,
    private readonly mustLoad: (request: Request) => boolean,
    private readonly patienceMs = PATIENCE_MS,
  ) {}

  add(request: Request): void {
    this.waiting.push({ request, since: performance.now() });
    if (!this.serving) void this.run();
  }

  private async run(): Promise<void> {
    this.serving = true;
    while (this.waiting.length > 0) {
      if (this.waiting.every(each => this.rank(each) === 2)) await setTimeout(NEXT_ROWS_MS);
      const ranks = this.waiting.map(each => this.rank(each));
      const [{ request }] = this.waiting.splice(ranks.indexOf(Math.min(...ranks)), 1) as [Waiting<Request>];
      await this.serve(request);
    }
    this.serving = false;
  }

  private rank({ request, since }: Waiting<Request>): number {
    if (!request.probe || performance.now() - since > this.patienceMs) return 0;
    return this.mustLoad(request) ? 2 : 1;
  }
}
