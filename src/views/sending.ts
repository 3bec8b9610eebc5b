/** When a page is told what is new: at most ten times a second, unless less often is enough. */
import type { IDisposable } from '../common/disposable';

const sendMilliseconds = 100;

export class Sending implements IDisposable {
  private timer: NodeJS.Timeout | undefined;
  private last = 0;

  constructor(
    private readonly send: () => void,
    private readonly milliseconds = sendMilliseconds,
  ) {}

  /** At once when the last time is long ago, otherwise as soon as the rate allows. */
  soon(): void {
    this.timer ??= setTimeout(() => this.now(), Math.max(0, this.last + this.milliseconds - Date.now()));
  }

  now(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.last = Date.now();
    this.send();
  }

  dispose(): void {
    clearTimeout(this.timer);
  }
}
