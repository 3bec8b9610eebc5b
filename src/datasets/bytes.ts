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

export const LF = 0x0a;
export const CR = 0x0d;

/** Finds the ends of lines as an editor does: LF, CR LF, or CR alone. */
export class LineEnds {
  private lf = -1;
  private cr = -1;

  constructor(private readonly bytes: Uint8Array) {}

  /** The next one at `start` or behind: where it is, and where the next line begins. To be asked in ascending order. */
  next(start: number): { end: number; after: number } | undefined {
    const { bytes } = this;
    if (this.lf < start) this.lf = orEnd(bytes.indexOf(LF, start));
    if (this.cr < start) this.cr = orEnd(bytes.indexOf(CR, start)); // once, where there is none
    const end = Math.min(this.lf, this.cr);
    if (end === Infinity) return undefined;
    return { end, after: end + (this.lf === end + 1 && this.cr === end ? 2 : 1) };
  }
}

const orEnd = (index: number): number => (index < 0 ? Infinity : index);

/** The lines of a file's bytes, without their ends. */
export function* splitBytes(bytes: Uint8Array): Generator<Uint8Array> {
  const ends = new LineEnds(bytes);
  let start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  for (let found = ends.next(start); found; found = ends.next(start)) {
    yield bytes.subarray(start, found.end);
    start = found.after;
  }
  yield bytes.subarray(start);
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
