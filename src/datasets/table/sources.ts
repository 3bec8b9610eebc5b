/**
 * Where the records of a dataset file come from, and how each is read again when it is looked at. JSON Lines are
 * read by byte offsets, and Parquet files as JSON Lines that are put aside on the disk, so that memory stays flat;
 * the other formats are kept as text. A file is read in pieces, none of which blocks its thread: its drive may be slow.
 */
import { constants, isUtf8 } from 'node:buffer';
import { closeSync, openSync, readSync, rmSync, writeSync, type Stats } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { parquetMetadataAsync, parquetReadObjects, parquetSchema, type AsyncBuffer, type Compressors, type FileMetaData } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { Pace } from '../../common/pace';
import { UserError } from '../../common/userError';
import { collectGarbage } from '../../common/workers';
import { CR, decode, LF, LineEnds } from '../bytes';
import { columnNamesOf, type ColumnNames } from '../columnNames';
import type { Broken, Format } from '../formats/format';
import { jsonLines } from '../formats/jsonLines';
import { findUndecodable, invalidUtf8, isUtf16, readDocument, textSource, UTF16_REASON, type Reading } from '../reading';
import type { Problem } from '../rows';

export interface SourceText {
  text: string;
  /** What is wrong with its bytes. */
  problem?: Problem;
}

export interface SourceRecord extends SourceText {
  /** Where it stands, and how long it is, in the source's own unit. */
  offset: number;
  size: number;
  /** From 1; of a Parquet file the number of the row. */
  line: number;
}

/** `share`: how much of the file has been read by then. */
export interface SourcePart {
  records: SourceRecord[];
  share: number;
}

export interface RecordSource {
  readonly format: Format;
  /** Whether what stands around the rows says that they are conversations. */
  readonly announced: boolean;
  /** From where on the file cannot be read; known once all records have come. */
  readonly broken: Broken | undefined;
  /** Every record once, in order; a part may have none, and only say that reading goes on. */
  records(): AsyncIterable<SourcePart>;
  textAt(offset: number, size: number): SourceText;
  close(): Promise<void>;
}

const CHUNK_BYTES = 1 << 20;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/**
 * `spool` is a file that may be written and is removed in the end; `goesOn` is called while a long part is being read.
 * Rejects where `file` cannot be read.
 */
export async function openSource(file: string, spool: string, goesOn: () => void = () => undefined): Promise<RecordSource> {
  const extension = path.extname(file).toLowerCase();
  if (extension === '.parquet') return new ParquetRows(file, await columnNamesOf(file), spool, goesOn);
  await refuseUtf16(file);
  if (['.json', '.csv', '.tsv'].includes(extension)) return new TextFile(file, await open(file));
  return LineFile.open(file);
}

async function refuseUtf16(file: string): Promise<void> {
  const handle = await open(file);
  const { buffer } = await handle.read(Buffer.alloc(2), 0, 2, 0).finally(() => handle.close());
  if (isUtf16(buffer)) throw new UserError(`${path.basename(file)}: ${UTF16_REASON}`);
}

/** Reads from `at` on until the buffer is full or the file ends: a drive may give less at a time. Returns how much. */
async function fill(buffer: Buffer, handle: FileHandle, at: number): Promise<number> {
  for (let filled = 0; ; ) {
    const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, at + filled);
    filled += bytesRead;
    if (bytesRead === 0 || filled === buffer.length) return filled;
  }
}

/** JSON Lines, of which nothing is kept but where they stand. */
export class LineFile implements RecordSource {
  readonly format: Format;
  readonly announced: boolean;
  readonly broken = undefined;

  private constructor(
    private readonly handle: FileHandle,
    names: ColumnNames | undefined,
  ) {
    this.format = jsonLines(names);
    this.announced = names !== undefined;
  }

  static async open(file: string): Promise<LineFile> {
    const names = await columnNamesOf(file);
    return new LineFile(await open(file), names);
  }

