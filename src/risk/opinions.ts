/**
 * What the judge of a configuration has said of a dataset's rows, by content hash: it counts in place of what the
 * bundled classifier says, until it is forgotten. One file per dataset, written beside and renamed.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { IDisposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { errorText, type Log } from '../common/log';
import type { RowScore } from './cache';

export interface Opinion {
  /** The judge, in words. */
  judge: string;
  rows: Map<string, Pick<RowScore, 'risk' | 'refusal'>>;
}

/** Nobody has said which message the risk is about. */
export const NO_MESSAGE = 0xffff;

interface Kept {
  dataset: string;
  judge: string;
  rows: Record<string, [risk: number, refusal: boolean]>;
}

export class Opinions implements IDisposable {
  private readonly known = new Map<string, Opinion>();
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
    const said = this.known.get(dataset)?.rows.get(hash);
    return said ? { messageIndex: score?.messageIndex ?? NO_MESSAGE, ...said } : score;
  }

  async set(dataset: string, opinion: Opinion): Promise<void> {
    await this.ready;
    this.known.set(dataset, opinion);
    this.changed.fire(dataset);
    const rows = Object.fromEntries([...opinion.rows].map(([hash, { risk, refusal }]) => [hash, [risk, refusal]]));
    const file = this.fileOf(dataset);
    await mkdir(this.folder, { recursive: true });
    await writeFile(`${file}.tmp`, JSON.stringify({ dataset, judge: opinion.judge, rows }));
    await rename(`${file}.tmp`, file);
  }

  async forget(dataset: string): Promise<void> {
    await this.ready;
    if (!this.known.delete(dataset)) return;
    this.changed.fire(dataset);
    await rm(this.fileOf(dataset), { force: true });
  }

  dispose(): void {
    this.changed.dispose();
  }

  private fileOf(dataset: string): string {
    return path.join(this.folder, `${createHash('sha256').update(dataset).digest('hex').slice(0, 16)}.json`);
  }

  private async read(): Promise<void> {
    const names = await readdir(this.folder).catch(() => []);
    for (const name of names.filter(each => each.endsWith('.json'))) {
      try {
        const { dataset, judge, rows } = JSON.parse(await readFile(path.join(this.folder, name), 'utf8')) as Kept;
        const said = Object.entries(rows).map(([hash, [risk, refusal]]) => [hash, { risk, refusal }] as const);
        this.known.set(dataset, { judge, rows: new Map(said) });
      } catch (error) {
        this.log.warn(`${name} cannot be read (${errorText(error)}): the rows that it is about are judged by the bundled classifier.`);
      }
    }
  }
}
