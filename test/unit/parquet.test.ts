import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import fc from 'fast-check';
import { parquetMetadata } from 'hyparquet';
import { python } from '../../scripts/paths.mjs';
import { inputs } from './inputs';
import type { Read } from './parquetReader';

const FIXTURES = path.join(__dirname, '../fixtures/parquet');

const INPUTS = inputs(10_000);
const STALLED_MS = 3000;

/** Reads in a worker thread; undefined where that gets no further, which the worker of a table is ended for. */
class Reader {
  private worker: Worker | undefined;

  constructor(private readonly folder: string) {}

  async read(content: Uint8Array): Promise<Read | undefined> {
    this.worker ??= new Worker(path.join(this.folder, 'reader.cjs'), { workerData: this.folder });
    const ending = new AbortController();
    this.worker.postMessage(content);
    const found = await Promise.race([
      once(this.worker, 'message', { signal: ending.signal }).then(([read]) => read as Read),
      setTimeout(STALLED_MS, undefined, { signal: ending.signal }),
    ]);
    ending.abort();
    if (!found) await this.end();
    return found;
  }

  async end(): Promise<void> {
    await this.worker?.terminate();
    this.worker = undefined;
  }
}

function assertClear(found: Read | undefined): void {
  assert.ok(found && 'error' in found && found.isClear && /^UserError: d\.parquet cannot be read as Parquet: ./.test(found.error), JSON.stringify(found));
}

describe('Parquet files', function () {
  this.timeout(60 * INPUTS + 60_000);
  const folder = mkdtempSync(path.join(tmpdir(), 'parquet-'));
  const reader = new Reader(folder);
  before(() => build({ entryPoints: [path.join(__dirname, 'parquetReader.ts')], outfile: path.join(folder, 'reader.cjs'), bundle: true, platform: 'node', logLevel: 'error' }));
  after(async () => {
    await reader.end();
    rmSync(folder, { recursive: true });
  });

  for (const name of ['nested', 'flat', 'plain']) {
    const whole = readFileSync(path.join(FIXTURES, `${name}.parquet`));

    it(`of ${name} rows that are damaged are read, or said to be unreadable`, async () => {
      const edits = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
      for (const damages of fc.sample(edits, { numRuns: inputs(120), seed: 1 })) {
        const bytes = Buffer.from(whole);
        for (const [at, value] of damages) bytes[at] = value;
        const found = await reader.read(bytes);
        if (!found || 'error' in found) assertClear(found);
      }
    });

    it(`of ${name} rows that end too early are said to be unreadable`, async () => {
      for (let size = 0; size < whole.length; size += 61) assertClear(await reader.read(whole.subarray(0, size)));
      const found = await reader.read(whole);
      assert.equal(found && 'lines' in found && found.lines.length, name === 'nested' ? 12 : 40);
    });
  }

  it('of a codec that cannot be read say which it is', async () => {
    const whole = readFileSync(path.join(FIXTURES, 'flat.parquet'));
    const footer = whole.length - 8 - whole.readUInt32LE(whole.length - 8);
    const codecOf = (bytes: Buffer): string | undefined => {
      try {
        return parquetMetadata(Uint8Array.from(bytes).buffer).row_groups[0]!.columns[0]!.meta_data!.codec;
      } catch {
        return undefined; // it was another byte
      }
    };
    const withLzo = Array.from({ length: whole.length - 8 - footer }, (_, at) => {
      const bytes = Buffer.from(whole);
      bytes[footer + at] = 6; // 3, as Thrift writes it
      return bytes;
    });
    const found = await reader.read(withLzo.find(bytes => codecOf(bytes) === 'LZO')!);
    assertClear(found);
    assert.match((found as { error: string }).error, /LZO/);
  });

  it('of every kind are read as they were written; damaged, they are read to the end or said to be unreadable', async () => {
    const files = generated(INPUTS / 10);
    const byte = fc.tuple(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), fc.nat(255));
    const damages = fc.sample(fc.array(byte, { minLength: 1, maxLength: 4 }), { numRuns: 9 * files.length, seed: 1 });
    const counts = { whole: 0, read: 0, unreadable: 0, stalled: 0 };
    for (const [index, { bytes, rows }] of files.entries()) {
      const whole = await reader.read(bytes);
      assert.ok(whole && 'lines' in whole, `file ${index}: ${JSON.stringify(whole)}`);
      assert.deepEqual(whole.lines.map(line => withoutNull(JSON.parse(line) as object)), rows.map(withoutNull), `file ${index}`);
      counts.whole++;
      for (const damage of damages.slice(9 * index, 9 * index + 9)) {
        const damaged = Buffer.from(bytes);
        for (const [at, value] of damage) damaged[Math.floor(at * bytes.length)] = value;
        const found = await reader.read(damaged);
        if (!found) {
          counts.stalled++;
        } else if ('lines' in found) {
          counts.read++;
          assert.equal(found.lines.length, rows.length, 'no row is lost');
          for (const line of found.lines) assert.equal(typeof JSON.parse(line), 'object');
        } else {
          counts.unreadable++;
          assertClear(found);
        }
      }
    }
    assert.equal(counts.whole + counts.read + counts.unreadable + counts.stalled, INPUTS);
    assert.ok(Math.min(counts.read, counts.unreadable) > INPUTS / 50 && counts.stalled < INPUTS / 100, JSON.stringify(counts));
  });
});

function generated(count: number): { bytes: Uint8Array; rows: object[] }[] {
  const written = execFileSync(python, [path.join(FIXTURES, 'generate.py'), '1', String(count)], { maxBuffer: 1e9 });
  const parts: Buffer[] = [];
  for (let at = 0; at < written.length; at += 4 + parts.at(-1)!.length) parts.push(written.subarray(at + 4, at + 4 + written.readUInt32LE(at)));
  return Array.from({ length: count }, (_, index) => ({ bytes: parts[2 * index]!, rows: JSON.parse(parts[2 * index + 1]!.toString()) as object[] }));
}

/** What is nothing is left out of a row where its column has parts. */
const withoutNull = (row: object): object => Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null));
