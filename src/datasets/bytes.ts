/** Bytes of a file as lines of text. */
import { isUtf8 } from 'node:buffer';

/** The text of `bytes`, and the offset in it of the first byte that is not UTF-8. */
export function decode(bytes: Uint8Array): { text: string; invalidAt?: number } {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  const encoded = Buffer.from(text);
  let at = encoded.findIndex((byte, i) => byte !== bytes[i]);
  if (at < 0) {
    return { text };
  }
  while ((encoded[at]! & 0xc0) === 0x80) {
    at--; // to the first byte of the replacement character
  }
  return { text, invalidAt: encoded.toString('utf8', 0, at).length };
}

/** The lines of a file's bytes, without their ends. */
export function* splitBytes(bytes: Uint8Array): Generator<Uint8Array> {
  const LF = 0x0a;
  const CR = 0x0d;
  let start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  while (start <= bytes.length) {
    const newline = bytes.indexOf(LF, start);
    const end = newline < 0 ? bytes.length : newline;
    yield bytes.subarray(start, newline > start && bytes[end - 1] === CR ? end - 1 : end);
    start = end + 1;
  }
}

/** The first line (from 1) that an editor would not write back as it is on the disk, and what it would change. */
export function findChangedBySaving(bytes: Buffer): { line: number; by: 'encoding' | 'lineEnds' } | undefined {
  let line = 1;
  for (const text of splitBytes(bytes)) {
    if (!isUtf8(text)) {
      return { line, by: 'encoding' };
    }
    line++;
  }
  line = 1;
  let usual: string | undefined;
  for (const [end] of bytes.toString('latin1').matchAll(/\r\n?|\n/g)) {
    usual ??= end;
    if (end !== usual || end === '\r') {
      return { line, by: 'lineEnds' };
    }
    line++;
  }
  return undefined;
}
