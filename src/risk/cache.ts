/**
 * Scores of rows by content hash, for one judge: a row is judged once, however often its file is opened.
 * Kept in memory up to a bound (those not used for long go first) and in one file, which is written beside
 * and renamed. A file that cannot be understood is discarded: it holds nothing that cannot be made again.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import type { IDisposable } from '../common/disposable';
import { errorText, type Log } from '../common/log';
import { Pace } from '../common/pace';
import { ScoreTable, WORDS, type RowScore } from './scoreTable';

export type { RowScore };

const FORMAT = 'safe-finetuning-scores 2';
const SAVE_DELAY_MS = 2000;
const CAPACITY = 3_000_000; // some 80 MB of memory, and 48 MB on the disk
const SCORE_BYTES = 4 * WORDS;
const DIGEST_BYTES = 32;
/** So many scores are read in one go. */
const PACK = 4096;

export class ScoreCache implements IDisposable {
  private readonly scores: ScoreTable;
  private judgeId: string | undefined;
  private opening: Promise<void> = Promise.resolve();
  private saveTimer: NodeJS.Timeout | undefined;
  private saving: Promise<void> = Promise.resolve();

  constructor(
    private readonly file: string,
    private readonly log: Log,
    capacity = CAPACITY,
  ) {
    this.scores = new ScoreTable(capacity);
  }

  /** Makes the cache that of `judgeId`: its scores are read, those of another judge are dropped. */
  open(judgeId: string): Promise<void> {
    if (this.judgeId !== judgeId) {
      this.judgeId = judgeId;
      this.scores.clear();
      this.opening = this.opening.then(() => this.read(judgeId));
    }
    return this.opening;
  }

  get(hash: string): RowScore | undefined {
    return this.scores.get(hash);
  }

  /** Keeps a score of the judge that the cache is open for. */
  set(hash: string, score: RowScore): void {
    this.scores.set(hash, score);
    this.saveTimer ??= setTimeout(() => void this.save(), SAVE_DELAY_MS).unref();
  }

  /** Writes what has not been written yet. */
  save(): Promise<void> {
    if (this.saveTimer) {
      this.forgetTimer();
      this.saving = this.saving.then(() => this.write()).catch(error => this.warnOfWriting(error));
    }
    return this.saving;
  }

  /** Closing does not wait, so what is left is written at once. */
  dispose(): void {
    if (!this.saveTimer) return;
    this.forgetTimer();
    try {
      mkdirSync(path.dirname(this.file), { recursive: true });
      writeFileSync(this.beside, Buffer.concat([...formatted(this.judgeId!, this.scores)]));
      renameSync(this.beside, this.file);
    } catch (error) {
      this.warnOfWriting(error);
    }
  }

  private async read(judgeId: string): Promise<void> {
    let content: Buffer;
    try {
      content = await readFile(this.file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      this.log.warn(`${this.file} cannot be read (${errorText(error)}): rows are scored anew.`);
      return;
    }
    if (await this.takeIn(content, judgeId)) return;
    this.log.warn(`${this.file} is damaged and is discarded: rows are scored anew.`);
  }

  /** Of another judge, nothing; false where the file is damaged. */
  private async takeIn(content: Buffer, judgeId: string): Promise<boolean> {
    const from = content.indexOf('\n') + 1;
    const header = content.toString('utf8', 0, from);
    const [scores, digest] = [content.subarray(from, -DIGEST_BYTES), content.subarray(-DIGEST_BYTES)];
    if (!header.startsWith(`${FORMAT} `) || scores.length % SCORE_BYTES !== 0) return false;
    const pace = new Pace();
    const hash = createHash('sha256').update(header);
    for (const pack of packsIn(scores)) {
      hash.update(pack);
      await pace.step();
    }
    if (!hash.digest().equals(digest)) return false;
    if (header !== headerOf(judgeId)) return true;
    for (const pack of packsIn(scores)) {
      if (this.judgeId !== judgeId) return true;
      // A copy, as words may only begin at every fourth byte.
      if (!this.scores.unpack(new Uint32Array(new Uint8Array(pack).buffer))) return false;
      await pace.step();
    }
    return true;
  }

  private async write(): Promise<void> {
    const pace = new Pace();
    await mkdir(path.dirname(this.file), { recursive: true });
    const file = await open(this.beside, 'w');
    try {
      for (const part of formatted(this.judgeId!, this.scores)) {
        await file.appendFile(part);
        await pace.step();
      }
    } finally {
      await file.close();
    }
    await rename(this.beside, this.file);
  }

  private get beside(): string {
    return `${this.file}.${process.pid}.tmp`;
  }

  private forgetTimer(): void {
    clearTimeout(this.saveTimer);
    this.saveTimer = undefined;
  }

  private warnOfWriting(error: unknown): void {
    this.log.warn(`${this.file} cannot be written (${errorText(error)}): scores last until VS Code closes.`);
  }
}

const headerOf = (judgeId: string): string => `${FORMAT} ${judgeId}\n`;

/** A header, the scores, and the digest of both. */
function* formatted(judgeId: string, scores: ScoreTable): Generator<Uint8Array> {
  const hash = createHash('sha256');
  const part = (bytes: Uint8Array): Uint8Array => (hash.update(bytes), bytes);
  yield part(Buffer.from(headerOf(judgeId)));
  for (const { buffer } of scores.packs()) yield part(new Uint8Array(buffer));
  yield hash.digest();
}

function* packsIn(scores: Buffer): Generator<Buffer> {
  const bytes = PACK * SCORE_BYTES;
  for (let at = 0; at < scores.length; at += bytes) yield scores.subarray(at, at + bytes);
}
