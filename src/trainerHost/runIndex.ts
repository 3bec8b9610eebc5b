/**
 * What a long events.jsonl has told, kept beside it in events.index, so that it need not be read from its first byte
 * again. It is a copy: whatever is wrong with it, the events are read instead.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { protocolFingerprint } from '../protocol/eventTypes';
import { blockLength, mostBlockBytes, type StoredBlock } from './column';
import { parseEvent, type TailedEvent, type TailStart } from './eventTail';
import { eventsFile, indexFile } from './runFolder';
import { RunState, type EventCounts } from './runState';
import { Series } from './series';

/** Counts up when what is kept, or what follows from the same events, changes otherwise than by its names. */
const indexVersion = 2;
const magic = Buffer.from('SFTINDEX');
/** Length and hash of the description, and the magic, at the file's end. */
const trailerBytes = 4 + 32 + magic.length;
/** So much of the beginning, and of the end, of what is indexed tells one file from another. */
const identityBytes = 64 * 1024;
const mostKeptLines = 20_000;
/** Lines that lie together are read at once, up to so many bytes. */
const readTogetherBytes = 1024 * 1024;
const leftoverMilliseconds = 3_600_000;

/** A line of events.jsonl. */
export interface Place {
  offset: number;
  length: number;
}

/** The description that follows the blocks of numbers. */
interface Description {
  schema: string;
  /** So many bytes of events.jsonl are indexed: whole lines. */
  position: number;
  identity: string;
  steps: number;
  counts: EventCounts;
  /** Offset and length of each line to be read again. */
  lines: number[];
  blocks: (Omit<StoredBlock, 'bytes'> & { column: string; number: number; bytes: number; hash: string })[];
}

/** Which lines tell everything but the numbers of each step. */
export class KeptLines {
  private batch: Place | undefined;
  private last: Place | undefined;
  /** Of how many reports of progress in one phase the last kept lines are. */
  private progress = { phase: '', lines: 0 };

  constructor(private readonly lines: Place[] = []) {}

  note({ event, offset, length }: TailedEvent): void {
    const line = { offset, length };
    this.last = line;
    if (this.lines.length === 0) this.lines.push(line);
    else if (event.type === 'batch') this.batch = line;
    else if (event.type !== 'heartbeat') this.keep(line, event.type === 'progress' ? event.phase : '');
  }

  /** In their order. */
  get all(): Place[] {
    const end = [this.batch, this.last].filter(line => line !== undefined && line.offset > (this.lines.at(-1)?.offset ?? -1)) as Place[];
    return [...this.lines, ...(end[0]?.offset === end[1]?.offset ? end.slice(1) : end)];
  }

  /** Of many reports of progress one after the other, the first and the last one say it all. */
  private keep(line: Place, phase: string): void {
    if (this.batch) this.lines.push(this.batch);
    const goesOn = phase !== '' && phase === this.progress.phase && !this.batch;
    this.progress = { phase, lines: goesOn ? this.progress.lines + 1 : 1 };
    this.batch = undefined;
    if (goesOn && this.progress.lines > 2) this.lines.pop();
    this.lines.push(line);
  }
}

/** Of the same names, order and kind of numbers, written by the same rules on the same kind of machine. */
const schemaOf = (series: Series): string =>
  [indexVersion, protocolFingerprint, os.endianness(), ...series.stored.map(([name, { precision }]) => `${name}:${precision}`)].join();

export interface IndexedRun {
  state: RunState;
  lines: KeptLines;
  start: TailStart;
}

/** What is known of a run; undefined where there is no index, or none of these very events. */
export async function readIndex(folder: string): Promise<IndexedRun | undefined> {
  let index: fs.promises.FileHandle | undefined;
  let events: fs.promises.FileHandle | undefined;
  try {
    index = await fs.promises.open(indexFile(folder), 'r');
    events = await fs.promises.open(eventsFile(folder), 'r');
    return await readFrom(index, events);
  } catch {
    return undefined;
  } finally {
    await index?.close();
    await events?.close();
  }
}

