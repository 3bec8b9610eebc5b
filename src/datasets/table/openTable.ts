/** Opens the table of a dataset file as the settings and the list of reviewed rows have it. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { setting } from '../../common/configuration';
import { isJsonLines, isParquet } from '../openDataset';
import { isQuarantine } from '../quarantineFiles';
import type { FileSummary } from '../report';
import { readReviewed } from '../reviewing';
import { DatasetTable, type TableServices } from './datasetTable';
import type { TableSummary } from './tableProtocol';

let readings = 0;

export async function openTable(file: string, services: TableServices): Promise<DatasetTable> {
  return DatasetTable.open(file, services, {
    reading: ++readings,
    threshold: setting('risk.threshold', vscode.Uri.file(file)),
    reviewed: [...(await readReviewed(file))],
    flag: !isQuarantine(file),
    expected: isJsonLines(file) || isParquet(file),
  });
}

/** For as long as a question takes. */
export async function withTable<T>(file: string, services: TableServices, ask: (table: DatasetTable) => Promise<T>): Promise<T> {
  const table = await openTable(file, services);
  try {
    return await ask(table);
  } finally {
    table.dispose();
  }
}

/** What is said of a file in its lists. */
export const fileSummary = ({ counts, threshold, broken, failed }: TableSummary): FileSummary => ({
  rows: counts.all - counts.malformed,
  flagged: counts.flagged,
  reviewed: counts.reviewed,
  malformed: counts.malformed,
  unscored: counts.unjudged,
  unscoredReason: failed > 0 ? l10n.t('The classifier failed on them.') : undefined,
  threshold,
  broken,
});
