import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { UserError } from '../../src/common/userError';
import { openSource } from '../../src/datasets/table/sources';

const FIXTURES = path.join(__dirname, '../fixtures/parquet');

describe('Parquet files', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(path.join(tmpdir(), 'parquet-'));
  after(() => rmSync(folder, { recursive: true }));

  async function linesOf(content: Uint8Array): Promise<string[]> {
    const file = path.join(folder, 'd.parquet');
    writeFileSync(file, content);
    const source = await openSource(file, path.join(folder, 'spool'));
    const lines = [];
    try {
      for await (const { records } of source.records()) lines.push(...records.map(({ text }) => text));
    } finally {
      source.close();
    }
    return lines;
  }

  for (const name of ['nested', 'flat', 'plain']) {
    const whole = readFileSync(path.join(FIXTURES, `${name}.parquet`));

    // What keeps the library busy for ever is the worker's affair (datasetTable.test.ts); with this seed nothing does.
    it(`of ${name} rows that are damaged are read, or said to be unreadable`, async () => {
      const edits = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
      for (const damages of fc.sample(edits, { numRuns: 120, seed: 1 })) {
        const bytes = Buffer.from(whole);
        for (const [at, value] of damages) bytes[at] = value;
        await linesOf(bytes).catch((error: unknown) => assert.ok(error instanceof UserError && /^d\.parquet cannot be read as Parquet: ./.test(error.message), String(error)));
      }
    });

    it(`of ${name} rows that end too early are said to be unreadable`, async () => {
      for (let size = 0; size < whole.length; size += 61) {
        await assert.rejects(linesOf(whole.subarray(0, size)), UserError, `${size} bytes`);
      }
      assert.equal((await linesOf(whole)).length, name === 'nested' ? 12 : 40);
    });
  }
});
