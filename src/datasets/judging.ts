/** Scores the rows of a document: from the cache where they are known, by the classifier where not. */
import { errorText, type Log } from '../common/log';
import { Pace } from '../common/pace';
import type { RowScore, ScoreCache } from '../risk/cache';
import type { Opinions } from '../risk/opinions';
import { ClassifierUnavailable, ProbeUnavailable, type PairJudge, type PairScore, type Scorer } from '../risk/scorer';
import type { Reading } from './reading';
import { isBlank } from './rowForms';
import { pairsOf, type MessagesOfRow, type Pair } from './rows';

/** What is known about the rows of a document, by content hash. */
export interface Scores {
  known: Map<string, RowScore>;
  /** Rows on which the classifier failed, and why. */
  failed: Map<string, string>;
}

export interface JudgeServices {
  scorer: PairJudge;
  cache: ScoreCache;
  log: Log;
  /** By hash, the rows that it cannot judge; undefined where it judges every one. */
  left?: Set<string>;
}

export interface RowServices extends JudgeServices {
  scorer: Scorer;
  opinions: Opinions;
}

export interface JudgeOptions {
  /** Lines (from 0) that are on the screen: asked before each batch, as it may have scrolled. */
  onScreen: () => Iterable<number>;
  /** Judge rows again that the cache knows. */
  again: boolean;
  /** Whether a row, by its hash, is none of this judge's business. */
  skip?: (hash: string) => boolean;
  signal: AbortSignal;
}

/** Of the rows on the screen so many that look worst are judged first: what is flagged is there at once. */
const WORST_ROWS = 4;
const SCREEN_ROWS = 64;
const SMALL_BATCH_ROWS = 16;
/** Enough to fill the classifier's batches. The first results come in smaller steps. */
const BATCH_ROWS = 64;
/** Longer rows wait until the others have been judged: one of a megabyte takes many seconds. */
const LONG_ROW_CHARACTERS = 20_000;

/** The probe that has judged a dataset and goes on with its new rows, where the worker can ask it. */
export function probeOf(file: string, { scorer, opinions, log }: RowServices): JudgeServices | undefined {
  const known = opinions.probeOf(file);
  return known && { scorer: scorer.probe(known.source), cache: known.cache, log, left: known.left };
}

interface WaitingRow {
  line: number;
  text: string;
}

/** Rows that wait to be judged, in the order of their file. */
class Waiting {
  private readonly byLine = new Map<number, WaitingRow[]>();
  size = 0;

  add(row: WaitingRow): void {
    const rows = this.byLine.get(row.line);
    if (rows) rows.push(row);
    else this.byLine.set(row.line, [row]);
    this.size++;
  }

  /** The first of them, or of those that begin on one of the lines. */
  first(most: number, lines: Iterable<number> = this.byLine.keys()): WaitingRow[] {
    const found: WaitingRow[] = [];
    for (const line of lines) {
      found.push(...(this.byLine.get(line) ?? []));
      if (found.length >= most) break;
    }
    return found.slice(0, most);
  }

  /** Those wait no longer. */
  take(rows: WaitingRow[]): WaitingRow[] {
    for (const row of rows) {
      const others = this.byLine.get(row.line)!.filter(other => other !== row);
      if (others.length > 0) this.byLine.set(row.line, others);
      else this.byLine.delete(row.line);
    }
    this.size -= rows.length;
    return rows;
  }
}

