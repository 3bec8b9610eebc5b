/** Everything that the extension and the dataset viewer's page say to each other. */
import type { TableRow, TableSummary, TableView, WholeRow } from '../datasets/table/tableProtocol';

export type { TableFilter, TableOrder, TableSummary, TableView } from '../datasets/table/tableProtocol';

/** A row of the list, with what others than its judge say of it, in a few words each. */
export type ListedRow = TableRow & { labels: string[] };

/** The same in sentences. */
export type ShownRow = WholeRow & { notes: string[] };

/** What can be done with a file's rows besides looking at them. */
export interface FileAbilities {
  name: string;
  /** Whether rows of the file can be moved to and from a quarantine. */
  move: 'quarantine' | 'restore';
  /** Whether a text editor can show the file. */
  text: boolean;
  /** Whether its rows stand in lines. */
  lines: boolean;
}

export type ToViewer =
  | { type: 'file'; file: FileAbilities }
  | { type: 'summary'; summary: TableSummary; /** Why rows stay unjudged. */ unavailable: string | undefined; /** The judge that counts in place of the bundled classifier. */ otherJudge: string | undefined }
  /** Rows of the asked view from `first` on. */
  | { type: 'page'; view: TableView; first: number; total: number; rows: ListedRow[] }
  | { type: 'row'; row: ShownRow }
  /** What others say of rows has changed. */
  | { type: 'notes' }
  /** Where a row stands that was asked for; undefined where it is no longer in the file. */
  | { type: 'found'; position: number | undefined }
  /** The file cannot be read, or is gone. */
  | { type: 'failed'; reason: string };

export type RowAction = 'quarantineRow' | 'restoreRow' | 'markReviewed' | 'unmarkReviewed' | 'showText';

export type FromViewer =
  | { type: 'ready' }
  | { type: 'page'; view: TableView; first: number; count: number }
  | { type: 'row'; record: number }
  | { type: 'act'; action: RowAction; rows: { line: number; hash: string }[] }
  | { type: 'quarantineFlagged' }
  | { type: 'threshold'; threshold: number }
  | { type: 'tryAgain' }
  | { type: 'useClassifier' }
  | { type: 'nameColumns' };
