/** What moving rows from a dataset to its quarantine changes in both texts; nothing else changes. */
import { isUtf8 } from 'node:buffer';
import { splitBytes } from './rows';

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

/** The first line (from 1) that an editor would not write back as it is on the disk, why, and what to do. */
export function findChangedBySaving(bytes: Buffer): { line: number; reason: string; remedy: string } | undefined {
  let line = 1;
  for (const text of splitBytes(bytes)) {
    if (!isUtf8(text)) {
      return { line, reason: 'is not valid UTF-8: saving the file would replace its bytes', remedy: 'Mend the line and save the file' };
    }
    line++;
  }
  line = 1;
  let usual: string | undefined;
  for (const [end] of bytes.toString('latin1').matchAll(/\r\n?|\n/g)) {
    usual ??= end;
    if (end !== usual || end === '\r') {
      return { line, reason: 'ends with another line end: saving the file would make all of them alike', remedy: 'Save the file with LF or CRLF throughout' };
    }
    line++;
  }
  return undefined;
}
