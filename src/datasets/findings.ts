/** A file's report as what the Problems panel lists: where, how grave, and in which words. */
import * as l10n from '@vscode/l10n';
import { isOne } from '../common/language';
import { hundredths, integer } from '../common/format';
import type { Pace } from '../common/pace';
import { stretchIn, type Format, type RecordText, type Stretch } from './formats/format';
import type { Span } from './jsonScan';
import type { Reading } from './reading';
import { type FileReport, type FlaggedRow } from './report';
import type { Problem } from './rows';

export type Severity = 'error' | 'warning' | 'information';

export interface Finding extends Stretch {
  severity: Severity;
  code: string;
  message: string;
}

/** VS Code keeps 1000 diagnostics of a file, so the riskiest rows and the first problems are listed. */
export const MOST_FINDINGS = 900;

/** Where the texts of flagged rows stand, kept from one list of findings to the next. */
export type SpanMemo = Map<string, { messageIndex: number; span: Span }>;

export interface FindingOptions {
  /** What judged a row, in words. */
  judgeOf: (hash: string) => string;
  /** Filled with the spans of this list; those of the last one spare the search. */
  spans: SpanMemo;
  pace: Pace;
  signal: AbortSignal;
}

export async function findingsOf(report: FileReport, reading: Reading, options: FindingOptions): Promise<Finding[]> {
  const { judgeOf, spans, pace, signal } = options;
  if (!report.isDataset) return report.notice === undefined ? [] : [aboutFile('format', report.notice)];
  const { format, records } = reading;
  const { problems } = report;
  const flagged = report.flagged.slice(0, Math.max(MOST_FINDINGS - problems.length, MOST_FINDINGS / 2));
  const listedProblems = problems.slice(0, MOST_FINDINGS - flagged.length);
  const findings: Finding[] = [];
  if (report.broken) {
    const { place, reason } = report.broken;
    const message = l10n.t`From here on the file cannot be read, and it is not trained on. ${reason}`;
    findings.push({ start: place, end: place, severity: 'error', code: 'broken', message });
  }
  for (const { record: index, problem } of listedProblems) {
    await pace.step(signal);
    const { code, reason } = problem;
    const record = records[index]!;
    findings.push({ ...stretchIn(record, spanOfProblem(problem, record, format)), severity: 'error', code, message: reason });
  }
  const lastSpans = new Map(spans);
  spans.clear();
  for (const row of flagged) {
    await pace.step(signal);
    const record = records[row.record]!;
    const { text } = record;
    const { messageIndex } = row;
    const last = lastSpans.get(text);
    const span = last?.messageIndex === messageIndex ? last.span : (spanOfMessage(format, text, messageIndex) ?? whole(text));
    spans.set(text, { messageIndex, span });
    const message = flaggedMessage(row, judgeOf(row.hash));
    findings.push({ ...stretchIn(record, span), severity: 'warning', code: 'risk', message });
  }
  const moreFlagged = report.flagged.length - flagged.length;
  if (moreFlagged > 0) {
    const [rows, threshold] = [integer(moreFlagged), hundredths(report.threshold)];
    const message = isOne(moreFlagged)
      ? l10n.t`${rows} more row at or above risk ${threshold}: only the riskiest are listed.`
      : l10n.t`${rows} more rows at or above risk ${threshold}: only the riskiest are listed.`;
    findings.push(aboutFile('risk', message));
  }
  const moreProblems = problems.length - listedProblems.length;
  if (moreProblems > 0) {
    const rows = integer(moreProblems);
    findings.push(aboutFile('malformed', isOne(moreProblems) ? l10n.t`${rows} more malformed row: only the first are listed.` : l10n.t`${rows} more malformed rows: only the first are listed.`));
  }
  if (report.unscoredReason !== undefined) {
    const [rows, reason] = [integer(report.unscored), report.unscoredReason];
    const message = isOne(report.unscored)
      ? l10n.t`${rows} row without a risk score: ${reason} Training judges them by itself; a row that it cannot judge either counts as risky.`
      : l10n.t`${rows} rows without a risk score: ${reason} Training judges them by itself; a row that it cannot judge either counts as risky.`;
    findings.push(aboutFile('unscored', message));
  }
  return findings;
}

function flaggedMessage({ risk }: FlaggedRow, judge: string): string {
  return l10n.t`Risk ${hundredths(risk)}: this looks like a harmful request that the answer complies with (${judge}).`;
}

function aboutFile(code: string, message: string): Finding {
  const start = { line: 0, character: 0 };
  return { start, end: start, severity: 'information', code, message };
}

/** Where the text of a row's message stands in its record. */
export function spanOfMessage(format: Format, text: string, index: number): Span | undefined {
  const read = format.read(text);
  const path = 'row' in read ? read.row.paths[index] : undefined;
  return path && format.spanOf(text, path);
}

function spanOfProblem({ code, offset, path }: Problem, { text }: RecordText, format: Format): Span {
  if (path) return format.spanOf(text, path) ?? whole(text);
  if (code !== 'not-json' && code !== 'nul' && code !== 'invalid-utf8') return whole(text);
  // A place in the record; at its end, the last character.
  const start = Math.max(0, Math.min(offset, text.length - 1));
  return { start, end: Math.min(start + 1, text.length) };
}

function whole(text: string): Span {
  const trimmed = text.trimEnd();
  return { start: trimmed.length - trimmed.trimStart().length, end: trimmed.length };
}
