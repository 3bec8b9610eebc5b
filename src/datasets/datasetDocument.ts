/**
 * An open dataset file: read again after every edit, its new rows scored, its annotations kept current.
 * Whatever is under way when the document changes is given up; scores that are there already are kept.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { setting } from '../common/configuration';
import type { IDisposable } from '../common/disposable';
import { errorText } from '../common/log';
import { Pace } from '../common/pace';
import type { RowScore } from '../risk/cache';
import { ClassifierUnavailable, ProbeUnavailable } from '../risk/scorer';
import { endOf, type Place, type Stretch } from './formats/format';
import type { TextSource } from './formats';
import { mentionsConversation } from './rowForms';
import { findingsOf, type Finding, type SpanMemo } from './findings';
import { judgeRows, probeOf, type JudgeServices, type RowServices, type Scores } from './judging';
import { isQuarantine } from './quarantineFiles';
import { findUndecodable, readDocument, UTF16, type Reading, type ReadRecord, type Undecodable } from './reading';
import { makeReport, type FileReport } from './report';
import { pairsOf } from './rows';
import { readReviewed } from './reviewing';

export interface ScoringProgress {
  done: number;
  total: number;
}

export interface Annotations {
  report: FileReport;
  findings: Finding[];
  /** Undefined once every row has been dealt with. */
  scoring: ScoringProgress | undefined;
}

export interface RowAt {
  record: ReadRecord;
  range: vscode.Range;
  hash: string;
  score: RowScore | undefined;
}

export interface DatasetDocumentServices extends RowServices {
  /** Called with annotations of the document as it is at that moment. */
  show(document: DatasetDocument): void;
  /** Called when the classifier does not run. */
  onUnavailable(reason: string): void;
  /** Called when the probe that judges its rows does not. */
  onProbeUnavailable(reason: string): void;
}

export type OnProgress = (progress: ScoringProgress) => void;

/** The first batches are mostly rows on the screen: shown as they come. Later ones less often. */
const BATCHES_SHOWN_AT_ONCE = 4;
const SHOW_INTERVAL_MS = 400;

export class DatasetDocument implements IDisposable {
  reading: Reading | undefined;
  annotations: Annotations | undefined;
  private scores: Scores = { known: new Map(), failed: new Map() };
  private readonly spans: SpanMemo = new Map();
  /** Hashes of the rows that were reviewed. */
  reviewed: ReadonlySet<string> = new Set();
  /** What of the file on the disk is not UTF-8; undefined where that is not known. */
  private undecodable: { found: Undecodable | undefined } | undefined;
  private cancellation = new AbortController();
  /** Told how far scoring again has come, until it is done: an edit or a scroll meanwhile only restarts it. */
  private scoringAgain: OnProgress | undefined;
  private work: Promise<void> = Promise.resolve();

  /** The path of the dataset. */
  readonly file: string;

  constructor(
    readonly document: vscode.TextDocument,
    private readonly services: DatasetDocumentServices,
  ) {
    this.file = document.fileName;
  }

  /** Brings the annotations up to date, in place of a refresh that is under way. */
  refresh(delayMs = 0): void {
    this.cancellation.abort();
    this.cancellation = new AbortController();
    this.work = this.update(delayMs, this.cancellation.signal);
  }

  /** Scores also the rows that the cache knows. Resolves when every row has been dealt with. */
  async scoreAgain(onProgress: OnProgress): Promise<void> {
    this.scoringAgain = onProgress;
    this.refresh();
    await this.settled();
  }

  /** The document is again what is on the disk: it was saved, or loaded anew. */
  synchronised(): void {
    if (this.undecodable?.found) this.reading = undefined; // its lines may be in order now
    this.undecodable = undefined;
  }

  /** Another classifier is to judge: to be refreshed. */
  forgetScores(): void {
    this.cancellation.abort();
    this.scores = { known: new Map(), failed: new Map() };
  }

