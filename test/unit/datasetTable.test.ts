import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatasetTable, type TableServices } from '../../src/datasets/table/datasetTable';
import { ScoreCache } from '../../src/risk/cache';
import { Opinions } from '../../src/risk/opinions';
import { ProbeUnavailable, type PairJudge } from '../../src/risk/scorer';

describe('the worker of a table', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'worker-'));
  after(() => rmSync(folder, { recursive: true }));

  const opened = (script: string, judging: Partial<TableServices> = {}): Promise<DatasetTable> => {
    const tableWorker = path.join(folder, 'worker.cjs');
    writeFileSync(tableWorker, script);
    const services = { tableWorker, stalledAfterMs: 600, spoolFolder: () => Promise.resolve(folder), ...judging } as unknown as TableServices;
    return DatasetTable.open(path.join(folder, 'd.parquet'), services, { threshold: 0.5, reviewed: [], flag: true, expected: true, reading: 1 });
  };
  const said = (reply: string): string => `require('node:worker_threads').parentPort.postMessage(${reply});`;

  it('is ended when it gets no further, and the file is said to be damaged', async () => {
    const table = await opened(`${said('{ rows: 7, done: false }')} setTimeout(() => { for (;;); }, 50);`);
    await assert.rejects(table.whenRead(), /d\.parquet: nothing more could be read for 1 s, after 7 rows\. The file may be damaged/);
    await assert.rejects(table.call('summary'), /nothing more could be read/);
    table.dispose();
  });

  it('may be silent for as long as it likes once all rows are read', async () => {
    const table = await opened(`${said('{ rows: 7, done: true }')} require('node:worker_threads').parentPort.on('message', ({ id }) => { ${said("{ id, value: 'here' }")} });`);
    await table.whenRead();
    await new Promise(resolve => setTimeout(resolve, 800));
    assert.equal(await table.call('summary'), 'here');
    table.dispose();
  });

  it('has rows judged by the probe that judges the file, and by the classifier what that cannot judge', async () => {
    const logged: string[] = [];
    const log = { info: () => undefined, warn: (message: string) => logged.push(message), error: (message: string) => logged.push(message) };
    const judgeOf = (risk: (context: boolean) => number): PairJudge => ({
      judgeId: () => Promise.resolve('judge'),
      score: pairs => Promise.resolve(pairs.map(({ context }) => ({ risk: risk((context?.length ?? 0) > 0), refusal: false }))),
      readsContext: true,
    });
    const row = (record: number, ...roles: string[]): object => ({ record, hash: `${record}`.repeat(16), messages: roles.map(role => ({ role, content: 'Text.' })) });
    const rows = JSON.stringify([row(1, 'user', 'assistant'), row(2, 'text')]);
    const worker = `const judged = []; ${said('{ rows: 2, done: true }')}
      require('node:worker_threads').parentPort.on('message', ({ id, call, args }) => {
        if (call === 'know') judged.push(...args[0].map(({ record, risk }) => [record, risk]));
        ${said(`{ id, value: { unjudged: { rows: ${rows} }, messages: ${rows}, summary: judged }[call] }`)}
      });`;
    const judgedBy = async (name: string, probe: PairJudge): Promise<unknown> => {
      const opinions = new Opinions(path.join(folder, name), log);
      await opinions.set(path.join(folder, 'd.parquet'), { judge: 'probe', probe: { folder, judgeId: name }, rows: new Map() });
      const cache = new ScoreCache(path.join(folder, `${name}.bin`), log);
      await cache.open('judge');
      cache.set('1'.repeat(16), { risk: 0.1, refusal: false, messageIndex: 0 }); // what the classifier knows does not keep the probe from being asked
      const scorer = { ...judgeOf(() => 0.1), readsContext: false, probe: () => probe } as unknown as TableServices['scorer'];
      const table = await opened(worker, { scorer, cache, opinions, log, stalledAfterMs: 60_000 });
      await table.whenRead();
      await table.judgeAll(new AbortController().signal);
      const judged: unknown = await table.call('summary');
      [table, cache, opinions].forEach(each => each.dispose());
      return judged;
    };
    assert.deepEqual(await judgedBy('whole', judgeOf(context => (context ? 0.9 : NaN))), [[1, 0.9], [2, 0.1]]);
    const unavailable = { ...judgeOf(() => 0), score: () => Promise.reject(new ProbeUnavailable('It is damaged.')) };
    assert.deepEqual(await judgedBy('damaged', unavailable), [[1, 0.1], [2, 0.1]]);
    assert.match(logged.join(), /the bundled classifier judges rows that are new\. It is damaged\./);
  });
});
