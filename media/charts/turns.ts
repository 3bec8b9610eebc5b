/** Spreads drawing over the frames that follow, so that none of them takes long. */

/** Of script; the browser then takes about as long again to fill the pixels. */
const budgetMilliseconds = 1;

interface Drawn {
  /** It is pointed at or has the keyboard: it comes first. */
  readonly isUsed: boolean;
  update(): void;
}

export class Turns {
  private readonly waiting = new Set<Drawn>();
  private frame: number | undefined;

  /** Has something updated once, soon, however often it is asked for. */
  ask(drawn: Drawn): void {
    this.waiting.add(drawn);
    this.frame ??= requestAnimationFrame(() => this.take());
  }

  /** Those that have waited longest come next: while everything changes all the time, none is left out. */
  private take(): void {
    this.frame = undefined;
    const began = performance.now();
    for (const drawn of [...this.waiting].sort((a, b) => Number(b.isUsed) - Number(a.isUsed))) {
      this.waiting.delete(drawn);
      drawn.update();
      if (performance.now() - began > budgetMilliseconds) break;
    }
    if (this.waiting.size > 0) this.frame ??= requestAnimationFrame(() => this.take());
  }
}
