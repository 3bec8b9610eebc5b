/** JSON Lines: each line is a row. Lines of spaces and tabs are none. */
import type { ColumnNames } from '../columnNames';
import { moreLines, wholeLines, type Format, type LineSource, type RecordText, type Scan, type ScanOptions } from './format';
import { jsonRecord } from './jsonRecord';

export const jsonLines = (names: ColumnNames | undefined): Format => ({
  id: `jsonl ${names?.id ?? ''}`,
  isOfLines: true,
  ...jsonRecord(names),
  removing: wholeLines,
  adding: (_, texts, lines, eol) => moreLines(texts, lines, eol),
  empty: () => '',
});

export async function scanJsonLines({ lineCount, lineAt }: LineSource, { names, pace, signal }: ScanOptions): Promise<Scan> {
  const records: RecordText[] = [];
  for (let line = 0; line < lineCount; line++) {
    const text = lineAt(line);
    if (/[^ \t]/.test(text)) records.push({ start: { line, character: 0 }, text });
    await pace.step(signal);
  }
  return { format: jsonLines(names), records, broken: undefined, announced: names !== undefined };
}
