/** Worker thread that reads Parquet files as the worker of a table does: what keeps it busy for ever can be ended. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { UserError } from '../../src/common/userError';
import { ignoreLaterColumns, openSource } from '../../src/datasets/table/sources';

export type Read = { lines: string[] } | { error: string; isClear: boolean };

ignoreLaterColumns();

async function read(content: Uint8Array): Promise<Read> {
  const [file, spool] = ['d.parquet', 'spool'].map(name => path.join(workerData as string, name));
  writeFileSync(file!, content);
  const source = await openSource(file!, spool!);
  const lines: string[] = [];
  try {
    for await (const { records } of source.records()) lines.push(...records.map(({ text }) => text));
    return { lines };
  } catch (error) {
    return { error: String(error), isClear: error instanceof UserError };
  } finally {
    await source.close();
  }
}

parentPort!.on('message', (content: Uint8Array) => void read(content).then(found => parentPort!.postMessage(found)));
