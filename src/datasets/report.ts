/** What is said about a dataset file: which rows are flagged, and the sentences that say so. */
import path from 'node:path';
import type { Pace } from '../common/pace';
import type { Scores } from './judging';
import type { Reading } from './reading';
import { EXPECTED, mentionsConversation } from './rowForms';
import type { Problem, ProblemCode } from './rows';

export interface FlaggedRow {
  /** From 0. */
  line: number;
  hash: string;
  risk: number;
  messageIndex: number;
}

export interface FileReport {
  rows: number;
  problems: { line: number; problem: Problem }[];
  /** The riskiest first. */
  flagged: FlaggedRow[];
  /** Lines of rows that are safety data. */
  refusals: number[];
  /** Rows without a score, so far or for good. */
  unscored: number;
  /** Why rows stay unscored. */
  unscoredReason: string | undefined;
  threshold: number;
  /** Not a dataset: no row at all, or none that may have been meant as a conversation. */
  notice: string | undefined;
}

export const QUARANTINE_SUFFIX = '.quarantine.jsonl';

/** `support.jsonl` → `support.quarantine.jsonl`, beside it. */
export function quarantinePath(dataset: string): string {
  const { dir, name } = path.parse(dataset);
  return path.join(dir, name + QUARANTINE_SUFFIX);
}

/** Rows that were put aside: nothing there needs to be flagged again. */
export function isQuarantine(dataset: string): boolean {
  return dataset.endsWith(QUARANTINE_SUFFIX);
}

/** Problems that any file may have, dataset or not. */
const saysNothingOfIt = new Set<ProblemCode>(['no-conversation', 'not-object', 'not-json', 'invalid-utf8', 'nul']);

export interface ReportOptions {
  threshold: number;
  /** False where nothing is to be flagged. */
  flag: boolean;
  /** Why rows without a score stay so. */
  unscoredReason: string | undefined;
  pace: Pace;
  signal: AbortSignal;
}

export async function makeReport({ texts, lines }: Reading, scores: Scores, options: ReportOptions): Promise<FileReport> {
  const { threshold, flag, pace, signal } = options;
  const report: FileReport = {
    rows: 0,
    problems: [],
    flagged: [],
    refusals: [],
    unscored: 0,
    unscoredReason: options.unscoredReason,
    threshold,
    notice: undefined,
  };
  let meantAsDataset = false;
  for (const [line, read] of lines.entries()) {
    await pace.step(signal);
    if (!read) continue;
    if ('problem' in read) {
      report.problems.push({ line, problem: read.problem });
      meantAsDataset ||= mentionsConversation(texts[line]!) || !saysNothingOfIt.has(read.problem.code);
      continue;
    }
    meantAsDataset = true;
    report.rows++;
    const score = scores.known.get(read.hash);
    if (!score) {
      report.unscored++;
      report.unscoredReason ??= scores.failed.get(read.hash);
    } else if (score.refusal) {
      report.refusals.push(line);
    } else if (flag && score.risk >= threshold) {
      const { risk, messageIndex } = score;
      report.flagged.push({ line, hash: read.hash, risk, messageIndex });
    }
  }
  if (report.unscored === 0) report.unscoredReason = undefined;
  report.flagged.sort((a, b) => b.risk - a.risk || a.line - b.line);
  if (!meantAsDataset) {
    report.notice =
      report.problems.length === 0
        ? `This file has no rows. As a dataset for fine-tuning it has one conversation per line. ${EXPECTED}`
        : `No line of this file is a conversation, so it is not read as a dataset for fine-tuning. ${EXPECTED}`;
    report.problems = [];
  }
  return report;
}

export const formatRisk = (risk: number): string => risk.toFixed(2);

export const counted = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString('en-US')} ${count === 1 ? one : many}`;

/** One line for the status bar. */
export function summary({ rows, flagged, problems, threshold, unscored, unscoredReason }: FileReport): string {
  const parts = [counted(rows, 'row'), `${flagged.length.toLocaleString('en-US')} flagged at ${formatRisk(threshold)}`];
  if (problems.length > 0) parts.push(counted(problems.length, 'malformed line'));
  if (unscoredReason) parts.push(`${unscored.toLocaleString('en-US')} unscored`);
  return parts.join(', ');
}
