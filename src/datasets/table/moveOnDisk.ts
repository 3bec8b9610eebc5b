/**
 * Moves rows of JSON Lines files that no text document can hold: what is left is written beside and renamed, byte
 * for byte, and the file of before is kept until nobody can want it back.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { appendFile, chmod, copyFile, link, open, rename, rm, stat, truncate } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import * as l10n from '@vscode/l10n';
import type { RowLocation } from '../../common/commands';
import { errorText } from '../../common/log';
import { UserError } from '../../common/userError';
import { alone, realPath, refuseReadOnly } from '../oneWindow';
import { LineFile, stampIfThere } from './sources';

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

/** One move of a dataset after the other in this window: two at once would each write a file without what the other moved. */
const lastMoves = new Map<string, Promise<unknown>>();

/** Does it with the files that links lead to, once the move before has ended. Rejects where one is read-only. */
export async function inTurn(rows: readonly RowLocation[], to: string, move: (from: string, to: string) => Promise<Moved>): Promise<Moved> {
  const files = [await realPath(rows[0]!.path), await realPath(to)] as const;
  const [first] = [...files].sort() as [string, string];
  const moving = (lastMoves.get(first) ?? Promise.resolve()).then(async () => {
    for (const file of files) await refuseReadOnly(file);
    const moved = await alone(first, () => move(...files));
    return { undo: () => alone(first, () => moved.undo()), forget: () => moved.forget() };
  });
  lastMoves.set(first, moving.catch(() => undefined));
  return moving;
}

export function moveOnDisk(rows: readonly RowLocation[], to: string, signal: AbortSignal, onProgress: MoveProgress): Promise<Moved> {
  return inTurn(rows, to, (from, to) => moveNow(rows, from, to, signal, onProgress));
}

async function moveNow(rows: readonly RowLocation[], from: string, to: string, signal: AbortSignal, onProgress: MoveProgress): Promise<Moved> {
  const name = path.basename(from);
  const before = await stampIfThere(from);
  const key = randomUUID().slice(0, 8);
  const beside = `${from}.${key}.tmp`;
  const kept = `${from}.${key}.before-move~`;
  let appended: Appended | undefined;
  try {
    const moved = await findLines(from, rows, signal, share => onProgress(share / 2));
    await copyWithout(from, moved, beside, signal, share => onProgress(0.5 + share / 2));
    signal.throwIfAborted();
    appended = await append(to, moved.map(({ text }) => text), await lineEndOf(from));
    await link(from, kept).catch(() => copyFile(from, kept));
    if ((await stampIfThere(from)) !== before) throw new UserError(l10n.t`${name} has changed meanwhile, so nothing was moved. Try again.`);
    await rename(beside, from);
  } catch (error) {
    await rm(beside, { force: true });
    await rm(kept, { force: true });
    if (appended) await takeBack(to, appended);
    if (signal.aborted || error instanceof UserError) throw error;
    throw new UserError(l10n.t`Nothing was moved from ${name}: ${errorText(error)}`);
  }
  const after = await stampIfThere(from);
  return {
    async undo() {
      if ((await stampIfThere(from)) !== after || (await stampIfThere(to)) !== appended.stamp) throw changedSince(from, to);
      await rename(kept, from);
      await takeBack(to, appended);
    },
    forget: () => rm(kept, { force: true }),
  };
}

export const changedSince = (from: string, to: string): UserError =>
  new UserError(l10n.t`${path.basename(from)} or ${path.basename(to)} has changed since, so the rows stay where they are. Restore them from the quarantine instead.`);

/** Where the rows stand, in order. Rejects where one is not there. */
async function findLines(file: string, rows: readonly RowLocation[], signal: AbortSignal, onProgress: MoveProgress): Promise<Stretch[]> {
  const wanted = new Map(rows.map(row => [row.line, row.hash]));
  const found: Stretch[] = [];
  const source = await LineFile.open(file);
  try {
    for await (const { records, share } of source.records()) {
      for (const { line, offset, size, text } of records) {
        const hash = wanted.get(line);
        if (hash === undefined) continue;
        const read = source.format.read(text);
        if (!('row' in read) || read.row.hash !== hash) throw goneMeanwhile(file, line);
        wanted.delete(line);
        found.push({ start: offset, end: offset + size, text });
      }
      onProgress(share);
      await setImmediate();
      signal.throwIfAborted();
    }
  } finally {
    await source.close();
  }
  const [missing] = wanted.keys();
  if (missing !== undefined) throw goneMeanwhile(file, missing);
  await endOfLines(file, found);
  return found;
}

const goneMeanwhile = (file: string, line: number): UserError =>
  new UserError(l10n.t`${path.basename(file)}, line ${line}: the row has been edited or removed meanwhile, so nothing was moved. Try again.`);

/** Each line goes with its end. */
async function endOfLines(file: string, lines: Stretch[]): Promise<void> {
  for (const line of lines) {
    const after = await bytesAt(file, line.end, 2);
    line.end += /^(\r\n|\r|\n)?/.exec(after)![0].length;
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
  await pipeline(rest, createWriteStream(to, { flags: 'wx', flush: true }), { signal });
  await chmod(to, mode);
}

interface Appended {
  /** Undefined where the file was not there. */
  sizeBefore: number | undefined;
  /** Says that nobody has written to the file since. */
  stamp: string | undefined;
}

/** Rows at the end of a file, on lines of their own, with the line end that it has. */
async function append(file: string, texts: readonly string[], usualEnd: string): Promise<Appended> {
  const sizeBefore = await stat(file).then(({ size }) => size, () => undefined);
  const eol = sizeBefore ? await lineEndOf(file) : usualEnd;
  const lines = texts.map(text => text + eol).join('');
  const endsWithLine = !sizeBefore || /[\r\n]/.test(await bytesAt(file, sizeBefore - 1, 1));
  try {
    await appendFile(file, endsWithLine ? lines : eol + lines, { flush: true });
  } catch (error) {
    await (sizeBefore === undefined ? rm(file, { force: true }) : truncate(file, sizeBefore)); // a part may have been written
    throw error;
  }
  return { sizeBefore, stamp: await stampIfThere(file) };
}

/** Unless others have written to the file since: then what they wrote counts more. */
async function takeBack(file: string, { sizeBefore, stamp }: Appended): Promise<void> {
  if ((await stampIfThere(file)) !== stamp) return;
  if (sizeBefore === undefined) await rm(file);
  else await truncate(file, sizeBefore);
}

const BYTES_LOOKED_AT = 1 << 16;

/** Of the first line; LF where there is none. */
async function lineEndOf(file: string): Promise<string> {
  const start = await bytesAt(file, 0, BYTES_LOOKED_AT);
  return /\r\n|\r|\n/.exec(start)?.[0] ?? '\n';
}

/** As Latin-1, so that each byte is a character. */
async function bytesAt(file: string, position: number, length: number): Promise<string> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, position);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await handle.close();
  }
}
