/**
 * Worker-thread entry that reads a Parquet file as JSON Lines, one row a line, so that decoding never blocks the
 * extension host. Started with `ParquetRequest`; posts `ParquetReply`s, the last of which is `end` or `failed`.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';

export interface ParquetRequest {
  file: string;
  /** No more rows are read once their text is as long as this. */
  mostCharacters: number;
}

export type ParquetReply =
  | { lines: string }
  /** How many rows were read, and how many there are. */
  | { end: { rows: number; total: number } }
  | { failed: string };

const ROWS_AT_A_TIME = 5000;
/** As the trainer reads them: a byte order mark is part of a text, JSON is text, what is no UTF-8 is an error. */
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && utf8.decode(bytes);
const parsers = { stringFromBytes: text, jsonFromBytes: text };

const reply = (message: ParquetReply): void => parentPort!.postMessage(message);

async function read({ file, mostCharacters }: ParquetRequest): Promise<void> {
  const buffer = await asyncBufferFromFile(file);
  const metadata = await parquetMetadataAsync(buffer);
  const total = Number(metadata.num_rows);
  const names = parquetSchema(metadata).children.map(({ element }) => element.name);
  if (new Set(names).size < names.length) throw new Error('two columns have the same name');
  let rows = 0;
  for (let characters = 0; rows < total && characters < mostCharacters; ) {
    // `utf8: false`: bytes that are not marked as text are none, as in the trainer.
    const found = await parquetReadObjects({ file: buffer, metadata, compressors, parsers, utf8: false, rowStart: rows, rowEnd: Math.min(total, rows + ROWS_AT_A_TIME) });
    if (found.length === 0) throw new Error(`the file ends after row ${rows} of ${total}`);
    const lines = found.map(row => `${asLine(row)}\n`).join('');
    reply({ lines });
    characters += lines.length;
    rows += found.length;
  }
  reply({ end: { rows, total } });
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

read(workerData as ParquetRequest).catch((error: Error) => reply({ failed: error.message }));
