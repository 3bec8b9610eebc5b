/** Follows events.jsonl of a run, from the first byte on, also while it is being written. */
import fs from 'node:fs';
import path from 'node:path';
import { Disposable } from '../common/disposable';
import { Pace } from '../common/pace';
import { scanBatch } from '../protocol/batchLine';
import { eventTypes } from '../protocol/eventTypes';
import { LineScan } from '../protocol/lineScan';
import type { AnyEvent } from '../protocol/messages';
import { check } from '../protocol/validate';

const chunkBytes = 512 * 1024;
/** While nobody watches; and some mounts have no notifications. */
const pollMilliseconds = 1000;
/** Between two reads of a file that is written to all the time. */
const restMilliseconds = 80;
/** No trainer writes such a line, and it is not kept to be looked at. */
const longestLine = 64 * 1024 * 1024;
/** So much of a file's beginning, and of the end of what has been read of it, tells whether it is still the same. */
const endBytes = 1024;

/** An event and where its line lies in the file. */
export interface TailedEvent {
  event: AnyEvent;
  offset: number;
  length: number;
}

/** Where to begin in a file whose beginning is known. */
export interface TailStart {
  position: number;
  /** The file's, as the system numbers it. */
  inode: number;
}

export interface TailSink {
  /** One at a time, at once: of a long history nothing piles up. */
  event(event: TailedEvent): void;
  /** Events were delivered, and others may have their turn now. */
  delivered(): void;
  /** The file was replaced or cut: everything so far is void. */
  restarted(): void;
  /** A complete line that is no event. */
  badLine(reason: string): void;
  /** An event of a type or version that only a newer trainer knows. */
  unknownEvent(): void;
  /** Everything that was in the file has been delivered. */
  reachedEnd(): void;
}

/** A complete line: where it lies in the bytes given, and in the file. */
export interface Line {
  bytes: Buffer;
  from: number;
  to: number;
  offset: number;
}

/** Cuts bytes into complete lines; a last line without its end waits. Works on bytes, so no character is torn. */
export class LineDecoder {
  private pending: Buffer[] = [];
  private pendingLength = 0;

  /** @param offset where the bytes begin in the file */
  constructor(private offset = 0) {}

  /** Complete lines, with their offsets in the file; the last one ends where `chunk` does, or waits for its end. */
  *lines(chunk: Buffer): Generator<Line> {
    const firstEnd = chunk.indexOf(10);
    if (firstEnd < 0) return this.keep(chunk);
    let start = 0;
    if (this.pendingLength) {
      yield this.torn(chunk.subarray(0, firstEnd));
      start = firstEnd + 1;
    }
    for (let end = chunk.indexOf(10, start); end >= 0; end = chunk.indexOf(10, start)) {
      yield { bytes: chunk, from: start, to: end, offset: this.offset };
      this.offset += end - start + 1;
      start = end + 1;
    }
    this.keep(chunk.subarray(start));
  }

  /** Where the next byte to read lies. */
  get position(): number {
    return this.offset + this.pendingLength;
  }

  /** Where the first line begins whose end has not been seen. */
  get lineStart(): number {
    return this.offset;
  }

  private torn(rest: Buffer): Line {
    const bytes = Buffer.concat([...this.pending, rest]);
    const line = { bytes, from: 0, to: bytes.length, offset: this.offset };
    this.offset += this.pendingLength + rest.length + 1;
    this.pending = [];
    this.pendingLength = 0;
    return line;
  }

  private keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.pendingLength += bytes.length;
    // Of a line that is too long for any event the beginning is enough, to say that it is none.
    if (this.pendingLength <= longestLine) this.pending.push(Buffer.from(bytes));
  }
}

/** The first and the last bytes of what was read of a file: one that was written over has others, however long it is. */
class Ends {
  private first: Buffer = Buffer.alloc(0);
  private last: Buffer = Buffer.alloc(0);
  private position = 0;

  /** What comes next. */
  add(chunk: Buffer): void {
    if (this.first.length < endBytes) this.first = Buffer.concat([this.first, chunk.subarray(0, endBytes - this.first.length)]);
    this.last = chunk.length < endBytes ? Buffer.concat([this.last, chunk]).subarray(-endBytes) : Buffer.from(chunk.subarray(-endBytes));
    this.position += chunk.length;
  }

  /** Of a file that is known to be what was read up to there. */
  static async of(handle: fs.promises.FileHandle, position: number): Promise<Ends> {
    const ends = new Ends();
    const length = Math.min(endBytes, position);
    [ends.position, ends.first, ends.last] = [position, await bytesAt(handle, 0, length), await bytesAt(handle, position - length, length)];
    return ends;
  }

  async areIn(handle: fs.promises.FileHandle): Promise<boolean> {
    const { first, last, position } = this;
    return first.equals(await bytesAt(handle, 0, first.length)) && last.equals(await bytesAt(handle, position - last.length, last.length));
  }
}

async function bytesAt(handle: fs.promises.FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}

/** What stands on a line. */
export type Parsed = { event: AnyEvent } | { reason: string } | { unknown: string };

/** The event on a line, or why there is none. */
export function parseEvent(text: string): Parsed {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    if (!/NaN|Infinity/.test(text)) return { reason: 'not JSON' };
    try {
      value = JSON.parse(withoutNaN(text));
    } catch {
      return { reason: 'not JSON' };
    }
  }
  const newer = newerThanKnown(value);
  if (newer) return { unknown: newer };
  const checked = check('AnyEvent', value);
  return checked.ok ? { event: checked.value } : { reason: checked.reason };
}

/** As Python writes them when it is not told otherwise: `null`, as our trainer says it. */
const withoutNaN = (text: string): string =>
  text.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g, token => (token.startsWith('"') ? token : 'null'));

