/** JSON Lines: each line is a row. Lines of spaces and tabs are none. */
import type { Pace } from '../../common/pace';
import { moreLines, wholeLines, type Format, type LineSource, type RecordText, type Scan } from './format';
import { readJson, replacingInJson, spanInJson } from './jsonRecord';

const JSON_LINES: Format = {
  id: 'jsonl',
  read: readJson,
  spanOf: spanInJson,
  replacing: replacingInJson,
  removing: wholeLines,
  adding: (_, texts, lines, eol) => moreLines(texts, lines, eol),
  empty: () => '',
};

export async function scanJsonLines({ lineCount, lineAt }: LineSource, pace: Pace, signal?: AbortSignal): Promise<Scan> {
  const records: RecordText[] = [];
  for (let line = 0; line < lineCount; line++) {
    const text = lineAt(line);
    if (/[^ \t\r]/.test(text)) records.push({ start: { line, character: 0 }, text });
    await pace.step(signal);
  }
  return { format: JSON_LINES, records, broken: undefined };
}
