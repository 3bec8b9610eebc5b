/** A dataset file's table as the extension sees it: its worker, and the judging of its rows. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import * as l10n from '@vscode/l10n';
import { isOne } from '../../common/language';
import { integer } from '../../common/format';
import { Disposable } from '../../common/disposable';
import { Emitter } from '../../common/emitter';
import { errorText } from '../../common/log';
import { UserError } from '../../common/userError';
import { SHORT_LIVED } from '../../common/workers';
import type { RowScore } from '../../risk/cache';
import { ClassifierUnavailable, ProbeUnavailable } from '../../risk/scorer';
import { probeOf, scoreRows, type JudgeServices, type RowServices } from '../judging';
import type { MessagesOfRow } from '../rows';
import type { JudgedRow, TableCalls, TableReply, TableWorkerData, UnjudgedRow } from './tableProtocol';

export interface TableServices extends RowServices {
  /** The bundled script of the worker. */
  tableWorker: string;
  /** Reading that gets no further for so long is given up: damaged Parquet can keep its library busy for ever. */
  stalledAfterMs: number;
  /** Where rows may be put aside while a file is open. */
  spoolFolder: () => Promise<string>;
}

export type TableOptions = Omit<TableWorkerData, 'file' | 'spool'>;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Hashes are looked up in so large parts, and rows judged in so small ones: their results are shown as they come. */
const LOOKED_UP_ROWS = 8192;
const JUDGED_ROWS = 64;

export class DatasetTable extends Disposable {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, Waiting>();
  private readonly changed = this.register(new Emitter<void>());
  /** More has been read, or more is known of the rows. */
  readonly onDidChange = this.changed.event;
  private lastId = 0;
  private readonly readMore = this.register(new Emitter<void>());
  private rowsRead = 0;
  private hasAllRows = false;
  private failure: Error | undefined;
  private stall: NodeJS.Timeout | undefined;
  private probe: JudgeServices | undefined;
  /** Rows to judge before others: those that somebody looks at. */
  preferred: UnjudgedRow[] = [];

  private constructor(
    readonly file: string,
    private readonly services: TableServices,
    spoolFolder: string,
    options: TableOptions,
  ) {
    super();
    const spool = path.join(spoolFolder, `${randomUUID()}.jsonl`);
    const workerData: TableWorkerData = { ...options, file, spool };
    this.worker = new Worker(services.tableWorker, { workerData, name: 'safe-finetuning-table', resourceLimits: SHORT_LIVED });
    this.worker.on('message', (reply: TableReply) => this.onReply(reply));
    this.worker.on('error', error => this.fail(error));
    this.worker.on('exit', () => this.fail(new Error(l10n.t('Reading the file has ended.'))));
    this.expectMore();
    this.register({
      dispose: () => {
        this.fail(new Error(l10n.t('The file was closed.')));
        void this.worker.terminate().finally(() => rmSync(spool, { force: true }));
      },
    });
  }

  static async open(file: string, services: TableServices, options: TableOptions): Promise<DatasetTable> {
    return new DatasetTable(file, services, await services.spoolFolder(), options);
  }