  async *records(): AsyncGenerator<SourcePart> {
    const { size } = await this.handle.stat();
    let line = 0;
    let rest: Buffer[] = []; // of a line that goes on in the next chunk
    let offset = 0; // where that line begins
    let isAfterCr = false; // a line end that may go on in the next chunk
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    for (let at = 0; at <= size; ) {
      const read = await fill(chunk, this.handle, at);
      const records: SourceRecord[] = [];
      const ends = new LineEnds(chunk.subarray(0, read));
      let start = at === 0 && chunk.subarray(0, 3).equals(BYTE_ORDER_MARK) ? 3 : 0;
      if (isAfterCr && read > 0 && chunk[0] === LF) start = 1;
      if (rest.length === 0) offset = at + start;
      for (;;) {
        const found = ends.next(start);
        const piece = chunk.subarray(start, found?.end ?? read);
        if (!found && read === CHUNK_BYTES) {
          if (piece.length > 0) rest.push(Buffer.from(piece)); // before the next chunk is read over it
          break;
        }
        rest.push(piece);
        const bytes = rest.length === 1 ? rest[0]! : Buffer.concat(rest);
        line++;
        const text = textOf(bytes);
        // Lines of spaces and tabs are no rows.
        if (text.problem || /[^ \t]/.test(text.text)) records.push({ offset, size: bytes.length, line, ...text });
        rest = [];
        if (!found) break;
        start = found.after;
        offset = at + start;
      }
      isAfterCr = rest.length === 0 && chunk[read - 1] === CR;
      at += read;
      yield { records, share: size === 0 ? 1 : Math.min(1, at / size) };
      if (read < CHUNK_BYTES) return;
    }
  }

