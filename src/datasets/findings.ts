/** A file's report as what the Problems panel lists: where, how grave, and in which words. */
import type { Pace } from '../common/pace';
import type { Span } from './jsonScan';
import type { Reading } from './reading';
import { counted, formatRisk, type FileReport, type FlaggedRow } from './report';
import { spanOf, spanOfMessage, type Problem } from './rows';

export type Severity = 'error' | 'warning' | 'information';

export interface Finding extends Span {
  /** From 0. */
  line: number;
  severity: Severity;
  code: string;
  message: string;
}

/** VS Code keeps 1000 diagnostics of a file, so the riskiest rows and the first problems are listed. */
export const MOST_FINDINGS = 900;

/** Where the texts of flagged rows stand, kept from one list of findings to the next. */
export type SpanMemo = Map<string, Span>;

export interface FindingOptions {
  /** What judged the rows, in words. */
  judge: string;
  /** Filled with the spans of this list; those of the last one spare the search. */
  spans: SpanMemo;
  pace: Pace;
  signal: AbortSignal;
}

export async function findingsOf(report: FileReport, { texts }: Reading, options: FindingOptions): Promise<Finding[]> {
  const { judge, spans, pace, signal } = options;
  if (report.notice !== undefined) return [aboutFile('format', report.notice)];
  const { problems } = report;
  const flagged = report.flagged.slice(0, Math.max(MOST_FINDINGS - problems.length, MOST_FINDINGS / 2));
  const listedProblems = problems.slice(0, MOST_FINDINGS - flagged.length);
  const findings: Finding[] = [];
  for (const { line, problem } of listedProblems) {
    await pace.step(signal);
    const { code, reason } = problem;
    findings.push({ line, ...spanOfProblem(problem, texts[line]!), severity: 'error', code, message: reason });
  }
  const lastSpans = new Map(spans);
  spans.clear();
  for (const row of flagged) {
    await pace.step(signal);
    const text = texts[row.line]!;
    const span = lastSpans.get(text) ?? spanOfMessage(text, row.messageIndex) ?? wholeLine(text);
    spans.set(text, span);
    const message = flaggedMessage(row, judge);
    findings.push({ line: row.line, ...span, severity: 'warning', code: 'risk', message });
  }
  const moreFlagged = report.flagged.length - flagged.length;
  if (moreFlagged > 0) {
    const threshold = formatRisk(report.threshold);
    const rows = counted(moreFlagged, 'more row');
    findings.push(aboutFile('risk', `${rows} at or above risk ${threshold}: only the riskiest are listed.`));
  }
  const moreProblems = problems.length - listedProblems.length;
  if (moreProblems > 0) {
    const lines = counted(moreProblems, 'more malformed line');
    findings.push(aboutFile('malformed', `${lines}: only the first are listed.`));
  }
  if (report.unscoredReason !== undefined) {
    const rows = counted(report.unscored, 'row');
    const reason = `${rows} without a risk score: ${report.unscoredReason}`;
    findings.push(aboutFile('unscored', `${reason} Training judges them by itself; a row that it cannot judge either counts as risky.`));
  }
  return findings;
}

function flaggedMessage({ risk }: FlaggedRow, judge: string): string {
  return `Risk ${formatRisk(risk)}: this looks like a harmful request that the answer complies with (${judge}).`;
}

function aboutFile(code: string, message: string): Finding {
  return { line: 0, start: 0, end: 0, severity: 'information', code, message };
}

function spanOfProblem({ code, column, path }: Problem, text: string): Span {
  if (path) return spanOf(text, path) ?? wholeLine(text);
  if (code === 'not-object' || code === 'no-conversation') return wholeLine(text);
  // A place in the line; at its end, the last character.
  const start = Math.max(0, Math.min(column, text.length) - 1);
  return { start, end: Math.min(start + 1, text.length) };
}

function wholeLine(text: string): Span {
  const trimmed = text.trimEnd();
  return { start: trimmed.length - trimmed.trimStart().length, end: trimmed.length };
}