async function readFrom(index: fs.promises.FileHandle, events: fs.promises.FileHandle): Promise<IndexedRun | undefined> {
  const series = new Series();
  const description = await readDescription(index, schemaOf(series));
  if (!description) return undefined;
  const { position, identity, steps, counts, lines, blocks } = description;
  const { size, ino: inode } = await events.stat();
  if (size < position || (await identityOf(events, position)) !== identity) return undefined;

  const columns = new Map(series.stored);
  let offset = 0;
  for (const block of blocks) {
    const { column, number, bytes } = block;
    const room = columns.get(column)?.reserve(number, Math.min(blockLength, steps - number * blockLength), block);
    if (!room || !(await readFully(index, room, offset)) || hashOf(room) !== block.hash) return undefined;
    offset += bytes;
    await pause();
  }
  for (let known = 0; known < steps; known = series.length) {
    if (!series.admit(Math.min(steps, known + blockLength / 8))) return undefined;
    await pause();
  }
  const kept = pairs(lines);
  const told = await readEvents(events, kept, position);
  if (!told) return undefined;
  return { state: RunState.restored(series, told, counts), lines: new KeptLines(kept), start: { position, inode } };
}

async function readDescription(index: fs.promises.FileHandle, schema: string): Promise<Description | undefined> {
  const { size } = await index.stat();
  const trailer = Buffer.alloc(trailerBytes);
  if (size < trailerBytes || !(await readFully(index, trailer, size - trailerBytes))) return undefined;
  const length = trailer.readUInt32LE(0);
  if (!trailer.subarray(-magic.length).equals(magic) || length > size - trailerBytes) return undefined;
  const text = Buffer.alloc(length);
  if (!(await readFully(index, text, size - trailerBytes - length))) return undefined;
  if (hashOf(text) !== trailer.subarray(4, 36).toString('hex')) return undefined;
  const description = JSON.parse(text.toString('utf8')) as Description;
  return isSound(description, schema, size - trailerBytes - length) ? description : undefined;
}

/** The hash says that it is as it was written; this, that it was written by us, and for these columns. */
function isSound(description: Description, schema: string, blockBytes: number): boolean {
  if (description.schema !== schema) return false;
  const { position, steps, counts, lines, blocks } = description;
  const numbers = [position, steps, counts.bad, counts.unknown, counts.repeated, ...lines, ...blocks.flatMap(({ number, bytes }) => [number, bytes])];
  return (
    numbers.every(number => Number.isSafeInteger(number) && number >= 0) &&
    steps <= position &&
    lines.length <= 2 * mostKeptLines &&
    pairs(lines).every(({ offset, length }) => offset + length < position) &&
    blocks.every(({ number }) => number * blockLength < steps) &&
    blocks.reduce((sum, { bytes }) => sum + bytes, 0) === blockBytes
  );
}

const pairs = (numbers: readonly number[]): Place[] =>
  Array.from({ length: Math.floor(numbers.length / 2) }, (_, index) => ({ offset: numbers[2 * index] as number, length: numbers[2 * index + 1] as number }));

/** The events on the lines; undefined where one of them is none. */
async function readEvents(events: fs.promises.FileHandle, lines: readonly Place[], position: number): Promise<TailedEvent[] | undefined> {
  const read: TailedEvent[] = [];
  for (let index = 0; index < lines.length; ) {
    const { offset: from, length: firstLength } = lines[index] as Place;
    const bytes = Buffer.alloc(Math.min(position - from, Math.max(firstLength, togetherFrom(lines, index))));
    if (!(await readFully(events, bytes, from))) return undefined;
    for (let line = lines[index]; line && line.offset >= from && line.offset + line.length <= from + bytes.length; line = lines[++index]) {
      const parsed = parseEvent(bytes.toString('utf8', line.offset - from, line.offset - from + line.length));
      if (!('event' in parsed)) return undefined;
      read.push({ event: parsed.event, ...line });
    }
  }
  return read;
}

/** How many bytes from a line on hold lines that follow each other without a gap. */
function togetherFrom(lines: readonly Place[], first: number): number {
  const { offset: from } = lines[first] as Place;
  let end = from;
  for (let index = first; index < lines.length; index++) {
    const { offset, length } = lines[index] as Place;
    if (index > first && offset !== end + 1) break;
    if (offset + length - from > readTogetherBytes) break;
    end = offset + length;
  }
  return end - from;
}

