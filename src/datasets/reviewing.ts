/** Marks rows as reviewed, and takes the mark away: an edit of the list beside their dataset, which is saved. */
import { readFile } from 'node:fs/promises';
import type { RowLocation } from '../common/commands';
import { changeBeside } from './besideFile';
import { reviewedFileOf, reviewedHashes, withoutReviewed, withReviewed } from './reviewedFile';

/** The hashes of a dataset's rows that were reviewed, as the list is on the disk. */
export async function readReviewed(dataset: string): Promise<ReadonlySet<string>> {
  try {
    return reviewedHashes(await readFile(reviewedFileOf(dataset), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Set();
    throw error;
  }
}

/** `riskOf` names the risk that a row is known to have. */
export function markReviewed(rows: readonly RowLocation[], riskOf: (row: RowLocation) => number | undefined): Promise<void> {
  const noted = rows.map(row => {
    const { hash, line } = row;
    const risk = riskOf(row);
    return { hash, note: `line ${line}${risk === undefined ? '' : `, risk ${risk.toFixed(2)}`}` };
  });
  return changeBeside(reviewedFileOf(rows[0]!.path), text => withReviewed(text, noted));
}

export function unmarkReviewed(rows: readonly RowLocation[]): Promise<void> {
  const hashes = new Set(rows.map(({ hash }) => hash));
  return changeBeside(reviewedFileOf(rows[0]!.path), text => withoutReviewed(text, hashes));
}