/** What a later version of the trainer may write: an event of a type, or of a version, that is not known here. */
function newerThanKnown(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || !('v' in value) || !('type' in value)) return undefined;
  const { v, type } = value;
  if (typeof v !== 'number' || typeof type !== 'string') return undefined;
  if (v > 1) return `version ${v}`;
  return v === 1 && !eventTypes.has(type) ? `type ${type}` : undefined;
}

/** What stands on each of many lines; undefined on an empty one. */
export class LineParser {
  private scan = new LineScan(Buffer.alloc(0));

  parse({ bytes, from, to }: Line): Parsed | undefined {
    if (this.scan.bytes !== bytes) this.scan = new LineScan(bytes);
    const event = scanBatch(this.scan.line(from, to));
    if (event) return { event };
    const text = bytes.toString('utf8', from, to);
    return text.trim() ? parseEvent(text) : undefined;
  }
}

export class EventTail extends Disposable {
  private readonly parser = new LineParser();
  private decoder = new LineDecoder();
  private ends: Ends | undefined;
  private inode: number | undefined;
  private reading: Promise<void> | undefined;
  private readAgain = false;
  private begun = false;
  private lastRead = 0;
  private timer: NodeJS.Timeout | undefined;
  private size = 0;
  private watcher: fs.FSWatcher | undefined;

  /**
   * @param begin what of the file is known already; asked once, before anything is read
   * @param isWatched whether somebody sees what comes, which is read at once then
   */
  constructor(
    private readonly file: string,
    private readonly sink: TailSink,
    private readonly begin: () => Promise<TailStart | undefined> = () => Promise.resolve(undefined),
    isWatched = true,
  ) {
    super();
    const poll = setInterval(() => void this.read(), pollMilliseconds);
    this.register({ dispose: () => clearInterval(poll) });
    this.register({ dispose: () => clearTimeout(this.timer) });
    this.register({ dispose: () => this.watcher?.close() });
    if (isWatched) this.watch();
    void this.read();
  }

  /** Reads at once, and from now on whenever something is written. */
  watch(): void {
    if (this.watcher || this.isDisposed) return;
    try {
      this.watcher = fs.watch(path.dirname(this.file), (_, name) => {
        if (!name || name === path.basename(this.file)) this.readSoon();
      });
      this.watcher.on('error', () => undefined); // the poll goes on
    } catch {
      // no notifications here: the poll does it
    }
    this.readSoon();
  }

  unwatch(): void {
    this.watcher?.close();
    this.watcher = undefined;
  }

  /** Reads to the present end of the file. */
  read(): Promise<void> {
    this.readAgain = true;
    this.reading ??= this.readToEnd().finally(() => (this.reading = undefined));
    return this.reading;
  }

  /** Where the first line begins that has not been delivered. */
  get position(): number {
    return this.decoder.lineStart;
  }

  /** Bytes that are there and have not been read. */
  get remaining(): number {
    return Math.max(0, this.size - this.decoder.position);
  }

  /** At once when the last time is long ago, otherwise after a rest. */
  private readSoon(): void {
    if (this.timer) return;
    const wait = Math.max(0, this.lastRead + restMilliseconds - Date.now());
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.read();
    }, wait);
  }

  private async readToEnd(): Promise<void> {
    if (!this.begun) {
      this.begun = true;
      const start = await this.begin();
      if (start) {
        this.decoder = new LineDecoder(start.position);
        this.inode = start.inode;
      }
    }
    while (this.readAgain && !this.isDisposed) {
      this.readAgain = false;
      this.lastRead = Date.now();
      let handle: fs.promises.FileHandle;
      try {
        handle = await fs.promises.open(this.file, 'r');
      } catch {
        continue; // not there yet
      }
      try {
        await this.readFrom(handle);
      } catch (error) {
        this.sink.badLine(`the file cannot be read: ${(error as Error).message}`);
      } finally {
        await handle.close();
      }
    }
  }

  private async readFrom(handle: fs.promises.FileHandle): Promise<void> {
    const { ino, size } = await handle.stat();
    const ends = (this.ends ??= await Ends.of(handle, this.decoder.position));
    if ((this.inode ?? ino) !== ino || size < this.decoder.position || !(await ends.areIn(handle))) {
      this.decoder = new LineDecoder();
      this.ends = new Ends();
      this.sink.restarted();
    }
    this.inode = ino;
    this.size = size;
    const buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, Math.max(0, size - this.decoder.position)));
    while (this.decoder.position < size) {
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, size - this.decoder.position), this.decoder.position);
      if (bytesRead === 0 || this.isDisposed) return;
      this.ends.add(buffer.subarray(0, bytesRead));
      await this.deliver(buffer.subarray(0, bytesRead));
    }
    if (!this.isDisposed) this.sink.reachedEnd();
  }

  /** A long history must not block the host, however short or odd its lines are. */
  private async deliver(chunk: Buffer): Promise<void> {
    let delivered = 0;
    const pace = new Pace();
    for (const line of this.decoder.lines(chunk)) {
      if (pace.isOver) {
        if (delivered > 0) this.sink.delivered();
        delivered = 0;
        await pace.pause();
        if (this.isDisposed) return;
      }
      const parsed = this.parser.parse(line);
      if (!parsed) continue;
      if ('event' in parsed) {
        this.sink.event({ event: parsed.event, offset: line.offset, length: line.to - line.from });
        delivered++;
      } else if ('unknown' in parsed) this.sink.unknownEvent();
      else this.sink.badLine(`byte ${line.offset}: ${parsed.reason}`);
    }
    if (delivered > 0) this.sink.delivered();
    await pace.pause();
  }
}
