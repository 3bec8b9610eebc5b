/**
 * Moves rows of JSON Lines files that no text document can hold: what is left is written beside and renamed, byte
 * for byte, and the file of before is kept until nobody can want it back.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { appendFile, open, rename, rm, stat, truncate } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import type { RowLocation } from '../../common/commands';
import { errorText } from '../../common/log';
import { UserError } from '../../common/userError';
import { LineFile, stampOf } from './sources';

/** A move that has been made. */
export interface Moved {
  /** Puts both files back as they were; rejects where one of them has changed since. */
  undo(): Promise<void>;
  /** Nobody will undo it. */
  forget(): Promise<void>;
}

export interface MoveProgress {
  (share: number): void;
}

interface Stretch {
  start: number;
  /** Behind the line's end. */
  end: number;
  text: string;
}

export async function moveOnDisk(rows: readonly RowLocation[], to: string, signal: AbortSignal, onProgress: MoveProgress): Promise<Moved> {
  const from = rows[0]!.path;
  const before = stampOf(from);
  const moved = await findLines(from, rows, signal, share => onProgress(share / 2));
  const beside = `${from}.${process.pid}.tmp`;
  const kept = `${from}.${randomUUID().slice(0, 8)}.before-move~`;
  const sizeOfTarget = await stat(to).then(({ size }) => size, () => undefined);
  try {
    await copyWithout(from, moved, beside, signal, share => onProgress(0.5 + share / 2));
    if (stampOf(from) !== before) throw new UserError(`${path.basename(from)} has changed meanwhile, so nothing was moved. Try again.`);
    signal.throwIfAborted();
    await append(to, moved.map(({ text }) => text));
  } catch (error) {
    await rm(beside, { force: true });
    if (sizeOfTarget !== undefined) await truncate(to, sizeOfTarget);
    else await rm(to, { force: true });
    if (signal.aborted || error instanceof UserError) throw error;
    throw new UserError(`Nothing was moved: ${errorText(error)}`);
  }
  await rename(from, kept);
  await rename(beside, from);
  const after = [stampOf(from), stampOf(to)];
  return {
    async undo() {
      if (stampOf(from) !== after[0] || stampOf(to) !== after[1]) {
        throw new UserError(`${path.basename(from)} or ${path.basename(to)} has changed since, so the rows stay where they are. Restore them from the quarantine instead.`);
      }
      await rename(kept, from);
      if (sizeOfTarget === undefined) await rm(to);
      else await truncate(to, sizeOfTarget);
    },
    forget: () => rm(kept, { force: true }),
  };
}

/** Where the rows stand, in order. Rejects where one is not there. */
async function findLines(file: string, rows: readonly RowLocation[], signal: AbortSignal, onProgress: MoveProgress): Promise<Stretch[]> {
  const wanted = new Map(rows.map(row => [row.line, row.hash]));
  const found: Stretch[] = [];
  const source = await LineFile.open(file);
  try {
    for (const { records, share } of source.records()) {
      for (const { line, offset, size, text } of records) {
        const hash = wanted.get(line);
        if (hash === undefined) continue;
        const read = source.format.read(text);
        if (!('row' in read) || read.row.hash !== hash) break;
        wanted.delete(line);
        found.push({ start: offset, end: offset + size, text });
      }
      onProgress(share);
      await setImmediate();
      signal.throwIfAborted();
    }
  } finally {
    source.close();
  }
  const [missing] = wanted.keys();
  if (missing !== undefined) throw new UserError(`${path.basename(file)}, line ${missing}: the row has been edited or removed meanwhile, so nothing was moved. Try again.`);
  await endOfLines(file, found);
  return found;
}

/** Each line goes with its end. */
async function endOfLines(file: string, lines: Stretch[]): Promise<void> {
  const handle = await open(file);
  try {
    for (const line of lines) {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(2), 0, 2, line.end);
      const after = buffer.toString('latin1', 0, bytesRead);
      line.end += after.startsWith('\r\n') ? 2 : after.startsWith('\n') ? 1 : 0;
    }
  } finally {
    await handle.close();
  }
}

async function copyWithout(file: string, removed: readonly Stretch[], to: string, signal: AbortSignal, onProgress: MoveProgress): Promise<void> {
  const { size, mode } = await stat(file);
  async function* rest(): AsyncGenerator<Uint8Array> {
    let start = 0;
    for (const stretch of [...removed, { start: size, end: size }]) {
      if (stretch.start > start) yield* createReadStream(file, { start, end: stretch.start - 1 }) as AsyncIterable<Uint8Array>;
      start = stretch.end;
      onProgress(start / size);
    }
  }
  await pipeline(rest, createWriteStream(to, { mode, flush: true }), { signal });
}

/** Rows at the end of a file, on lines of their own. */
async function append(file: string, texts: readonly string[]): Promise<void> {
  const last = await lastByte(file);
  const lines = texts.map(text => `${text}\n`).join('');
  await appendFile(file, last === undefined || last === '\n' ? lines : `\n${lines}`, { flush: true });
}

async function lastByte(file: string): Promise<string | undefined> {
  const size = await stat(file).then(found => found.size, () => 0);
  if (size === 0) return undefined;
  const handle = await open(file);
  try {
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
    return buffer.toString('latin1');
  } finally {
    await handle.close();
  }
}
