/** A drive that takes its time for every piece of a file, as one on a network may. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs, { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import promises from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { build } from 'esbuild';
import { python } from '../../scripts/paths.mjs';
import { DatasetTable, type TableServices } from '../../src/datasets/table/datasetTable';
import { moveOnDisk } from '../../src/datasets/table/moveOnDisk';
import type { TableSummary } from '../../src/datasets/table/tableProtocol';
import { ScoreCache } from '../../src/risk/cache';
import { Opinions } from '../../src/risk/opinions';

const PIECE_MS = 60;
const PIECE_BYTES = 1 << 20;
const STUCK_MS = 60_000;
const ROWS = 6000;
const PADDING = 'So it goes. '.repeat(100);

/** Files take so long to be read from, and give less than they are asked for, in whatever thread this stands. */
const slowly = (milliseconds: number): string => `{
  const promises = require('node:fs/promises');
  const { setTimeout } = require('node:timers/promises');
  const { open } = promises;
  promises.open = async (...how) => {
    const handle = await open(...how);
    const read = handle.read.bind(handle);
    handle.read = async (buffer, offset, length, at) => (await setTimeout(${milliseconds}), read(buffer, offset, Math.min(length, 700_000), at));
    return handle;
  };
}`;

describe('on a slow drive', function () {
  this.timeout(120_000);
  const folder = mkdtempSync(path.join(tmpdir(), 'slow-'));
  after(() => rmSync(folder, { recursive: true }));
  const inFolder = (name: string): string => path.join(folder, name);
  const pairs = Array.from({ length: ROWS }, (_, index) => ({ prompt: `Where is parcel ${index}? 👋`, completion: `On its way. ${PADDING}` }));
  const lines = pairs.map(pair => JSON.stringify(pair));

  before(async () => {
    for (const [name, banner] of [['fast', ''], ['slow', slowly(PIECE_MS)], ['stuck', slowly(STUCK_MS)]] as const) {
      await build({ entryPoints: [path.join(__dirname, '../../src/datasets/table/worker.ts')], outfile: inFolder(`${name}.cjs`), banner: { js: banner }, bundle: true, platform: 'node', logLevel: 'error' });
    }
    writeFileSync(inFolder('rows.jsonl'), `${lines.join('\n')}\n`);
    writeFileSync(inFolder('rows.json'), `[${lines.join(',\n')}]`);
    writeFileSync(inFolder('rows.csv'), `prompt,completion\n${pairs.map(({ prompt, completion }) => `"${prompt}","${completion}"`).join('\n')}\n`);
    const script = 'import json, sys, pyarrow as pa, pyarrow.parquet as pq; pq.write_table(pa.Table.from_pylist([json.loads(line) for line in open(sys.argv[1])]), sys.argv[2], compression="none", use_dictionary=False)';
    execFileSync(python, ['-c', script, inFolder('rows.jsonl'), inFolder('rows.parquet')]); // in one row group
  });

  async function opened(name: string, worker: 'fast' | 'slow' | 'stuck'): Promise<DatasetTable> {
    const log = { info: () => undefined, warn: assert.fail, error: assert.fail };
    const cache = new ScoreCache(inFolder('scores.bin'), log);
    const scorer = { judgeId: () => Promise.resolve('judge'), score: (asked: unknown[]) => Promise.resolve(asked.map(() => ({ risk: 0.1, refusal: false }))), readsContext: false };
    const services = { scorer, cache, opinions: new Opinions(inFolder('judged'), log), log, tableWorker: inFolder(`${worker}.cjs`), stalledAfterMs: 60_000, spoolFolder: () => Promise.resolve(folder) };
    return DatasetTable.open(inFolder(name), services as unknown as TableServices, { threshold: 0.5, reviewed: [], flag: true, expected: true, reading: 1 });
  }

  const namesOf = (table: DatasetTable) => table.call('names', { filter: 'all', order: 'file' }, Infinity);

  for (const name of ['rows.jsonl', 'rows.json', 'rows.csv', 'rows.parquet']) {
    it(`${name} is read and judged to its end, and asked for meanwhile`, async () => {
      const fast = await opened(name, 'fast');
      await fast.whenRead();
      const expected = await namesOf(fast);
      fast.dispose();
      assert.equal(expected.length, ROWS);

      const table = await opened(name, 'slow');
      let signs = 0; // of life: without one, reading is given up in the end
      const listening = table.onDidChange(() => signs++);
      const seen: TableSummary[] = [];
      let isRead = false;
      const reading = table.whenRead().finally(() => (isRead = true));
      while (!isRead) {
        seen.push(await table.call('summary'));
        await setTimeout(PIECE_MS / 3);
      }
      await reading;
      listening.dispose();
      assert.ok(signs >= statSync(inFolder(name)).size / PIECE_BYTES, `${signs} signs of life`);
      await table.judgeAll(new AbortController().signal);
      assert.deepEqual(await namesOf(table), expected);
      const { counts, read } = await table.call('summary');
      assert.deepEqual([read, counts.all, counts.unjudged, counts.malformed], [1, ROWS, 0, 0]);
      const shares = seen.map(summary => summary.read);
      assert.deepEqual(shares, [...shares].sort((a, b) => a - b));
      if (name !== 'rows.parquet') assert.ok(new Set(shares.filter(share => share > 0 && share < 1)).size >= 3, `progress ${shares.join()}`);
      table.dispose();
    });
  }

  it('judging ends at once when it is cancelled, and so does reading when the file is closed', async () => {
    for (const name of ['rows.jsonl', 'rows.csv', 'rows.parquet']) {
      const table = await opened(name, 'stuck');
      const cancelled = new AbortController();
      const judging = table.judgeAll(cancelled.signal);
      await setTimeout(100);
      const began = performance.now();
      cancelled.abort();
      await assert.rejects(judging, { name: 'AbortError' });
      const reading = table.whenRead();
      table.dispose();
      await assert.rejects(reading, /The file was closed/);
      assert.ok(performance.now() - began < STUCK_MS / 10);
    }
  });

  it('rows are moved without keeping the thread from anything else, or stay where they are', async () => {
    const { open } = promises;
    const looked: string[] = [];
    const originals = { openSync: fs.openSync, readSync: fs.readSync, statSync: fs.statSync, existsSync: fs.existsSync, readFileSync: fs.readFileSync };
    const pieces: number[] = [];
    promises.open = async (...how: Parameters<typeof open>) => {
      const handle = await open(...how);
      const read = handle.read.bind(handle) as (...what: unknown[]) => Promise<unknown>;
      return Object.assign(handle, { read: async (...what: unknown[]) => (await setTimeout(PIECE_MS), read(...what)) });
    };
    for (const [name, original] of Object.entries(originals)) {
      Object.assign(fs, { [name]: (...what: unknown[]) => (looked.push(name), (original as (...what: unknown[]) => unknown)(...what)) });
    }
    try {
      const table = await opened('rows.jsonl', 'fast');
      const [, second] = await table.whenRead(2).then(() => namesOf(table));
      table.dispose();
      looked.length = 0;
      const row = { path: inFolder('rows.jsonl'), ...second! };
      const cancelled = new AbortController();
      const onProgress = (share: number): void => void pieces.push(share);
      const stopped = moveOnDisk([row], inFolder('rows.quarantine.jsonl'), cancelled.signal, share => (onProgress(share), cancelled.abort()));
      await assert.rejects(stopped, { name: 'AbortError' });
      assert.equal(pieces.length, 1, 'it ends with the piece that is being read');
      await (await moveOnDisk([row], inFolder('rows.quarantine.jsonl'), new AbortController().signal, onProgress)).forget();
      assert.deepEqual(looked, [], 'nothing was waited for');
    } finally {
      promises.open = open;
      Object.assign(fs, originals);
    }
    assert.ok(new Set(pieces).size > 5);
    assert.equal(readFileSync(inFolder('rows.quarantine.jsonl'), 'utf8'), `${lines[1]}\n`);
    assert.equal(readFileSync(inFolder('rows.jsonl'), 'utf8'), `${lines.filter((_, index) => index !== 1).join('\n')}\n`);
    assert.deepEqual(readdirSync(folder).filter(name => name.endsWith('~') || name.endsWith('.tmp')), []);
  });
});
