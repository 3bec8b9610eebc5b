/** Long work in the extension host, in stretches: between them it does what else there is to do. */
const stretchMilliseconds = 4;

export class Stretch {
  private began = performance.now();

  /** Lets others go first. */
  async pause(): Promise<void> {
    await new Promise(setImmediate);
    this.began = performance.now();
  }

  get isOver(): boolean {
    return performance.now() - this.began > stretchMilliseconds;
  }
}
