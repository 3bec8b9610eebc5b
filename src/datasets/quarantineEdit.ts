/** What moving rows from a dataset to its quarantine changes in both texts; nothing else changes. */

export interface Place {
  line: number;
  character: number;
}

export interface TextLines {
  lineCount: number;
  lineAt(line: number): string;
}

/** What to delete for `lines` (from 0) to be gone: each with its line end, which the last one has not. */
export function deletionsOf(lines: readonly number[], document: TextLines): { start: Place; end: Place }[] {
  return lines.map(line => ({
    start: { line, character: 0 },
    end:
      line + 1 < document.lineCount
        ? { line: line + 1, character: 0 }
        : { line, character: document.lineAt(line).length },
  }));
}

/** What to write at the end of a quarantine whose last line is `lastLine`. */
export function additionOf(rows: readonly string[], lastLine: string, eol: string): string {
  return (lastLine === '' ? '' : eol) + rows.map(row => row + eol).join('');
}
