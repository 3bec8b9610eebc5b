import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatasetTable, type TableServices } from '../../src/datasets/table/datasetTable';

describe('the worker of a table', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'worker-'));
  after(() => rmSync(folder, { recursive: true }));

  const opened = (script: string): Promise<DatasetTable> => {
    const tableWorker = path.join(folder, 'worker.cjs');
    writeFileSync(tableWorker, script);
    const services = { tableWorker, stalledAfterMs: 600, spoolFolder: () => Promise.resolve(folder) } as unknown as TableServices;
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
});