  textAt(offset: number, size: number): SourceText {
    const bytes = Buffer.allocUnsafe(size);
    const read = readSync(this.handle.fd, bytes, 0, size, offset);
    return textOf(bytes.subarray(0, read));
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

function textOf(bytes: Buffer): SourceText {
  if (bytes.length > constants.MAX_STRING_LENGTH) return { text: '', problem: { code: 'not-json', offset: 0, reason: l10n.t('The line is longer than any text can be. Is it a row at all?') } };
  if (isUtf8(bytes)) return { text: bytes.toString('utf8') };
  const { text, invalidAt } = decode(bytes);
  return { text, problem: invalidUtf8(invalidAt!) };
}

/** Formats whose records say what they are only as parts of the whole. */
class TextFile implements RecordSource {
  private reading: Reading | undefined;

  constructor(
    private readonly file: string,
    private readonly handle: FileHandle,
  ) {}

  get format(): Format {
    return this.reading!.format; // nobody asks before there are records
  }

  get announced(): boolean {
    return this.reading?.announced ?? false;
  }

  get broken(): Broken | undefined {
    return this.reading?.broken;
  }

  /** First the bytes, then what they are. */
  async *records(): AsyncGenerator<SourcePart> {
    const { size } = await this.handle.stat();
    const bytes = this.orTooLarge(() => Buffer.allocUnsafe(size));
    let filled = 0;
    while (filled < size) {
      const { bytesRead } = await this.handle.read(bytes, filled, Math.min(CHUNK_BYTES, size - filled), filled);
      if (bytesRead === 0) break; // it was cut meanwhile
      filled += bytesRead;
      yield { records: [], share: (0.5 * filled) / size };
    }
    const { records } = (this.reading = await this.readDocument(bytes.subarray(0, filled)));
    const pace = new Pace();
    for (let first = 0; first < records.length; first += 1000) {
      await pace.step();
      yield {
        records: records.slice(first, first + 1000).map(({ start, text, read }, index) => ({
          offset: first + index,
          size: 1,
          line: start.line + 1,
          text,
          ...('problem' in read && { problem: read.problem }),
        })),
        share: Math.min(1, 0.5 + (0.5 * (first + 1000)) / records.length),
      };
    }
  }

  textAt(offset: number): SourceText {
    const { text, read } = this.reading!.records[offset]!;
    return { text, ...('problem' in read && { problem: read.problem }) };
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  private async readDocument(bytes: Buffer): Promise<Reading> {
    const text = this.orTooLarge(() => new TextDecoder().decode(bytes));
    const { signal } = new AbortController();
    const undecodable = await findUndecodable(bytes, true);
    return readDocument(this.file, await textSource(text, signal), undefined, undecodable, signal);
  }

  private orTooLarge<T>(make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (!(error instanceof RangeError) && !['ERR_ENCODING_INVALID_ENCODED_DATA', 'ERR_STRING_TOO_LONG'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      throw new UserError(l10n.t`${path.basename(this.file)} is too large to be read as a whole, as this format is. Write it as JSON Lines or Parquet.`);
    }
  }
}

const ROWS_AT_A_TIME = 1000;
/** Decoded at a time. Pages of a flat column can be skipped; a nested one is decoded anew, as a whole, for each part. */
const PARTS = { flat: { bytes: 1.5e6, leastRows: 1000 }, nested: { bytes: 32e6, leastRows: 2000 } };
/** Of a smaller file nothing piles up that would be worth the time. */
const SMALL_BYTES = 1e6;
/** As the trainer reads them: a byte order mark is part of a text, JSON is text, what is no UTF-8 is an error. */
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });
const decoded = (bytes: Uint8Array | undefined): string | undefined => bytes && utf8.decode(bytes);
/** Of nothing, LZ4 makes a byte over which its reader here stumbles. */
const decompressors: Compressors = Object.fromEntries(
  Object.entries(compressors).map(([codec, decompress]) => [codec, (bytes: Uint8Array, length: number) => (length === 0 ? new Uint8Array() : decompress(bytes, length))]),
);
const parsers = { stringFromBytes: decoded, jsonFromBytes: decoded };

/**
 * Columns are decoded at once, and the library waits for the first that is damaged: nobody hears of the others, and
 * Node.js would end the thread before it has said what is wrong. For a thread that does nothing but read.
 */
export const ignoreLaterColumns = (): void => void process.on('unhandledRejection', () => undefined);

/** The rows of a Parquet file, decoded once into a file of JSON Lines from which they are read again. */
class ParquetRows implements RecordSource {
  readonly format: Format;
  readonly announced: boolean;
  readonly broken = undefined;
  private readonly descriptor: number;

  constructor(
    private readonly file: string,
    names: ColumnNames | undefined,
    private readonly spool: string,
    private readonly goesOn: () => void,
  ) {
    this.format = jsonLines(names);
    this.announced = names !== undefined;
    this.descriptor = openSync(spool, 'w+', 0o600);
  }

  async *records(): AsyncGenerator<SourcePart> {
    const name = path.basename(this.file);
    const handle = await open(this.file);
    try {
      const whole = bytesOf(handle, (await handle.stat()).size, this.goesOn);
      const metadata = await parquetMetadataAsync(whole);
      const total = Number(metadata.num_rows);
      const forget = whole.byteLength > SMALL_BYTES ? collectGarbage : () => undefined;
      const columns = parquetSchema(metadata).children.map(({ element }) => element.name);
      if (new Set(columns).size < columns.length) throw new Error(l10n.t('two columns have the same name'));
      let offset = 0;
      let row = 0;
      let file = whole;
      for (const { startsGroup, ...range } of partsOf(metadata)) {
        if (startsGroup) {
          file = readOnce(whole);
          forget(); // the bytes of the group before, before there are those of this one
        }
        // `utf8: false`: bytes that are not marked as text are none, as in the trainer.
        const found = await parquetReadObjects({ file, metadata, compressors: decompressors, parsers, utf8: false, ...range });
        if (found.length === 0) throw new Error(l10n.t`the file ends after row ${row} of ${total}`);
        for (let first = 0; first < found.length; first += ROWS_AT_A_TIME) {
          const lines: Buffer[] = [];
          const start = offset;
          const records = found.slice(first, first + ROWS_AT_A_TIME).map((value): SourceRecord => {
            const text = asLine(value);
            const size = lines[lines.push(Buffer.from(text)) - 1]!.length;
            const record = { offset, size, line: ++row, text };
            offset += size;
            return record;
          });
          writeSync(this.descriptor, Buffer.concat(lines), 0, offset - start, start);
          yield { records, share: row / total };
        }
        forget();
      }
      if (row < total) throw new Error(l10n.t`the file ends after row ${row} of ${total}`);
    } catch (error) {
      const isOfTheFile = error instanceof Error && error.constructor === Error; // others are what damage makes the library stumble over
      throw new UserError(l10n.t`${name} cannot be read as Parquet: ${isOfTheFile ? error.message : 'it is damaged'}.`);
    } finally {
      await handle.close();
    }
  }

  textAt(offset: number, size: number): SourceText {
    const bytes = Buffer.allocUnsafe(size);
    readSync(this.descriptor, bytes, 0, size, offset);
    return { text: bytes.toString('utf8') };
  }

  close(): Promise<void> {
    closeSync(this.descriptor);
    rmSync(this.spool, { force: true }); // at once, as the thread may be ending
    return Promise.resolve();
  }
}

/** Every stretch is there once; hyparquet's own reader copies it twice. */
function bytesOf(handle: FileHandle, byteLength: number, goesOn: () => void): AsyncBuffer {
  return {
    byteLength,
    async slice(start, end = byteLength) {
      const bytes = new Uint8Array(end - start);
      for (let at = 0; at < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, at, Math.min(CHUNK_BYTES, bytes.length - at), start + at);
        if (bytesRead === 0) throw new Error(l10n.t('it ends too early'));
        at += bytesRead;
        goesOn();
      }
      return bytes.buffer;
    },
  };
}

/** For the parts of one row group, of which each asks for the same stretches. */
function readOnce(file: AsyncBuffer): AsyncBuffer {
  const known = new Map<string, ReturnType<AsyncBuffer['slice']>>();
  return {
    byteLength: file.byteLength,
    slice(start, end) {
      const stretch = `${start} ${end}`;
      const bytes = known.get(stretch) ?? file.slice(start, end);
      known.set(stretch, bytes);
      return bytes;
    },
  };
}

/** Rows that are decoded at a time, all of one row group. */
function* partsOf(metadata: FileMetaData): Generator<{ rowStart: number; rowEnd: number; startsGroup: boolean }> {
  const { row_groups: groups } = metadata;
  const isFlat = parquetSchema(metadata).children.every(({ children, element }) => children.length === 0 && element.repetition_type !== 'REPEATED');
  const part = isFlat ? PARTS.flat : PARTS.nested;
  let start = 0;
  for (const { num_rows: rows, total_byte_size: bytes } of groups) {
    const end = start + Number(rows);
    const step = Math.max(part.leastRows, Math.floor((part.bytes * Number(rows)) / Math.max(1, Number(bytes))));
    for (let rowStart = start; rowStart < end; rowStart += step) yield { rowStart, rowEnd: Math.min(end, rowStart + step), startsGroup: rowStart === start };
    start = end;
  }
}

/** What is no text, and not nothing, stays so, as it is in the trainer: a date, bytes, a number that JSON has not. */
function asLine(row: object): string {
  return JSON.stringify(row, function (this: Record<string, unknown>, key, value: unknown) {
    const plain = this[key]; // before a date made itself a text
    if (plain instanceof Date) return { date: value };
    if (plain instanceof Uint8Array) return { bytes: plain.length };
    if (typeof plain === 'number' && !Number.isFinite(plain)) return { number: String(plain) };
    return typeof value === 'bigint' ? Number(value) : value;
  });
}

/** Says which file it is and as of when. */
export const stampOf = ({ size, mtimeMs, ino }: Stats): string => `${ino} ${size} ${mtimeMs}`;

/** Undefined where there is no such file. */
export const stampIfThere = (file: string): Promise<string | undefined> => stat(file).then(stampOf, () => undefined);
