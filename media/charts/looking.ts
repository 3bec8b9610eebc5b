/** What of a run the page looks at: kept, and told to the extension no more often than it can answer. */
import { wholeRun, type Look } from '../../src/views/chartProtocol';

const pauseMilliseconds = 120;

export class Looking {
  private told: string;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private now: Look = wholeRun,
    private readonly tell: (look: Look) => void,
  ) {
    this.told = JSON.stringify(now);
  }

  get look(): Look {
    return this.now;
  }

  set(change: Partial<Look>): void {
    this.now = { ...this.now, ...change };
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      const look = JSON.stringify(this.now);
      if (look !== this.told) this.tell(this.now);
      this.told = look;
    }, pauseMilliseconds);
  }
}