  /** Rejects where the file cannot be read, or is no longer what was read. */
  call<K extends keyof TableCalls>(call: K, ...args: Parameters<TableCalls[K]>): Promise<ReturnType<TableCalls[K]>> {
    if (this.failure) return Promise.reject(this.failure);
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: value => resolve(value as ReturnType<TableCalls[K]>), reject });
      this.worker.postMessage({ id, call, args });
    });
  }

  /** Judges every row that nobody has judged, while the file is still being read, too. Aborted, it waits for no drive. */
  async judgeAll(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const judged = new AbortController();
    const aborted = once(signal, 'abort', { signal: judged.signal }).then(() => signal.throwIfAborted());
    await Promise.race([this.judgeEach(signal), aborted]).finally(() => judged.abort());
  }

  private async judgeEach(signal: AbortSignal): Promise<void> {
    const { cache, opinions, scorer } = this.services;
    await opinions.ready;
    this.probe = probeOf(this.file, this.services);
    await this.probe?.cache.open(await this.probe.scorer.judgeId());
    const unavailable = await scorer.judgeId().then(id => cache.open(id), (error: unknown) => error as Error);
    for (let from: number | undefined = 0; from !== undefined; ) {
      signal.throwIfAborted();
      const isLast = this.hasAllRows;
      const { rows, next }: ReturnType<TableCalls['unjudged']> = await this.call('unjudged', from, LOOKED_UP_ROWS);
      const unknown = await this.lookUp(rows);
      while (!unavailable && unknown.length > 0) {
        const urgent = this.preferred.splice(0, JUDGED_ROWS);
        await this.judge(urgent.length > 0 ? urgent : unknown.splice(0, JUDGED_ROWS), signal);
      }
      if (next === undefined && !isLast) await this.moreRows();
      from = next ?? (isLast ? undefined : (rows.at(-1)?.record ?? from - 1) + 1);
    }
    if (unavailable) throw unavailable; // other judges' opinions count all the same
  }

  /** Resolves once so many rows have been read, or all that there are. */
  async whenRead(rows = Infinity): Promise<void> {
    while (!this.hasAllRows && this.rowsRead < rows) await this.moreRows();
  }

  /** Those of which nothing is known, once the others are known. */
  private async lookUp(rows: UnjudgedRow[]): Promise<UnjudgedRow[]> {
    const known: JudgedRow[] = [];
    const { opinions, cache } = this.services;
    const unknown = rows.filter(({ record, hash }) => {
      const isForProbe = this.probe && !this.probe.left?.has(hash) && !opinions.over(this.file, hash, undefined);
      const score = isForProbe ? undefined : opinions.over(this.file, hash, cache.get(hash));
      if (score) known.push({ ...score, record });
      return !score;
    });
    if (known.length > 0) await this.call('know', known);
    if (known.length > 0) this.changed.fire();
    return unknown;
  }

  private async judge(batch: UnjudgedRow[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const open = await this.lookUp(batch); // the same row may have stood further up
    const distinct = [...new Map(open.map(row => [row.hash, row])).values()];
    const records = distinct.map(({ record }) => record);
    try {
      const rows = await this.call('messages', records);
      const scores = await this.scoresOf(rows, signal);
      await this.call('know', rows.map(({ record }, index) => ({ record, ...scores[index]! })));
      await this.lookUp(open.filter(row => !distinct.includes(row)));
    } catch (error) {
      if (signal.aborted || error instanceof ClassifierUnavailable || error instanceof UserError || this.failure) throw error;
      this.services.log.error(`${this.file}: ${records.length} rows could not be scored: ${errorText(error)}`);
      await this.call('fail', open.map(({ record }) => record));
    }
    this.changed.fire();
  }

  /** By the probe where one judges the file; what it cannot judge is left to the classifier. */
  private async scoresOf(rows: MessagesOfRow[], signal: AbortSignal): Promise<RowScore[]> {
    const byProbe = this.probe ? await this.byProbe(this.probe, rows, signal) : [];
    const left = rows.filter((_, index) => !byProbe[index]);
    const byClassifier = await scoreRows(left, this.services, signal);
    return rows.map((row, index) => (byProbe[index] ?? byClassifier[left.indexOf(row)])!);
  }

  private async byProbe(probe: JudgeServices, rows: MessagesOfRow[], signal: AbortSignal): Promise<(RowScore | undefined)[]> {
    try {
      return await scoreRows(rows, probe, signal);
    } catch (error) {
      if (!(error instanceof ProbeUnavailable)) throw error;
      this.services.log.warn(`${this.file}: the bundled classifier judges rows that are new. ${error.message}`);
      this.probe = undefined;
      return [];
    }
  }

  /** Resolves when more has been read, at once when there is no more. */
  private moreRows(): Promise<void> {
    if (this.failure) return Promise.reject(this.failure);
    if (this.hasAllRows) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const listening = this.readMore.event(() => {
        listening.dispose();
        if (this.failure) reject(this.failure);
        else resolve();
      });
    });
  }

  private onReply(reply: TableReply): void {
    if ('rows' in reply) {
      this.hasAllRows = reply.done;
      this.expectMore();
      this.rowsRead = reply.rows;
      this.readMore.fire();
      this.changed.fire();
    } else if ('unreadable' in reply) this.fail(new UserError(reply.unreadable));
    else if ('failed' in reply) this.take(reply.id)?.reject(reply.changed ? new UserError(reply.failed) : new Error(reply.failed));
    else this.take(reply.id)?.resolve(reply.value);
  }

  private expectMore(): void {
    clearTimeout(this.stall);
    if (this.hasAllRows) return;
    this.stall = setTimeout(() => {
      const seconds = Math.round(this.services.stalledAfterMs / 1000);
      const [name, rows] = [path.basename(this.file), integer(this.rowsRead)];
      const reason = isOne(this.rowsRead)
        ? l10n.t`${name}: nothing more could be read for ${seconds} s, after ${rows} row. The file may be damaged, or its drive does not answer.`
        : l10n.t`${name}: nothing more could be read for ${seconds} s, after ${rows} rows. The file may be damaged, or its drive does not answer.`;
      this.fail(new UserError(reason));
      void this.worker.terminate();
    }, this.services.stalledAfterMs);
  }

  private take(id: number): Waiting | undefined {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    return waiting;
  }

  private fail(error: Error): void {
    if (this.failure) return;
    this.failure = error;
    clearTimeout(this.stall);
    for (const waiting of this.waiting.values()) waiting.reject(error);
    this.waiting.clear();
    this.readMore.fire();
    this.changed.fire();
  }
}
