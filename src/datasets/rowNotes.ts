/** What others know of a dataset's rows, to be shown beside them. */
import type { Listen } from '../common/emitter';

export interface RowNote {
  /** Shown behind the row; undefined where it is said in the hover alone. */
  label: string | undefined;
  /** A sentence for the hover. */
  describe(): string;
}

export interface RowNotes {
  /** By content hash; undefined where nothing is known of the file. */
  of(file: string): ReadonlyMap<string, RowNote> | undefined;
  onDidChange: Listen<void>;
}
