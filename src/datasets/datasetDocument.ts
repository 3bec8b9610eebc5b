/**
 * An open dataset file: read again after every edit, its new rows scored, its annotations kept current.
 * Whatever is under way when the document changes is given up; scores that are there already are kept.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import * as vscode from 'vscode';
import { setting } from '../common/configuration';
import type { IDisposable } from '../common/disposable';
import { errorText } from '../common/log';
import { Pace } from '../common/pace';
import type { RowScore } from '../risk/cache';
import { ClassifierUnavailable } from '../risk/scorer';
import { findingsOf, type Finding, type SpanMemo } from './findings';
import { judgeRows, type JudgeServices, type Scores } from './judging';
import { ALL_DECODABLE, NO_READING, readDocument, readUndecodable, type FindUndecodable, type Reading } from './reading';
import { isQuarantine, makeReport, type FileReport } from './report';
import { readLine } from './rows';

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

export interface DatasetDocumentServices extends JudgeServices {
  /** Called with annotations of the document as it is at that moment. */
  show(document: DatasetDocument): void;
  /** Called when the classifier does not run. */
  onUnavailable(reason: string): void;
}

export type OnProgress = (progress: ScoringProgress) => void;

/** The first batches are rows on the screen: shown as they come. Later ones less often. */
const BATCHES_SHOWN_AT_ONCE = 4;
const SHOW_INTERVAL_MS = 400;

export class DatasetDocument implements IDisposable {
  reading: Reading = NO_READING;
  annotations: Annotations | undefined;
  private scores: Scores = { known: new Map(), failed: new Map() };
  private readonly spans: SpanMemo = new Map();
  private findUndecodable: FindUndecodable | undefined;
  private cancellation = new AbortController();
  /** Told how far scoring again has come, until it is done: an edit or a scroll meanwhile only restarts it. */
  private scoringAgain: OnProgress | undefined;
  private work: Promise<void> = Promise.resolve();

  constructor(
    readonly document: vscode.TextDocument,
    private readonly services: DatasetDocumentServices,
  ) {}

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
    if (this.findUndecodable !== ALL_DECODABLE) this.reading = NO_READING; // its lines may be in order now
    this.findUndecodable = undefined;
  }

  /** Another classifier is to judge: to be refreshed. */
  forgetScores(): void {
    this.cancellation.abort();
    this.scores = { known: new Map(), failed: new Map() };
  }

  /** The row on a line (from 0), unless the line has been edited since it was read. */
  rowAt(line: number): { hash: string; score: RowScore | undefined } | undefined {
    const read = this.reading.lines[line];
    if (!read || !('hash' in read) || this.document.lineAt(line).text !== this.reading.texts[line]) return undefined;
    return { hash: read.hash, score: this.scores.known.get(read.hash) };
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
    this.work = this.show(this.cancellation.signal, undefined, 'Scoring was cancelled.').catch(() => undefined);
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
    this.findUndecodable ??= await this.readUndecodable();
    signal.throwIfAborted();
    const { document } = this;
    const first = this.reading === NO_READING ? readLine(document.lineAt(0).text) : undefined;
    if (first && 'row' in first) {
      this.services.scorer.judgeId().catch(() => undefined); // loads while rows are being read; asked for again then
    }
    const source = { lineCount: document.lineCount, lineAt: (index: number) => document.lineAt(index).text };
    this.reading = await readDocument(source, this.reading, this.findUndecodable, signal);
  }

  private async readUndecodable(): Promise<FindUndecodable> {
    const { uri, isDirty, encoding } = this.document;
    if (uri.scheme !== 'file' || isDirty) return ALL_DECODABLE;
    try {
      return await readUndecodable(await readFile(uri.fsPath), encoding.startsWith('utf8'));
    } catch (error) {
      this.services.log.warn(`${uri.fsPath} cannot be read from the disk: ${errorText(error)}`);
      return ALL_DECODABLE;
    }
  }

  private async judge(signal: AbortSignal): Promise<void> {
    if (!this.reading.lines.some(line => line && 'hash' in line)) {
      await this.show(signal);
      return;
    }
    let batches = 0;
    let shownAt = 0;
    try {
      const options = { first: () => this.onScreen(), again: !!this.scoringAgain, signal };
      for await (const progress of judgeRows(this.reading, this.scores, this.services, options)) {
        this.scoringAgain?.(progress);
        if (batches++ < BATCHES_SHOWN_AT_ONCE || performance.now() - shownAt > SHOW_INTERVAL_MS) {
          await this.show(signal, progress);
          shownAt = performance.now();
        }
      }
      await this.show(signal);
    } catch (error) {
      if (!(error instanceof ClassifierUnavailable)) throw error;
      await this.show(signal, undefined, error.message);
      this.services.onUnavailable(error.message);
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
    const { uri } = this.document;
    const pace = new Pace();
    const report = await makeReport(this.reading, this.scores, {
      threshold: setting('risk.threshold', uri),
      flag: !isQuarantine(uri.fsPath),
      unscoredReason,
      pace,
      signal,
    });
    const judge = setting('risk.classifierFolder', uri) ? 'your classifier' : 'the bundled classifier';
    const findings = await findingsOf(report, this.reading, { judge, spans: this.spans, pace, signal });
    this.annotations = { report, findings, scoring };
    this.services.show(this);
  }
}
