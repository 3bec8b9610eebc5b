/** Tables as comma-separated values (RFC 4180). */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import { Pace } from '../common/pace';

export type Cell = string | number | null;

/** A line with its end. Numbers are written in full; what is missing is empty. */
export const csvLine = (cells: readonly Cell[]): string => `${cells.map(csvCell).join(',')}\r\n`;

function csvCell(value: Cell): string {
  if (value === null || (typeof value === 'number' && !Number.isFinite(value))) return '';
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const bufferCharacters = 1 << 16;

function* csvText(lines: Iterable<readonly Cell[]>): Generator<string> {
  for (const line of lines) yield csvLine(line);
}

export const writeCsv = (file: string, lines: Iterable<readonly Cell[]>, signal: AbortSignal): Promise<void> => writeText(file, csvText(lines), signal);

/** Writes beside and renames: a reader sees the old file or the whole new one. */
export async function writeText(file: string, parts: Iterable<string>, signal: AbortSignal): Promise<void> {
  const beside = `${file}.${randomUUID().slice(0, 8)}.tmp`;
  const pace = new Pace();
  try {
    const handle = await fs.open(beside, 'wx');
    try {
      let text = '';
      for (const part of parts) {
        text += part;
        await pace.step(signal);
        if (text.length < bufferCharacters) continue;
        await handle.write(text);
        text = '';
      }
      await handle.write(text);
    } finally {
      await handle.close();
    }
    await fs.rename(beside, file);
  } catch (error) {
    await fs.rm(beside, { force: true });
    throw error;
  }
}
