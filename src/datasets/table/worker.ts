/**
 * Worker-thread entry that holds the table of one dataset file, so that reading it never blocks the extension
 * host. Started with `TableWorkerData`; answers `TableRequest`s, and says how far reading has come.
 */
import '../../common/workerLanguage';
import { parentPort, workerData } from 'node:worker_threads';
import { errorText } from '../../common/log';
import { ignoreLaterColumns, openSource } from './sources';
import { FileChanged, Table } from './table';
import { FILE_GONE, type TableReply, type TableRequest, type TableWorkerData } from './tableProtocol';

const reply = (message: TableReply): void => parentPort!.postMessage(message);

async function serve(data: TableWorkerData): Promise<void> {
  let rows = 0;
  const source = await openSource(data.file, data.spool, () => reply({ rows, done: false }));
  process.once('exit', () => void source.close());
  const table = new Table(source, data);
  parentPort!.on('message', (request: TableRequest) => {
    try {
      const calls = table as unknown as Record<string, (...args: unknown[]) => unknown>;
      reply({ id: request.id, value: calls[request.call]!(...request.args) });
    } catch (error) {
      reply({ id: request.id, failed: errorText(error), changed: error instanceof FileChanged });
    }
  });
  await table.readAll(read => reply({ rows: (rows = read), done: false }));
  reply({ rows, done: true });
}

ignoreLaterColumns();
serve(workerData as TableWorkerData).catch((error: unknown) => {
  const { code, path } = error as NodeJS.ErrnoException;
  const isGone = code === 'ENOENT' && path === (workerData as TableWorkerData).file;
  reply({ unreadable: isGone ? FILE_GONE : errorText(error) });
});
