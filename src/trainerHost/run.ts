/** One run, read from its folder and nothing else, so that any window can attach to it at any time. */
import fs from 'node:fs';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { Disposable, type IDisposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { errorText, type Log } from '../common/log';
import type { AnyEvent, Batch, LaunchRecord, ProcessRecord, RunRecord } from '../protocol/messages';
import { EventTail, parseEvent, type TailedEvent, type TailStart } from './eventTail';
import { isAlive } from './processIdentity';
import { currentProcess, deriveStatus, endOf, eventsFile, explainSilentEnd, hasExited, hasCheckpoint, isActive, isBeforeRecord, logTail, metaFile, readLaunchRecord, readMeta, readRunRecord, readSafetyTokens, runFile, trainedFolder, updateMeta, type RunMeta, type RunStatus, type SafetyToken } from './runFolder';
import { KeptLines, readIndex, writeIndex } from './runIndex';
import { readOutcome, type Outcome } from './outcome';
import { RunState } from './runState';

/** `status`: what the run is or how it stands has changed. `events`: its state has grown. `budget`: it is exceeded now. */
export type RunChange = 'status' | 'events' | 'budget';

/** A process that has written an event so recently need not be looked for. */
const surelyAliveMilliseconds = 3000;
const badLinesLogged = 5;
/** A file that grew by less is quickly read again. */
const indexedBytes = 8 * 1024 * 1024;
const indexedBytesAtEnd = 1024 * 1024;
/** What is older was told of when it happened, or in another window. */
const newsMilliseconds = 60_000;

export class Run extends Disposable {
  private readonly changed = this.register(new Emitter<RunChange>());
  private tail: EventTail | undefined;
  /** Counts up whenever the events begin to be read or are no longer: what an earlier tail still says is void. */
  private follows = 0;
  /** How many look at its steps, and how many of them see what comes. */
  private holds = 0;
  private watches = 0;
  /** When somebody last looked at them, by this machine's clock; infinity while somebody does, or they still come. */
  private usedAt = 0;
  private alive: boolean | undefined = false;
  /** So much of the events there was once the process had been found gone: whoever writes more is not gone. */
  private bytesWhenGone: number | undefined;
  /** The process that was found gone and yet went on: its start time is of no use, since the clock was set, say. */
  private misjudged: ProcessRecord | undefined;
  private stamps = '';
  /** When this machine last saw the events grow, by its own clock: that of the trainer's may go wrong, or be another. */
  private heardAt = 0;
  /** How much there was of the events at the last look, and when that was written: the sign of life where nobody reads them. */
  private written: { bytes: number; at: number } | undefined;
  /** Everything has been read once: what comes now happens now. */
  private caughtUp = false;
  private shown = '';
  private refreshing: Promise<void> | undefined;
  private readonly outcomes = new Map<number, Promise<Outcome>>();
  private lines = new KeptLines();
  /** So much of the events is in the index, or is not to be. */
  private indexed = 0;
  private indexing = false;
  /** What came, but for the steps, since others last had their turn. */
  private readonly news: AnyEvent[] = [];

  readonly onDidChange = this.changed.event;
  state = new RunState();
  record: RunRecord | undefined;
  launch: LaunchRecord | undefined;
  meta: RunMeta = {};
  /** They are chosen before training, and stay. */
  safetyTokens: readonly SafetyToken[] = [];
  status: RunStatus = 'starting';
  /** Why the run ended as it did. */
  message = '';
  /** The log's last lines, for a run that failed. */
  logTail: string[] = [];
  resumable = false;
  /** It has ended, and has saved what it trained. */
  trained = false;

  constructor(
    readonly folder: string,
    private readonly log: Log,
    readonly id = path.basename(folder),
  ) {
    super();
    this.register({ dispose: () => this.tail?.dispose() });
  }

  get name(): string {
    return this.meta.name ?? this.id;
  }

  get configPath(): string | undefined {
    return this.record?.configPath ?? this.launch?.configPath;
  }

  get process(): ProcessRecord | undefined {
    return currentProcess({ record: this.record, launched: this.meta.launched });
  }

  /** Milliseconds since the Unix epoch. */
  get startedAt(): number {
    return this.launch?.ts ?? this.state.firstEvent ?? (this.record ? this.record.process.startTime * 1000 : 0);
  }

  /** The share of a long history that has been read, until all of it has. */
  get readShare(): number | null {
    const { position = 0, remaining = 0 } = this.tail ?? {};
    return remaining > indexedBytes ? position / (position + remaining) : null;
  }

  /** Nothing is known to happen to it: it has ended, and its folder has been looked at. */
  get isSettled(): boolean {
    return this.stamps !== '' && !isActive(this.status) && this.status !== 'lost';
  }

  /** Has the events read, and goes on reading them at least until what is returned is disposed of. */
  hold(): IDisposable {
    this.holds++;
    this.follow();
    return once(() => this.holds--);
  }

  /** Has what comes read at once, and not only every second, until what is returned is disposed of. */
  watch(): IDisposable {
    if (this.watches++ === 0) this.tail?.watch();
    return once(() => {
      if (--this.watches === 0) this.tail?.unwatch();
    });
  }

  /** Of a run that has ended and that nobody has looked at for so long, the steps are forgotten until somebody does. */
  releaseAfter(unusedMilliseconds: number): void {
    if (this.holds > 0 || isActive(this.status)) this.usedAt = Infinity;
    else if (this.usedAt === Infinity) this.usedAt = Date.now();
    if (!this.tail || Date.now() - this.usedAt < unusedMilliseconds) return;
    this.follows++;
    this.tail.dispose();
    this.tail = undefined;
    this.caughtUp = false;
    this.state.forgetSteps();
    this.lines = new KeptLines();
  }

  /** Reads the events from the first on, and goes on reading. */
  private follow(): EventTail {
    this.usedAt = this.holds > 0 ? Infinity : Date.now();
    if (this.tail) return this.tail;
    const number = ++this.follows;
    const isCurrent = (): boolean => this.follows === number && !this.isDisposed;
    if (number > 1) this.begin(new RunState(), new KeptLines(), 0); // they were read before, and released
    this.tail = new EventTail(
      eventsFile(this.folder),
      {
        event: event => this.take(event),
        delivered: () => this.taken(),
        restarted: () => isCurrent() && this.restart(),
        badLine: reason => this.reportBadLine(reason),
        unknownEvent: () => this.state.counts.unknown++,
        reachedEnd: () => {
          this.caughtUp = true;
          void this.writeIndex();
        },
      },
      () => this.readIndex(isCurrent),
      this.watches > 0,
    );
    if (this.isDisposed) this.tail.dispose();
    return this.tail;
  }

  /** Reads the events that there are now, however many come meanwhile; ends early once `signal` is aborted. */
  async read(signal?: AbortSignal, report: (share: number) => void = () => undefined): Promise<void> {
    const end = statOf(eventsFile(this.folder))?.size ?? 0;
    const tail = this.follow();
    await new Promise<void>(resolve => {
      const look = (): void => {
        report(end ? Math.min(1, tail.position / end) : 1);
        if (tail.position >= end || signal?.aborted) finish();
      };
      const listener = this.onDidChange(look);
      const finish = (): void => {
        listener.dispose();
        resolve();
      };
      signal?.addEventListener('abort', finish, { once: true });
      void tail.read().then(finish);
      look();
    });
  }

  /** What it has come to, once it has ended. */
  async outcome(): Promise<Outcome | undefined> {
    if (!this.isSettled) return undefined;
    const attempt = this.record?.attempt ?? 0;
    const read = this.outcomes.get(attempt) ?? readOutcome(eventsFile(this.folder));
    this.outcomes.set(attempt, read);
    return read;
  }

  /** Changes what the user keeps of the run beside it. */
  async keep(change: (before: RunMeta) => Pick<RunMeta, 'name' | 'tags' | 'notes'>): Promise<void> {
    this.meta = await updateMeta(this.folder, change);
    this.derive();
  }

  /** Looks at the folder and the process again. */
  refresh(): Promise<void> {
    this.refreshing ??= this.look().finally(() => (this.refreshing = undefined));
    return this.refreshing;
  }

  /** Rows of one step, read again from the file. */
  async rowsOf(step: number): Promise<Batch['rows'] | undefined> {
    const [rows] = await this.readRows([step]);
    return rows;
  }

  /** Rows of the steps from one to another, each included; where they are more than `maximum`, of so many evenly among them. */
  async rowsBetween(from: number, to: number, maximum: number): Promise<{ steps: number; read: Batch['rows'][] }> {
    const { series } = this.state;
    const [first, end] = [series.firstFrom('step', from), series.firstFrom('step', Math.floor(to) + 1)];
    const steps = Math.max(0, end - first);
    const chosen = Array.from({ length: Math.min(steps, maximum) }, (_, index) => first + Math.floor((index * steps) / Math.min(steps, maximum)));
    return { steps, read: await this.readRows(chosen.map(index => series.at('step', index))) };
  }

  /** A step whose line is no longer there, or is another step's by now, is left out. */
  private async readRows(steps: readonly number[]): Promise<Batch['rows'][]> {
    const lines = steps.flatMap(step => {
      const line = this.state.series.lineOf(step);
      return line ? { step, ...line } : [];
    });
    if (lines.length === 0) return [];
    const file = await fs.promises.open(eventsFile(this.folder), 'r');
    try {
      const found: Batch['rows'][] = [];
      for (const { step, offset, length } of lines) {
        const buffer = Buffer.alloc(length);
        await file.read(buffer, 0, length, offset);
        const parsed = parseEvent(buffer.toString('utf8'));
        if ('event' in parsed && parsed.event.type === 'batch' && parsed.event.step === step) found.push(parsed.event.rows);
      }
      return found;
    } finally {
      await file.close();
    }
  }

  private async look(): Promise<void> {
    const stamps = [runFile, metaFile].map(file => changeStamp(file(this.folder))).join();
    if (this.isSettled && stamps === this.stamps && !this.hasGoneOn) return;

    // The process first: one that is gone has written its last word into the files that are read next.
    const known = this.process;
    this.listen();
    const silent = Date.now() - this.lastHeard > surelyAliveMilliseconds;
    if (known && silent) await this.lookFor(known);
    this.readFiles();
    if (this.process && this.process.startTime !== known?.startTime) await this.lookFor(this.process);
    if (hasExited({ record: this.record, ...this.meta })) this.alive = false;
    if (this.alive === false) await this.tail?.read();
    this.stamps = stamps;
    this.derive();
    if (isActive(this.status)) this.follow();
  }

  /**
   * When a sign of life was seen, or the last one given that was there at first: milliseconds since the Unix epoch. Of
   * its two times, the event's by the trainer's clock and the file's by the drive's, the earlier one counts: either may
   * be ahead, and a copy is young.
   */
  private get lastHeard(): number {
    return Math.max(this.heardAt, Math.min(this.state.lastEvent ?? Infinity, this.written?.at ?? this.launch?.ts ?? 0));
  }

  /** Whether events were written after the process had been found gone. */
  private get hasGoneOn(): boolean {
    return this.bytesWhenGone !== undefined && (statOf(eventsFile(this.folder))?.size ?? 0) > this.bytesWhenGone;
  }

  /** Events that nobody reads are a sign of life as well. */
  private listen(): void {
    const found = statOf(eventsFile(this.folder));
    if (!found) return;
    const { size: bytes, mtimeMs } = found;
    if (this.written && bytes > this.written.bytes) this.heardAt = Date.now();
    this.written = { bytes, at: Math.min(mtimeMs, bytes === this.written?.bytes ? this.written.at : Date.now()) };
    this.noticeMisjudgement(bytes);
  }

  private async lookFor(process: ProcessRecord): Promise<void> {
    this.alive = await isAlive(process);
    if (this.alive !== false) this.bytesWhenGone = undefined;
    else if (this.misjudged?.startTime === process.startTime) this.alive = undefined;
    else this.bytesWhenGone ??= statOf(eventsFile(this.folder))?.size ?? 0;
  }

  private readFiles(): void {
    this.meta = readMeta(this.folder);
    try {
      this.launch ??= readLaunchRecord(this.folder);
      this.record = readRunRecord(this.folder) ?? this.record;
      if (this.record?.config?.safetyTokens && this.safetyTokens.length === 0) this.safetyTokens = readSafetyTokens(this.folder);
    } catch (error) {
      this.log.error(errorText(error));
    }
  }

  private derive(): void {
    const { record, launch, state } = this;
    this.status = deriveStatus({
      record,
      launch,
      launched: this.meta.launched,
      alive: this.alive,
      finished: state.finished,
      cancelled: this.meta.cancelled ?? false,
      paused: state.paused,
      lastEvent: this.lastHeard,
      now: Date.now(),
    });
    this.resumable = !isActive(this.status) && this.status !== 'completed' && hasCheckpoint(this.folder);
    this.trained = !isActive(this.status) && trainedFolder(this.folder) !== undefined;
    this.logTail = this.status === 'failed' ? logTail(this.folder) : [];
    this.message = this.explain();
    const { status, message, resumable, meta } = this;
    const shown = JSON.stringify([status, message, resumable, meta.name, meta.tags, meta.notes, record?.attempt, this.startedAt]);
    if (shown !== this.shown) {
      this.shown = shown;
      this.changed.fire('status');
    }
  }

  private explain(): string {
    const { record, status } = this;
    const finished = endOf({ record, launched: this.meta.launched }, this.state.finished);
    if (finished?.status === status) return finished.message;
    if (record?.status === status && !isBeforeRecord({ record, launched: this.meta.launched })) return record.message;
    if (status === 'lost') return l10n.t('The run has given no sign of life for a minute, and its process cannot be looked for from here.');
    return status === 'failed' ? explainSilentEnd(this.logTail, this.meta.exit) : '';
  }

  private take(event: TailedEvent): void {
    if (this.state.apply(event)) this.lines.note(event);
    if (event.event.type !== 'batch') this.news.push(event.event);
  }

  private taken(): void {
    const news = this.news.splice(0);
    if (this.caughtUp) this.heardAt = Date.now();
    this.noticeMisjudgement(this.tail?.position ?? 0);
    this.changed.fire('events');
    const isNew = ({ ts }: AnyEvent): boolean => this.caughtUp || Date.now() - ts < newsMilliseconds;
    if (news.some(event => event.type === 'budget' && isNew(event))) this.changed.fire('budget');
    // What a file does not say as well must not wait for one: the last word of a run on a full disk, for one.
    if (news.some(({ type }) => type === 'activity' || type === 'finished')) this.derive();
    if (news.some(({ type }) => type === 'finished' || type === 'attempt_started')) void this.refresh();
  }

  /** Who writes is not gone. `bytes`: so much of the events there is now, at least. */
  private noticeMisjudgement(bytes: number): void {
    if (this.bytesWhenGone === undefined || bytes <= this.bytesWhenGone) return;
    this.bytesWhenGone = undefined;
    this.misjudged = this.process;
    this.alive = undefined;
    this.heardAt = Date.now();
    this.derive();
  }

  private restart(): void {
    this.log.warn(`${eventsFile(this.folder)} was replaced or cut; it is read again from its beginning.`);
    this.begin(new RunState(), new KeptLines(), 0);
  }

  private async readIndex(isCurrent: () => boolean): Promise<TailStart | undefined> {
    const known = await readIndex(this.folder);
    if (known && isCurrent()) this.begin(known.state, known.lines, known.start.position);
    return known?.start;
  }

  /** What was known of the events is void. */
  private begin(state: RunState, lines: KeptLines, indexed: number): void {
    state.generation = this.state.generation + 1;
    this.state = state;
    this.lines = lines;
    this.indexed = indexed;
    this.changed.fire('events');
  }

  private async writeIndex(): Promise<void> {
    const { state } = this;
    const position = this.tail?.position ?? 0;
    const enough = state.finished ? indexedBytesAtEnd : Math.max(indexedBytes, position / 8);
    if (this.indexing || position < indexedBytes || position - this.indexed < enough) return;
    const { generation } = state;
    const stillHolds = (): boolean => !this.isDisposed && this.state === state && state.generation === generation;
    this.indexing = true;
    this.indexed = position;
    await writeIndex(this.folder, state, this.lines, position, stillHolds);
    this.indexing = false;
  }

  private reportBadLine(reason: string): void {
    this.state.counts.bad++;
    if (this.state.counts.bad <= badLinesLogged) this.log.warn(`${eventsFile(this.folder)}: a line was left out, ${reason}`);
  }
}

/** Whoever disposes twice has disposed. */
function once(dispose: () => void): IDisposable {
  let isOver = false;
  return {
    dispose: () => {
      if (!isOver) dispose();
      isOver = true;
    },
  };
}

/** Undefined where there is none, and where it cannot be said: a link to itself, say, or a drive that is gone. */
function statOf(file: string): fs.Stats | undefined {
  try {
    return fs.statSync(file, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

function changeStamp(file: string): string {
  const stat = statOf(file);
  return stat ? `${stat.mtimeMs}:${stat.size}` : '';
}
