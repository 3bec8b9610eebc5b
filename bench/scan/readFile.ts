/** Reads and judges one file as the extension does, and prints what it took: FILE FOLDER. */
import path from 'node:path';
import { ScoreCache } from '../../src/risk/cache';
import { Opinions } from '../../src/risk/opinions';
import { Scorer } from '../../src/risk/scorer';
import { DatasetTable } from '../../src/datasets/table/datasetTable';

const [file, folder] = process.argv.slice(2) as [string, string];
const root = process.cwd(); // npm run bench starts everything there
const log = { info: () => undefined, warn: console.error, error: console.error };
const MEGABYTE = 1024 * 1024;

async function main(): Promise<void> {
  const scorer = new Scorer({ workerFile: path.join(root, 'dist/worker.js'), folder: () => path.join(root, 'trainer/safe_finetuning/classifier'), log });
  const cache = new ScoreCache(path.join(folder, 'scores.txt'), log);
  const opinions = new Opinions(path.join(folder, 'judged'), log);
  const services = { scorer, cache, opinions, log, tableWorker: path.join(root, 'dist/tableWorker.js'), stalledAfterMs: 60_000, spoolFolder: () => Promise.resolve(folder) };
  let peak = 0;
  const sampling = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 50);
  const before = performance.now();
  const table = await DatasetTable.open(file, services, { threshold: 0.5, reviewed: [], flag: true, expected: true, reading: 1 });
  await table.judgeAll(new AbortController().signal);
  const seconds = (performance.now() - before) / 1000;
  const { counts } = await table.call('summary');
  clearInterval(sampling);
  if (counts.unjudged > 0) throw new Error(`${counts.unjudged} rows were not judged`);
  console.log(JSON.stringify({ rows: counts.all, seconds, peakMegabytes: Math.max(peak, process.memoryUsage.rss()) / MEGABYTE }));
  table.dispose();
  await cache.save();
  scorer.dispose();
}

void main();
