/** Long work in small turns: whatever else waits for this thread runs in between. */

export class Pace {
  private turnBegan = performance.now();

  /** `turnMs`: how long a turn may take. */
  constructor(private readonly turnMs = 4) {}

  get isOver(): boolean {
    return performance.now() - this.turnBegan > this.turnMs;
  }

  /** Gives way; rejects once `signal` is aborted. */
  async pause(signal?: AbortSignal): Promise<void> {
    await new Promise(resolve => setImmediate(resolve)); // the global one: pages bundle this file, too
    this.turnBegan = performance.now();
    signal?.throwIfAborted();
  }

  /** To be awaited between steps. Gives way when the turn is over. */
  async step(signal?: AbortSignal): Promise<void> {
    if (this.isOver) await this.pause(signal);
  }
}

/** Work that says where it may be interrupted: done at once where it fits into a turn, otherwise in several. */
export class InTurns<T> {
  /** Undefined until it is done. */
  result: T | undefined;
  private isCancelled = false;

  /** `onDone`: it is done, after more than one turn. */
  constructor(
    private readonly work: Generator<void, T>,
    onDone: () => void,
  ) {
    const pace = new Pace();
    if (!this.goOn(pace)) void this.goOnInTurns(pace, onDone);
  }

  cancel(): void {
    this.isCancelled = true;
  }

  private async goOnInTurns(pace: Pace, onDone: () => void): Promise<void> {
    do await pace.pause();
    while (!this.isCancelled && !this.goOn(pace));
    if (!this.isCancelled) onDone();
  }

  private goOn(pace: Pace): boolean {
    while (!pace.isOver) {
      const step = this.work.next();
      if (step.done) {
        this.result = step.value;
        return true;
      }
    }
    return false;
  }
}

/** The result of such work, at once. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}
