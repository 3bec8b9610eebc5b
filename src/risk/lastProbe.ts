/** The exported probe that was asked last, in memory while somebody asks it: there is room for one. */
import { stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { collectGarbage } from '../common/workers';
import { ExportedProbe } from './exportedProbe';
import type { ProbeSource, Turn } from './probeSource';

/** A probe that nobody has asked for so long is released: it may take a gigabyte. */
const IDLE_MS = 10 * 60_000;

export class LastProbe {
  private last: { judgeId: string; made: string; loading: Promise<ExportedProbe> } | undefined;
  private idle: NodeJS.Timeout | undefined;

  /** `threads`: processor threads of one forward pass, 0 for all. */
  constructor(private readonly threads: number, private readonly idleMs = IDLE_MS) {}

  /**
   * As `ExportedProbe.score` does, one call at a time. What cannot be used is not tried again until it is made anew,
   * until nobody has asked it for a while, or until somebody asks to `retry`.
   */
  async score(source: ProbeSource, conversations: readonly (readonly Turn[])[], signal?: AbortSignal): Promise<number[]> {
    clearTimeout(this.idle);
    try {
      const probe = await this.loaded(source);
      return await probe.score(conversations, signal);
    } finally {
      this.idle = setTimeout(() => void this.release().then(collectGarbage), this.idleMs).unref();
    }
  }

  /** One is in memory, and it is not this one. */
  isAnother({ judgeId }: ProbeSource): boolean {
    return this.last !== undefined && this.last.judgeId !== judgeId;
  }

  /** Forgets that it could not be loaded. */
  retry(): void {
    const { last } = this;
    last?.loading.catch(() => {
      if (this.last === last) this.last = undefined;
    });
  }

  /** Frees what it takes in memory. */
  async release(): Promise<void> {
    clearTimeout(this.idle);
    const { last } = this;
    this.last = undefined;
    await last?.loading.then(probe => probe.release()).catch(() => undefined);
  }

  private async loaded(source: ProbeSource): Promise<ExportedProbe> {
    const { mtimeMs } = await stat(path.join(source.folder, 'probe.json')).catch(() => ({ mtimeMs: 0 }));
    const made = `${source.judgeId} ${mtimeMs}`;
    if (this.last?.made === made) return this.last.loading;
    await this.release();
    this.last = { judgeId: source.judgeId, made, loading: ExportedProbe.load(source, this.threads) };
    const probe = await this.last.loading;
    collectGarbage(); // what its files were read into
    const now = new Date();
    await utimes(source.folder, now, now).catch(() => undefined); // the trainer keeps those that were asked for last
    return probe;
  }
}
