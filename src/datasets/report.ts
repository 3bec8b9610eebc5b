/** What is said about a dataset file: which rows are flagged, and the sentences that say so. */
import * as l10n from '@vscode/l10n';
import { isOne } from '../common/language';
import { hundredths, integer } from '../common/format';
import type { Pace } from '../common/pace';
import type { Scores } from './judging';
import type { Broken } from './formats/format';
import type { Reading } from './reading';
import { EXPECTED, mentionsConversation } from './rowForms';
import type { Problem, ProblemCode } from './rows';

export interface FlaggedRow {
  /** Index among the records of the file. */
  record: number;
  /** Where it begins, from 0. */
  line: number;
  hash: string;
  risk: number;
  messageIndex: number;
}

export interface FileReport {
  rows: number;
  problems: { record: number; problem: Problem }[];
  /** The riskiest first. */
  flagged: FlaggedRow[];
  /** Lines of rows that are safety data. */
  refusals: number[];
  /** Lines of rows that would be flagged, had they not been reviewed. */
  reviewed: number[];
  /** Rows without a score, so far or for good. */
  unscored: number;
  /** Why rows stay unscored. */
  unscoredReason: string | undefined;
  threshold: number;
  /** Otherwise it has no row, or none that may have been meant as a conversation. */
  isDataset: boolean;
  /** From where on the file cannot be read, and why. */
  broken: Broken | undefined;
  /** What to say of a file that is no dataset but should be. */
  notice: string | undefined;
}

/** Problems that any file may have, dataset or not. */
const saysNothingOfIt = new Set<ProblemCode>(['no-conversation', 'not-object', 'not-json', 'invalid-utf8', 'nul', 'ragged', 'quote', 'unsupported']);

/** Whether a record is a row, or may have been meant as one. */
export function isMeantAsRow(read: { problem: Problem } | { plain: boolean }, text: string, { announced, expected }: Pick<DatasetSigns, 'announced' | 'expected'>): boolean {
  if (!('problem' in read)) return !read.plain || announced || expected; // any table may have a column `text`
  return announced || mentionsConversation(text) || !saysNothingOfIt.has(read.problem.code);
}

export interface DatasetSigns {
  /** Whether the file should be a dataset, by its name: other files of its format may be anything. */
  expected: boolean;
  announced: boolean;
  broken: Broken | undefined;
  records: number;
  /** Records that are meant as rows. */
  meant: number;
}

export const isDatasetOf = ({ expected, announced, broken, records, meant }: DatasetSigns): boolean =>
  (announced && broken !== undefined) || (expected ? meant > 0 : 2 * meant > records);

/** What is known of rows by their hash. */
export interface KnownScores {
  known: Pick<Scores['known'], 'get'>;
  failed: Pick<Scores['failed'], 'get'>;
}

export interface ReportOptions {
  /** As in `DatasetSigns`. */
  expected: boolean;
  threshold: number;
  /** False where nothing is to be flagged. */
  flag: boolean;
  /** Hashes of rows that were reviewed: they are not flagged. */
  reviewed: ReadonlySet<string>;
  /** Why rows without a score stay so. */
  unscoredReason: string | undefined;
  pace: Pace;
  signal: AbortSignal;
}

export async function makeReport({ records, broken, announced }: Reading, scores: KnownScores, options: ReportOptions): Promise<FileReport> {
  const { expected, threshold, flag, pace, signal } = options;
  const report: FileReport = {
    rows: 0,
    problems: [],
    flagged: [],
    refusals: [],
    reviewed: [],
    unscored: 0,
    unscoredReason: options.unscoredReason,
    threshold,
    isDataset: false,
    broken: undefined,
    notice: undefined,
  };
  let meant = 0;
  for (const [index, { start, text, read }] of records.entries()) {
    await pace.step(signal);
    if (isMeantAsRow('problem' in read ? read : { plain: read.plain ?? false }, text, { announced, expected })) meant++;
    if ('problem' in read) {
      report.problems.push({ record: index, problem: read.problem });
      continue;
    }
    report.rows++;
    const score = scores.known.get(read.hash);
    if (!score) {
      report.unscored++;
      report.unscoredReason ??= scores.failed.get(read.hash);
    } else if (score.refusal) {
      report.refusals.push(start.line);
    } else if (flag && score.risk >= threshold) {
      if (options.reviewed.has(read.hash)) {
        report.reviewed.push(start.line);
        continue;
      }
      const { risk, messageIndex } = score;
      report.flagged.push({ record: index, line: start.line, hash: read.hash, risk, messageIndex });
    }
  }
  if (report.unscored === 0) report.unscoredReason = undefined;
  report.flagged.sort((a, b) => b.risk - a.risk || a.record - b.record);
  report.isDataset = isDatasetOf({ expected, announced, broken, records: records.length, meant });
  if (announced && flag && records.length === 0 && !broken) report.notice = l10n.t('This file has the columns of a dataset, but no rows yet.');
  else if (expected && !report.isDataset) {
    report.notice =
      records.length === 0
        ? l10n.t`This file has no rows. As a dataset for fine-tuning it has one conversation per line. ${EXPECTED}`
        : l10n.t`No line of this file is a conversation, so it is not read as a dataset for fine-tuning. ${EXPECTED}`;
  }
  if (report.isDataset) report.broken = broken;
  else report.problems = [];
  return report;
}

export const rowsText = (rows: number): string => (isOne(rows) ? l10n.t`${integer(rows)} row` : l10n.t`${integer(rows)} rows`);

/** A report in figures: all that is known of a file that is not open. */
export interface FileSummary extends Pick<FileReport, 'rows' | 'threshold' | 'broken' | 'unscored' | 'unscoredReason'> {
  flagged: number;
  reviewed: number;
  malformed: number;
}

export const summaryOf = ({ flagged, reviewed, problems, ...report }: FileReport): FileSummary => ({
  ...report,
  flagged: flagged.length,
  reviewed: reviewed.length,
  malformed: problems.length,
});

/** One line for the status bar. */
export function summary({ rows, flagged, reviewed, broken, malformed, threshold, unscored, unscoredReason }: FileSummary): string {
  const parts = [rowsText(rows), l10n.t`${integer(flagged)} flagged at ${hundredths(threshold)}`];
  if (reviewed > 0) parts.push(l10n.t`${integer(reviewed)} reviewed`);
  if (broken) parts.push(l10n.t`not readable from line ${broken.place.line + 1} on`);
  if (malformed > 0) parts.push(isOne(malformed) ? l10n.t`${integer(malformed)} malformed row` : l10n.t`${integer(malformed)} malformed rows`);
  if (unscoredReason) parts.push(l10n.t`${integer(unscored)} unscored`);
  return parts.join(', ');
}
