/** Texts as the documents that an editor would show of them. */
import { isUtf8 } from 'node:buffer';
import type { TextSource } from '../../src/datasets/formats';
import { findUndecodable, readDocument, type Reading } from '../../src/datasets/reading';

const { signal } = new AbortController();

export function sourceOf(text: string): TextSource {
  const lines = text.split(/(?<=\n|\r(?!\n))/);
  if (text === '' || /[\r\n]$/.test(text)) lines.push('');
  return { lineCount: lines.length, lineAt: index => lines[index]!.replace(/(\r\n|\r|\n)$/, ''), textOf: (from, to) => lines.slice(from, to).join('') };
}

export const readText = (text: string, file = 'rows.jsonl', previous?: Reading): Promise<Reading> =>
  readDocument(file, sourceOf(text), previous, undefined, signal);

export async function readBytes(bytes: Uint8Array, file = 'rows.jsonl'): Promise<Reading> {
  const text = new TextDecoder().decode(bytes); // without the byte order mark
  return readDocument(file, sourceOf(text), undefined, isUtf8(bytes) ? undefined : await findUndecodable(bytes, true), signal);
}