/** Fills `scores`; yields after every batch how many of the rows to be judged are done. */
export async function* judgeRows(
  reading: Reading,
  scores: Scores,
  { scorer, cache, log, left }: JudgeServices,
  { onScreen, again, skip, signal }: JudgeOptions,
): AsyncGenerator<{ done: number; total: number }> {
  await cache.open(await scorer.judgeId());
  const pace = new Pace();
  const [waiting, long] = [new Waiting(), new Waiting()];
  const queued = new Set<string>();
  for (const { start, text, read } of reading.records) {
    await pace.step(signal);
    if (!('hash' in read) || queued.has(read.hash) || (read.plain && scorer.readsContext)) continue;
    queued.add(read.hash);
    if (left?.has(read.hash) || skip?.(read.hash)) continue;
    const cached = again ? undefined : (scores.known.get(read.hash) ?? cache.get(read.hash));
    if (cached) scores.known.set(read.hash, cached);
    else (text.length > LONG_ROW_CHARACTERS ? long : waiting).add({ line: start.line, text });
  }
  const total = waiting.size + long.size;
  for (let done = 0; done < total; ) {
    yield { done, total };
    const batch = await nextBatch(done);
    await judgeBatch(batch);
    done += batch.length;
  }
  yield { done: total, total };

  async function nextBatch(done: number): Promise<WaitingRow[]> {
    const onScreenNow = waiting.first(SCREEN_ROWS, onScreen());
    if (onScreenNow.length > 0) return waiting.take(await worstOf(onScreenNow));
    if (done === 0 && waiting.size > 0) return waiting.take(await worstOf(waiting.first(SCREEN_ROWS))); // of a file that is being opened no line is on the screen yet
    return waiting.size > 0 ? waiting.take(waiting.first(Math.min(Math.max(done, SMALL_BATCH_ROWS), BATCH_ROWS))) : long.take(long.first(1));
  }

  async function worstOf(rows: WaitingRow[]): Promise<WaitingRow[]> {
    if (rows.length <= WORST_ROWS) return rows;
    const looks = await looksOf(rows);
    return rows.sort((a, b) => looks.get(b)! - looks.get(a)!).slice(0, WORST_ROWS);
  }

  /** How harmful rows look at first sight; nothing where that fails: judging them says why. */
  async function looksOf(rows: WaitingRow[]): Promise<Map<WaitingRow, number>> {
    const pairs = rows.map(row => readRow(row).flatMap(({ messages }) => pairsOf(messages)));
    const looks = (await scorer.glance?.(pairs.flat(), signal).catch(() => [])) ?? [];
    let next = 0;
    return new Map(rows.map((row, index) => [row, Math.max(0, ...looks.slice(next, (next += pairs[index]!.length)))]));
  }

  function readRow({ text }: WaitingRow): MessagesOfRow[] {
    const read = reading.format.read(text);
    return 'row' in read ? [{ hash: read.row.hash, messages: read.row.messages }] : [];
  }

  async function judgeBatch(batch: WaitingRow[]): Promise<void> {
    const rows = batch.flatMap(readRow);
    try {
      const found = await scoreRows(rows, { scorer, cache, left }, signal);
      rows.forEach(({ hash }, index) => {
        const score = found[index];
        if (!score) return;
        scores.known.set(hash, score);
        scores.failed.delete(hash);
      });
    } catch (error) {
      if (signal.aborted || error instanceof ClassifierUnavailable || error instanceof ProbeUnavailable) throw error;
      log.error(`${batch.length} rows could not be scored: ${errorText(error)}`);
      for (const { hash } of rows) scores.failed.set(hash, errorText(error));
    }
  }
}

/** What a judge says of rows, in order, undefined where it cannot judge one; the cache knows it from now on. */
export async function scoreRows(rows: readonly MessagesOfRow[], { scorer, cache, left }: Omit<JudgeServices, 'log'>, signal: AbortSignal): Promise<(RowScore | undefined)[]> {
  const pairs = rows.map(({ messages }) => pairsOf(messages));
  const asked = rows.flatMap(({ messages }, index) =>
    pairs[index]!.map(({ prompt, answer, answerIndex }) => ({ prompt, answer, ...(scorer.readsContext && { context: messages.slice(0, answerIndex) }) })),
  );
  const scores = await scorer.score(asked, signal);
  let next = 0;
  return rows.map(({ hash }, index) => {
    const ofRow = scores.slice(next, (next += pairs[index]!.length));
    if (ofRow.some(({ risk }) => Number.isNaN(risk))) {
      left?.add(hash);
      return undefined;
    }
    const score = scoreOfRow(pairs[index]!, ofRow);
    cache.set(hash, score);
    return score;
  });
}

/** The row's risk is that of its worst pair, and is about that pair's prompt, or answer without one. */
export function scoreOfRow(pairs: readonly Pair[], scores: readonly PairScore[]): RowScore {
  let worst = 0;
  scores.forEach(({ risk }, index) => {
    if (risk > scores[worst]!.risk) worst = index;
  });
  const { prompt, promptIndex, answerIndex } = pairs[worst]!;
  return {
    risk: Math.round(scores[worst]!.risk * 1e6) / 1e6,
    refusal: scores.every(({ refusal }) => refusal),
    messageIndex: promptIndex === undefined || isBlank(prompt) ? answerIndex : promptIndex,
  };
}
