/**
 * What the judge of a configuration has said of a dataset's rows, by content hash: it counts in place of what the
 * bundled classifier says, until it is forgotten. One file per dataset, written beside and renamed. A probe that the
 * worker can ask goes on with new rows: its scores have a cache, as the classifier's have.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { IDisposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { errorText, type Log } from '../common/log';
import { ScoreCache, type RowScore } from './cache';
import { scoresOf, type ProbeSource } from './probeSource';

export interface Opinion {
  /** The judge, in words. */
  judge: string;
  /** What a probe was trained on, in words. */
  trainedOn?: string;
  /** The share of ordinary rows that a probe flags, where its card says that it is a high one. */
  flagsOrdinary?: number;
  /** The probe, where the worker can ask it; what it has said is in its cache, then. */
  probe?: ProbeSource;
  rows: Map<string, RowScore>;
}

/** Nobody has said which message the risk is about. */
export const NO_MESSAGE = 0xffff;

/** Of the probes that judge no dataset any more, what the last so many have said is kept: they may be chosen again. */
const FORGOTTEN_KEPT = 4;

interface Kept extends Omit<Opinion, 'rows'> {
  dataset: string;
  /** Versions before this one did not keep the message. */
  rows: Record<string, [risk: number, refusal: boolean, messageIndex?: number]>;
}

export class Opinions implements IDisposable {
  private readonly known = new Map<string, Opinion>();
  /** By judge: what it has said, and the hashes of the rows that it cannot judge. */
  private readonly probes = new Map<string, { cache: ScoreCache; left: Set<string> }>();
  private readonly changed = new Emitter<string>();
  /** The dataset of which something else is known now. */
  readonly onDidChange = this.changed.event;
  private reading: Promise<void> | undefined;

  constructor(
    private readonly folder: string,
    private readonly log: Log,
  ) {}

  /** Resolves when those of earlier days are known: until then nobody has said anything. */
  get ready(): Promise<void> {
    return (this.reading ??= this.read());
  }

  of(dataset: string): Opinion | undefined {
    return this.known.get(dataset);
  }

  /** The row's score by the judge of its dataset where that has judged it, otherwise `score`. */
  over(dataset: string, hash: string, score: RowScore | undefined): RowScore | undefined {
    return this.known.get(dataset)?.rows.get(hash) ?? this.probeOf(dataset)?.cache.get(hash) ?? score;
  }

  /** The probe that judges a dataset, where the worker can ask it, what it has said, and the rows that it cannot judge. */
  probeOf(dataset: string): { source: ProbeSource; cache: ScoreCache; left: Set<string> } | undefined {
    const source = this.known.get(dataset)?.probe;
    return source && { source, ...this.saidBy(source) };
  }

  async set(dataset: string, opinion: Opinion): Promise<void> {
    await this.ready;
    const { probe, rows: said, ...about } = opinion;
    if (probe) {
      const { cache } = this.saidBy(probe);
      await cache.open(scoresOf(probe));
      for (const [hash, score] of said) cache.set(hash, score);
    }
    this.known.set(dataset, probe ? { ...opinion, rows: new Map() } : opinion);
    this.changed.fire(dataset);
    const rows = probe ? {} : Object.fromEntries([...said].map(([hash, { risk, refusal, messageIndex }]) => [hash, [risk, refusal, messageIndex]]));
    const file = this.fileOf(dataset);
    await mkdir(this.folder, { recursive: true });
    const beside = `${file}.${randomUUID()}.tmp`;
    await writeFile(beside, JSON.stringify({ dataset, ...about, probe, rows }));
    await rename(beside, file);
  }

  async forget(dataset: string): Promise<void> {
    await this.ready;
    if (!this.known.delete(dataset)) return;
    this.changed.fire(dataset);
    await rm(this.fileOf(dataset), { force: true });
  }

  dispose(): void {
    this.probes.forEach(({ cache }) => cache.dispose());
    this.changed.dispose();
  }

  private saidBy(probe: ProbeSource): { cache: ScoreCache; left: Set<string> } {
    const known = this.probes.get(probe.judgeId);
    if (known) return known;
    const said = { cache: new ScoreCache(path.join(this.folder, `${probe.judgeId}.bin`), this.log), left: new Set<string>() };
    this.probes.set(probe.judgeId, said);
    void said.cache.open(scoresOf(probe));
    return said;
  }

  private fileOf(dataset: string): string {
    return path.join(this.folder, `${createHash('sha256').update(dataset).digest('hex').slice(0, 16)}.json`);
  }

  private async read(): Promise<void> {
    const names = await readdir(this.folder).catch(() => []);
    for (const name of names.filter(each => each.endsWith('.json'))) {
      try {
        const { dataset, rows, ...about } = JSON.parse(await readFile(path.join(this.folder, name), 'utf8')) as Kept;
        const said = Object.entries(rows).map(([hash, [risk, refusal, messageIndex = NO_MESSAGE]]) => [hash, { risk, refusal, messageIndex }] as const);
        this.known.set(dataset, { ...about, rows: new Map(said) });
      } catch (error) {
        this.log.warn(`${name} cannot be read (${errorText(error)}): the rows that it is about are judged by the bundled classifier.`);
      }
    }
    await this.removeForgotten(names.filter(each => each.endsWith('.bin'))).catch(error => this.log.warn(`${this.folder} cannot be tidied: ${errorText(error)}`));
  }

  /** Of files with what probes have said. Another window may do the same, and what it has read it keeps. */
  private async removeForgotten(names: string[]): Promise<void> {
    const judging = new Set([...this.known.values()].map(({ probe }) => `${probe?.judgeId}.bin`));
    const files = names.filter(name => !judging.has(name)).map(name => path.join(this.folder, name));
    const written = await Promise.all(files.map(async file => ({ file, at: await stat(file).then(({ mtimeMs }) => mtimeMs, () => 0) })));
    written.sort((a, b) => b.at - a.at);
    await Promise.all(written.slice(FORGOTTEN_KEPT).map(({ file }) => rm(file, { force: true })));
  }
}
