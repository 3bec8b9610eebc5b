/** Long work in small turns: whatever else waits for this thread runs in between. */
import { setImmediate } from 'node:timers/promises';

export class Pace {
  private turnBegan = performance.now();

  /** `turnMs`: how long a turn may take. */
  constructor(private readonly turnMs = 4) {}

  get isOver(): boolean {
    return performance.now() - this.turnBegan > this.turnMs;
  }

  /** Gives way; rejects once `signal` is aborted. */
  async pause(signal?: AbortSignal): Promise<void> {
    await setImmediate();
    this.turnBegan = performance.now();
    signal?.throwIfAborted();
  }

  /** To be awaited between steps. Gives way when the turn is over. */
  async step(signal?: AbortSignal): Promise<void> {
    if (this.isOver) await this.pause(signal);
  }
}
