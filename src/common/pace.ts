/** Long work in small turns: whatever else waits for this thread runs in between. */
import { setImmediate } from 'node:timers/promises';

export class Pace {
  private turnBegan = performance.now();

  /** `turnMs`: how long a turn may take. */
  constructor(private readonly turnMs = 8) {}

  /** To be awaited between steps. Gives way when the turn is over; rejects once `signal` is aborted. */
  async step(signal?: AbortSignal): Promise<void> {
    if (performance.now() - this.turnBegan < this.turnMs) return;
    await setImmediate();
    this.turnBegan = performance.now();
    signal?.throwIfAborted();
  }
}