  /** The row at a place, unless it has been edited since it was read. */
  rowAt(position: vscode.Position): RowAt | undefined {
    const { records = [] } = this.reading ?? {};
    const record = records[lastAtOrBefore(position, records)];
    if (!record || !('hash' in record.read)) return undefined;
    const range = rangeOf({ start: record.start, end: endOf(record) });
    if (!range.contains(position) || this.document.getText(range) !== record.text) return undefined;
    return { record, range, hash: record.read.hash, score: this.scoreOf(record.read.hash) };
  }

  /** Every row as it was read; `line` is where it begins. */
  rows(): { line: number; hash: string }[] {
    const { records = [] } = this.reading ?? {};
    return records.flatMap(({ start, read }) => ('hash' in read ? [{ line: start.line, hash: read.hash }] : []));
  }

  /** The rows that a range touches, as `rowAt` has them; `line` is where each begins. */
  rowsIn(range: vscode.Range): { line: number; hash: string }[] {
    const { records = [] } = this.reading ?? {};
    const first = Math.max(0, lastAtOrBefore(range.start, records));
    return records.slice(first, lastAtOrBefore(range.end, records) + 1).flatMap(({ start }) => {
      const row = this.rowAt(asPosition(start));
      return row?.range.intersection(range) ? [{ line: start.line, hash: row.hash }] : [];
    });
  }

  /** The number of the message that the row's risk is about, where that could be another one. */
  worstOfSeveral({ record, score }: RowAt): number | undefined {
    const read = this.reading!.format.read(record.text);
    const messages = 'row' in read ? read.row.messages : [];
    return score && score.messageIndex < messages.length && pairsOf(messages).length > 1 ? score.messageIndex + 1 : undefined;
  }

  /** What judged a row, in words. */
  judgeOf(hash: string): string {
    return this.otherJudgeOf(hash) ?? (setting('risk.classifierFolder', this.document.uri) ? l10n.t('your classifier') : l10n.t('the bundled classifier'));
  }

  /** What judged it in place of the classifier, if anything did. */
  otherJudgeOf(hash: string): string | undefined {
    const { opinions } = this.services;
    return opinions.over(this.file, hash, undefined) && opinions.of(this.file)?.judge;
  }

  private scoreOf(hash: string): RowScore | undefined {
    return this.services.opinions.over(this.file, hash, this.scores.known.get(hash));
  }

  /** Waits until nothing is left to do. */
  async settled(): Promise<void> {
    let work;
    do {
      work = this.work;
      await work;
    } while (work !== this.work);
  }

  /** The user does not want to wait: rows without a score stay so until the next refresh. */
  cancelScoring(): void {
    this.scoringAgain = undefined;
    this.cancellation.abort();
    this.cancellation = new AbortController();
    this.work = this.show(this.cancellation.signal, undefined, l10n.t('Scoring was cancelled.')).catch(() => undefined);
  }

  dispose(): void {
    this.cancellation.abort();
  }

  private async update(delayMs: number, signal: AbortSignal): Promise<void> {
    try {
      await setTimeout(delayMs, undefined, { signal });
      await this.read(signal);
      await this.judge(signal);
    } catch (error) {
      if (signal.aborted) return;
      this.services.log.error(`${this.document.uri.fsPath}: ${errorText(error)}`);
      await this.show(signal, undefined, errorText(error)).catch(() => undefined);
    } finally {
      if (!signal.aborted) this.scoringAgain = undefined;
    }
  }

  private async read(signal: AbortSignal): Promise<void> {
    this.undecodable ??= { found: await this.findUndecodable() };
    this.reviewed = await readReviewed(this.file);
    await this.services.opinions.ready;
    signal.throwIfAborted();
    const { document } = this;
    if (!this.reading && mentionsConversation(document.lineAt(0).text)) {
      this.services.scorer.judgeId().catch(() => undefined); // loads while rows are being read; asked for again then
    }
    this.reading = await readDocument(this.file, sourceOf(document), this.reading, this.undecodable.found, signal);
  }

