/** Follows events.jsonl of a run, from the first byte on, also while it is being written. */
import fs from 'node:fs';
import path from 'node:path';
import { Disposable } from '../common/disposable';
import type { AnyEvent } from '../protocol/messages';
import { check } from '../protocol/validate';

const chunkBytes = 256 * 1024;
const pollMilliseconds = 1000; // some mounts have no notifications

/** An event and where its line lies in the file. */
export interface TailedEvent {
  event: AnyEvent;
  offset: number;
  length: number;
}

export interface TailSink {
  events(batch: TailedEvent[]): void;
  /** The file was replaced or cut: everything so far is void. */
  restarted(): void;
  /** A complete line that is no event. */
  badLine(reason: string): void;
}

/** Cuts bytes into complete lines; a last line without its end waits. Works on bytes, so no character is torn. */
export class LineDecoder {
  private pending: Buffer[] = [];
  private pendingLength = 0;
  private offset = 0;

  /** Complete lines in `chunk`, with their offsets in the file. */
  *lines(chunk: Buffer): Generator<{ text: string; offset: number; length: number }> {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      const piece = chunk.subarray(start, end);
      const line = this.pending.length ? Buffer.concat([...this.pending, piece]) : piece;
      yield { text: line.toString('utf8'), offset: this.offset, length: line.length };
      this.offset += line.length + 1;
      this.pending = [];
      this.pendingLength = 0;
      start = end + 1;
    }
    if (start < chunk.length) {
      this.pending.push(Buffer.from(chunk.subarray(start)));
      this.pendingLength += chunk.length - start;
    }
  }

  /** Where the next byte to read lies. */
  get position(): number {
    return this.offset + this.pendingLength;
  }
}

/** The event on a line, or why there is none. */
export function parseEvent(text: string): { event: AnyEvent } | { reason: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { reason: 'not JSON' };
  }
  const checked = check('AnyEvent', value);
  return checked.ok ? { event: checked.value } : { reason: checked.reason };
}

export class EventTail extends Disposable {
  private decoder = new LineDecoder();
  private identity: number | undefined;
  private reading: Promise<void> | undefined;
  private readAgain = false;

  constructor(
    private readonly file: string,
    private readonly sink: TailSink,
  ) {
    super();
    const timer = setInterval(() => void this.read(), pollMilliseconds);
    this.register({ dispose: () => clearInterval(timer) });
    try {
      const watcher = fs.watch(path.dirname(file), (_, name) => {
        if (!name || name === path.basename(file)) void this.read();
      });
      watcher.on('error', () => undefined); // the poll goes on
      this.register({ dispose: () => watcher.close() });
    } catch {
      // no notifications here: the poll does it
    }
    void this.read();
  }

  /** How many bytes have been read. */
  get position(): number {
    return this.decoder.position;
  }

  /** Reads to the present end of the file. */
  read(): Promise<void> {
    this.readAgain = true;
    this.reading ??= this.readToEnd().finally(() => (this.reading = undefined));
    return this.reading;
  }

  private async readToEnd(): Promise<void> {
    while (this.readAgain && !this.isDisposed) {
      this.readAgain = false;
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
    if ((this.identity ?? ino) !== ino || size < this.decoder.position) {
      this.decoder = new LineDecoder();
      this.sink.restarted();
    }
    this.identity = ino;
    const buffer = Buffer.alloc(chunkBytes);
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, chunkBytes, this.decoder.position);
      if (bytesRead === 0 || this.isDisposed) return;
      this.deliver(buffer.subarray(0, bytesRead));
      await new Promise(setImmediate); // a long history must not block the host
    }
  }

  private deliver(chunk: Buffer): void {
    const batch: TailedEvent[] = [];
    for (const { text, offset, length } of this.decoder.lines(chunk)) {
      if (!text.trim()) continue;
      const parsed = parseEvent(text);
      if ('event' in parsed) {
        batch.push({ event: parsed.event, offset, length });
      } else {
        this.sink.badLine(`byte ${offset}: ${parsed.reason}`);
      }
    }
    if (batch.length) this.sink.events(batch);
  }
}
