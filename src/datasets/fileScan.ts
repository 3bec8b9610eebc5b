/** A dataset file on the disk, read and judged as an open one is. */
import { readFile, stat } from 'node:fs/promises';
import { Pace } from '../common/pace';
import { UserError } from '../common/userError';
import type { TextSource } from './formats';
import { judgeRows, type JudgeServices, type Scores } from './judging';
import { isParquet, readParquet } from './parquet';
import { findUndecodable, readDocument, type Reading, type Undecodable } from './reading';
import { makeReport, type FileReport } from './report';
import { readReviewed } from './reviewing';

/** VS Code gives extensions no larger documents, so nothing could be done with their rows. */
const MOST_BYTES = 50 * 1024 * 1024;

export interface ScannedFile {
  report: FileReport;
  reading: Reading;
  /** Of a Parquet file, how many of its rows were read. */
  part: { rows: number; total: number } | undefined;
}

export interface FileScanServices extends JudgeServices {
  /** The script that reads Parquet files. */
  parquetWorker: string;
}

export interface FileScanOptions {
  threshold: number;
  onProgress: (progress: { done: number; total: number }) => void;
  signal: AbortSignal;
}

/** Undefined where the file is no dataset. Rejects where it cannot be read, or the classifier does not run. */
export async function scanFile(file: string, services: FileScanServices, options: FileScanOptions): Promise<ScannedFile | undefined> {
  const { threshold, onProgress, signal } = options;
  const parquet = isParquet(file) ? await readParquet(services.parquetWorker, file, signal) : undefined;
  const { text, undecodable } = parquet ? { text: parquet.text, undecodable: undefined } : await readTextFile(file, signal);
  const reading = await readDocument(file, await textSource(text, signal), undefined, undecodable, signal);
  const scores: Scores = { known: new Map(), failed: new Map() };
  if (reading.records.some(({ read }) => 'hash' in read)) {
    for await (const progress of judgeRows(reading, scores, services, { first: () => new Set(), again: false, signal })) onProgress(progress);
  }
  const reviewed = await readReviewed(file);
  const rules = { expected: /\.(jsonl|ndjson|parquet)$/i.test(file), threshold, flag: true, reviewed, unscoredReason: undefined };
  const report = await makeReport(reading, scores, { ...rules, pace: new Pace(), signal });
  return report.isDataset ? { report, reading, part: parquet } : undefined;
}

async function readTextFile(file: string, signal: AbortSignal): Promise<{ text: string; undecodable: Undecodable | undefined }> {
  if ((await stat(file)).size > MOST_BYTES) throw new UserError('larger than 50 MB, which the editor does not open');
  const bytes = await readFile(file, { signal });
  return { text: new TextDecoder().decode(bytes), undecodable: await findUndecodable(bytes, true) };
}

async function textSource(text: string, signal: AbortSignal): Promise<TextSource> {
  const pace = new Pace();
  const lines: string[] = [];
  const end = /\r\n|\r|\n/g;
  for (let start = 0; ; start = end.lastIndex) {
    await pace.step(signal);
    const found = end.exec(text);
    lines.push(text.slice(start, found?.index));
    if (!found) break;
  }
  return { lineCount: lines.length, lineAt: index => lines[index]!, text: () => text };
}