  private async findUndecodable(): Promise<Undecodable | undefined> {
    const { uri, isDirty, encoding } = this.document;
    if (encoding.startsWith('utf16')) return UTF16;
    if (uri.scheme !== 'file' || isDirty) return undefined;
    try {
      return await findUndecodable(await readFile(uri.fsPath), encoding.startsWith('utf8'));
    } catch (error) {
      this.services.log.warn(`${uri.fsPath} cannot be read from the disk: ${errorText(error)}`);
      return undefined;
    }
  }

  private async judge(signal: AbortSignal): Promise<void> {
    const reading = this.reading!;
    if (!reading.records.some(({ read }) => 'hash' in read)) {
      await this.show(signal);
      return;
    }
    try {
      const probe = probeOf(this.file, this.services);
      if (probe) await this.judgeByProbe(reading, probe, signal);
      const isTold = this.services.opinions.of(this.file) && ((hash: string) => this.otherJudgeOf(hash) !== undefined);
      await this.judgeBy(this.services, reading, this.scores, signal, isTold);
      await this.show(signal);
    } catch (error) {
      if (!(error instanceof ClassifierUnavailable)) throw error;
      await this.show(signal, undefined, error.message);
      this.services.onUnavailable(error.message);
    }
  }

  /** What it cannot judge is left to the classifier. */
  private async judgeByProbe(reading: Reading, probe: JudgeServices, signal: AbortSignal): Promise<void> {
    try {
      await this.judgeBy(probe, reading, { known: new Map(), failed: new Map() }, signal);
    } catch (error) {
      if (!(error instanceof ProbeUnavailable)) throw error;
      this.services.onProbeUnavailable(error.message);
    }
  }

  private async judgeBy(judge: JudgeServices, reading: Reading, scores: Scores, signal: AbortSignal, skip?: (hash: string) => boolean): Promise<void> {
    let batches = 0;
    let shownAt = 0;
    const options = { onScreen: () => this.onScreen(), again: !!this.scoringAgain, signal, ...(skip && { skip }) };
    for await (const progress of judgeRows(reading, scores, judge, options)) {
      this.scoringAgain?.(progress);
      if (batches++ < BATCHES_SHOWN_AT_ONCE || performance.now() - shownAt > SHOW_INTERVAL_MS) {
        await this.show(signal, progress);
        shownAt = performance.now();
      }
    }
  }

  private onScreen(): Set<number> {
    const lines = new Set<number>();
    for (const { document, visibleRanges } of vscode.window.visibleTextEditors) {
      if (document !== this.document) continue;
      for (const { start, end } of visibleRanges) {
        for (let line = start.line; line <= end.line; line++) lines.add(line);
      }
    }
    return lines;
  }

  private async show(signal: AbortSignal, scoring?: ScoringProgress, unscoredReason?: string): Promise<void> {
    const { uri, languageId } = this.document;
    if (!this.reading) return;
    const pace = new Pace();
    const scores = { known: { get: (hash: string) => this.scoreOf(hash) }, failed: this.scores.failed };
    const report = await makeReport(this.reading, scores, {
      expected: languageId === 'jsonl',
      threshold: setting('risk.threshold', uri),
      flag: !isQuarantine(this.file),
      reviewed: this.reviewed,
      unscoredReason,
      pace,
      signal,
    });
    const findings = await findingsOf(report, this.reading, { judgeOf: hash => this.judgeOf(hash), spans: this.spans, pace, signal });
    this.annotations = { report, findings, scoring };
    this.services.show(this);
  }
}

export function sourceOf(document: vscode.TextDocument): TextSource {
  const { lineCount } = document;
  return { lineCount, lineAt: index => document.lineAt(index).text, textOf: (from, to) => document.getText(new vscode.Range(from, 0, to, 0)) };
}

const asPosition = ({ line, character }: Place): vscode.Position => new vscode.Position(line, character);

export const rangeOf = ({ start, end }: Stretch): vscode.Range => new vscode.Range(asPosition(start), asPosition(end));

/** Index of the last record that begins at or before a place; -1 where none does. */
function lastAtOrBefore(position: vscode.Position, records: readonly ReadRecord[]): number {
  let low = 0;
  let high = records.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (position.isAfterOrEqual(asPosition(records[middle]!.start))) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
