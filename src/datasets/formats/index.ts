/**
 * Dataset files as records: what is or should be a row, and where it stands. The trainer reads the same files by
 * the same rules (trainer/safe_finetuning/formats.py has them); test/fixtures/rows holds both to them.
 */
import path from 'node:path';
import type { Pace } from '../../common/pace';
import { UserError } from '../../common/userError';
import { columnNamesOf } from '../columnNames';
import { isObject } from '../rowForms';
import { scanDelimited } from './delimited';
import type { LineSource, Scan, ScanOptions } from './format';
import { scanJsonLines } from './jsonLines';
import { scanJsonList } from './jsonList';

export interface TextSource extends LineSource {
  text(): string;
}

/** Of dataset files. The rows of a Parquet file are scanned as JSON Lines. */
export const EXTENSIONS = ['.jsonl', '.ndjson', '.json', '.csv', '.tsv', '.parquet'];

export async function scanRecords(file: string, source: TextSource, pace: Pace, signal?: AbortSignal): Promise<Scan> {
  try {
    return await scanWith({ names: await columnNamesOf(file), pace, ...(signal && { signal }) }, file, source);
  } catch (error) {
    if (!(error instanceof UserError)) throw error; // of the names
    const scan = await scanWith({ names: undefined, pace, ...(signal && { signal }) }, file, source);
    return { ...scan, broken: { place: { line: 0, character: 0 }, reason: error.message }, announced: true };
  }
}

async function scanWith(options: ScanOptions, file: string, source: TextSource): Promise<Scan> {
  switch (path.extname(file).toLowerCase()) {
    case '.json': {
      const text = source.text();
      return isOneValue(text) ? scanJsonList(text, options) : scanJsonLines(source, options);
    }
    case '.csv':
      return scanDelimited(source.text(), undefined, options);
    case '.tsv':
      return scanDelimited(source.text(), '\t', options);
    default:
      return scanJsonLines(source, options);
  }
}

/** Whether it is a list, or an object that is not the first of many, one a line. */
function isOneValue(text: string): boolean {
  const start = text.search(/[^ \t\r\n]/);
  if (text[start] !== '{') return text[start] === '[';
  const lineEnd = text.indexOf('\n', start);
  try {
    const first: unknown = JSON.parse(text.slice(start, lineEnd < 0 ? undefined : lineEnd));
    return isObject(first) && Array.isArray(first.data);
  } catch {
    return true;
  }
}
