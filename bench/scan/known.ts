/** A cache of scores that knows all rows of a file, written as the extension writes it. */
import path from 'node:path';
import { LineFile } from '../../src/datasets/table/sources';
import { ScoreCache } from '../../src/risk/cache';
import { Scorer } from '../../src/risk/scorer';

const root = process.cwd(); // npm run bench starts everything there
const log = { info: () => undefined, warn: console.error, error: console.error };

export async function rememberRows(file: string, cacheFile: string): Promise<void> {
  const cache = new ScoreCache(cacheFile, log);
  await cache.open(await judgeIdOf());
  for (const hash of await hashesOf(file)) cache.set(hash, { risk: 0.01, refusal: false, messageIndex: 0 });
  await cache.save();
}

async function judgeIdOf(): Promise<string> {
  const scorer = new Scorer({ workerFile: path.join(root, 'dist/worker.js'), folder: () => path.join(root, 'trainer/safe_finetuning/classifier'), log });
  const judgeId = await scorer.judgeId();
  scorer.dispose();
  return judgeId;
}

async function hashesOf(file: string): Promise<string[]> {
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
