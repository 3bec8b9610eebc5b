/** What a cache of scores that knows a file has to say. */
import path from 'node:path';
import { LineFile } from '../../src/datasets/table/sources';
import { Scorer } from '../../src/risk/scorer';

const root = process.cwd(); // npm run bench starts everything there

export async function judgeIdOf(): Promise<string> {
  const log = { info: () => undefined, warn: console.error, error: console.error };
  const scorer = new Scorer({ workerFile: path.join(root, 'dist/worker.js'), folder: () => path.join(root, 'trainer/safe_finetuning/classifier'), log });
  const judgeId = await scorer.judgeId();
  scorer.dispose();
  return judgeId;
}

export async function hashesOf(file: string): Promise<string[]> {
  const source = await LineFile.open(file);
  const hashes: string[] = [];
  for await (const { records } of source.records()) {
    for (const { text } of records) {
      const read = source.format.read(text);
      if ('row' in read) hashes.push(read.row.hash);
    }
  }
  await source.close();
  return hashes;
}
