/**
 * Scores of rows by content hash, for one judge: a row is judged once, however often its file is opened.
 * Kept in memory up to a bound (the least recently used go first) and in one file, which is written beside
 * and renamed. A file that cannot be understood is discarded: it holds nothing that cannot be made again.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { IDisposable } from '../common/disposable';
import { errorText, type Log } from '../common/log';
import { Pace } from '../common/pace';

export interface RowScore {
  /** The highest over the row's training pairs, in [0, 1], to six decimal places. */
  risk: number;
  /** Every answer is a refusal: safety data. */
  refusal: boolean;
  /** Index of the message that the risk is about. */
  messageIndex: number;
}

const FORMAT = 'safe-finetuning-scores 1';
const SAVE_DELAY_MS = 2000;

export class ScoreCache implements IDisposable {
  private readonly scores = new Map<string, RowScore>();
  private judgeId: string | undefined;
  private opening: Promise<void> = Promise.resolve();
  private saveTimer: NodeJS.Timeout | undefined;
  private saving: Promise<void> = Promise.resolve();

  constructor(
    private readonly file: string,
    private readonly log: Log,
    private readonly capacity = 250_000,
  ) {}

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
    const score = this.scores.get(hash);
    if (score) this.put(hash, score); // now the most recently used
    return score;
  }

  /** Keeps a score of the judge that the cache is open for. */
  set(hash: string, score: RowScore): void {
    this.put(hash, score);
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
      writeFileSync(this.beside, [header(this.judgeId!), ...[...this.scores].map(formatScore)].join(''));
      renameSync(this.beside, this.file);
    } catch (error) {
      this.warnOfWriting(error);
    }
  }

  private put(hash: string, score: RowScore): void {
    this.scores.delete(hash);
    this.scores.set(hash, score);
    if (this.scores.size > this.capacity) this.scores.delete(this.scores.keys().next().value!);
  }

  private async read(judgeId: string): Promise<void> {
    let content: string;
    try {
      content = await readFile(this.file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      this.log.warn(`${this.file} cannot be read (${errorText(error)}): rows are scored anew.`);
      return;
    }
    const scores = await parseScores(content, judgeId);
    if (scores === 'damaged') {
      this.log.warn(`${this.file} is damaged and is discarded: rows are scored anew.`);
      return;
    }
    if (this.judgeId !== judgeId) return;
    for (const [hash, score] of scores) if (!this.scores.has(hash)) this.put(hash, score);
  }

  private async write(): Promise<void> {
    const pace = new Pace();
    const parts = [header(this.judgeId!)];
    for (const entry of [...this.scores]) {
      parts.push(formatScore(entry));
      await pace.step();
    }
    await mkdir(path.dirname(this.file), { recursive: true });
    await writeFile(this.beside, parts.join(''));
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

const header = (judgeId: string): string => `${FORMAT} ${judgeId}\n`;

const formatScore = ([hash, { risk, refusal, messageIndex }]: [string, RowScore]): string =>
  `${hash} ${risk} ${messageIndex} ${refusal ? 1 : 0}\n`;

/** The scores in a cache file, none where they are another judge's. */
async function parseScores(content: string, judgeId: string): Promise<Map<string, RowScore> | 'damaged'> {
  const [first, ...lines] = content.split('\n');
  if (!first!.startsWith(`${FORMAT} `) || lines.pop() !== '') return 'damaged';
  const scores = new Map<string, RowScore>();
  if (`${first}\n` !== header(judgeId)) return scores;
  const pace = new Pace();
  for (const line of lines) {
    const [, hash, risk, messageIndex, refusal] = /^([0-9a-f]{16}) ([01](?:\.\d+)?) (\d+) ([01])$/.exec(line) ?? [];
    if (hash === undefined || Number(risk) > 1) return 'damaged';
    scores.set(hash, { risk: Number(risk), refusal: refusal === '1', messageIndex: Number(messageIndex) });
    await pace.step();
  }
  return scores;
}