/**
 * Writes what is known of the first bytes of a run's events, beside and renamed.
 * @param stillHolds asked now and then: steps that were taken back meanwhile make it void
 * @returns whether it was written; not where there is too much besides the steps, or where the folder is not ours to write to
 */
export async function writeIndex(folder: string, state: RunState, kept: KeptLines, position: number, stillHolds: () => boolean): Promise<boolean> {
  const lines = kept.all.filter(({ offset }) => offset < position);
  if (lines.length > mostKeptLines) return false;
  const { series } = state;
  const steps = series.length;
  const counts = { ...state.counts };
  const beside = `${indexFile(folder)}.${process.pid}.tmp`;
  let file: fs.promises.FileHandle | undefined;
  try {
    await removeLeftovers(folder);
    file = await fs.promises.open(beside, 'w');
    const blocks: Description['blocks'] = [];
    const room = Buffer.allocUnsafe(mostBlockBytes);
    for (const [column, numbers] of series.stored) {
      for (let number = 0; number * blockLength < steps; number++) {
        const block = numbers.stored(number, Math.min(blockLength, steps - number * blockLength));
        if (!block) continue;
        const copy = room.subarray(0, block.bytes.length);
        copy.set(block.bytes); // the numbers may change while they are written
        blocks.push({ ...block, column, number, bytes: copy.length, hash: hashOf(copy) });
        await writeFully(file, copy);
        if (!stillHolds()) return false;
      }
    }
    const identity = await identityOfFile(eventsFile(folder), position);
    const description: Description = { schema: schemaOf(series), position, identity, steps, counts, lines: lines.flatMap(({ offset, length }) => [offset, length]), blocks };
    const text = Buffer.from(JSON.stringify(description));
    const trailer = Buffer.alloc(trailerBytes);
    trailer.writeUInt32LE(text.length, 0);
    trailer.write(hashOf(text), 4, 'hex');
    magic.copy(trailer, trailerBytes - magic.length);
    await writeFully(file, Buffer.concat([text, trailer]));
    await file.close();
    file = undefined;
    if (!stillHolds()) return false;
    await fs.promises.rename(beside, indexFile(folder));
    return true;
  } catch {
    return false; // read-only, or full: the run is read from its beginning next time
  } finally {
    await file?.close().catch(() => undefined);
    await fs.promises.rm(beside, { force: true }).catch(() => undefined);
  }
}

/** Of windows that went away while they wrote. */
async function removeLeftovers(folder: string): Promise<void> {
  const name = path.basename(indexFile(folder));
  for (const entry of await fs.promises.readdir(folder)) {
    if (!entry.startsWith(`${name}.`) || !entry.endsWith('.tmp')) continue;
    const file = path.join(folder, entry);
    const { mtimeMs } = await fs.promises.stat(file);
    if (Date.now() - mtimeMs > leftoverMilliseconds) await fs.promises.rm(file, { force: true });
  }
}

async function identityOfFile(file: string, position: number): Promise<string> {
  const handle = await fs.promises.open(file, 'r');
  try {
    return await identityOf(handle, position);
  } finally {
    await handle.close();
  }
}

async function identityOf(events: fs.promises.FileHandle, position: number): Promise<string> {
  const length = Math.min(identityBytes, position);
  const bytes = Buffer.alloc(2 * length);
  await readFully(events, bytes.subarray(0, length), 0);
  await readFully(events, bytes.subarray(length), position - length);
  return hashOf(bytes);
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function readFully(file: fs.promises.FileHandle, bytes: Uint8Array, offset: number): Promise<boolean> {
  let read = 0;
  while (read < bytes.length) {
    const { bytesRead } = await file.read(bytes, read, bytes.length - read, offset + read);
    if (bytesRead === 0) return false;
    read += bytesRead;
  }
  return true;
}

async function writeFully(file: fs.promises.FileHandle, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) written += (await file.write(bytes, written, bytes.length - written)).bytesWritten;
}

const pause = (): Promise<void> => new Promise(setImmediate);
