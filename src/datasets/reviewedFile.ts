/**
 * Rows that a person has looked at and means to train on as ordinary ones, by content hash, in
 * `NAME.reviewed.txt` beside the dataset. The trainer reads it, too (trainer/safe_finetuning/reviewed.py):
 * a hash at the start of each line, anything behind it; lines that begin with `#` are comments.
 */
import path from 'node:path';

// eslint-disable-next-line no-restricted-syntax -- goes into the file
const HEADER = '# Rows that were reviewed and train as ordinary ones. Remove a line to have its row flagged again.';
const LINE = /^([0-9a-f]{16})(?!\S)/;

/** `support.jsonl` → `support.reviewed.txt`. */
export function reviewedFileOf(dataset: string): string {
  const { dir, name } = path.parse(dataset);
  return path.join(dir, `${name}.reviewed.txt`);
}

export function reviewedHashes(text: string): Set<string> {
  return new Set(linesOf(text).flatMap(line => LINE.exec(line)?.[1] ?? []));
}

/** The list with these rows, each with what is worth knowing of it; those that are in it stay as they are. */
export function withReviewed(text: string, rows: readonly { hash: string; note: string }[]): string {
  const known = reviewedHashes(text);
  const added = rows.filter(({ hash }) => !known.has(hash) && known.add(hash)).map(({ hash, note }) => `${hash} ${note}`);
  const before = text === '' ? [HEADER] : text.replace(/\r?\n$/, '').split(/\r?\n/);
  return [...before, ...added, ''].join(text.includes('\r\n') ? '\r\n' : '\n');
}

/** The list without these rows; everything else stays as it is. */
export function withoutReviewed(text: string, hashes: ReadonlySet<string>): string {
  return text.replace(/.*(?:\r?\n|$)/g, line => (hashes.has(LINE.exec(line)?.[1] ?? '') ? '' : line));
}

const linesOf = (text: string): string[] => text.replace(/^\ufeff/, '').split(/\r?\n/);
