/**
 * Dataset files as records: what is or should be a row, and where it stands. The trainer reads the same files by
 * the same rules (trainer/safe_finetuning/formats.py has them); test/fixtures/rows holds both to them.
 */
import path from 'node:path';
import type { Pace } from '../../common/pace';
import { UserError } from '../../common/userError';
import { columnNamesOf } from '../columnNames';
import { scanDelimited } from './delimited';
import type { Scan, ScanOptions } from './format';
import { scanJsonLines } from './jsonLines';
import { scanJsonList } from './jsonList';
import type { TextSource } from './textWindow';

export type { TextSource };

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
    case '.json':
      return (await scanJsonList(source, options)) ?? scanJsonLines(source, options);
    case '.csv':
      return scanDelimited(source, undefined, options);
    case '.tsv':
      return scanDelimited(source, '\t', options);
    default:
      return scanJsonLines(source, options);
  }
}
