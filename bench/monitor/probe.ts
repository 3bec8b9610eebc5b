/** Runs inside the extension host: what a long run costs it, from the folder to what the monitor's page is sent. */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Run } from '../../src/trainerHost/run';
import { RunRegistry } from '../../src/trainerHost/runs';
import { SeriesFeed } from '../../src/views/monitorModel';
import { drawnSeries } from '../../src/views/monitorProtocol';
import { blockWhile, threadMilliseconds } from '../turns';

const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
/** As often as the monitor sends. */
const sendMilliseconds = 100;

interface Opened {
  firstChart: number;
  complete: number;
  processor: number;
  block: number;
  megabytes: number;
  peakMegabytes: number;
}

export async function run(): Promise<void> {
  const { folder, steps, manyRuns, results } = JSON.parse(process.env['BENCH_MONITOR'] as string) as Record<'folder' | 'manyRuns' | 'results', string> & { steps: number };
  const first = await open(folder, steps);
  const again = await open(folder, steps);
  const scans = await scanMany(manyRuns);
  fs.writeFileSync(results, JSON.stringify({ first, again, scans }));
}

/** Opens the run as a window does, and stays until its index is written. */
async function open(folder: string, steps: number): Promise<Opened> {
  await settle();
  const before = megabytesNow();
  const began = performance.now();
  const beganProcessor = process.cpuUsage();
  const run = new Run(folder, log);
  const feed = new SeriesFeed(drawnSeries);
  let [firstChart, complete, processor, peak] = [0, 0, 0, 0];
  const block = await blockWhile(async () => {
    run.hold();
    while (!complete) {
      if (feed.next(run.state)?.columns.step.length) firstChart ||= performance.now() - began;
      peak = Math.max(peak, megabytesNow() - before);
      if (run.state.finished && run.state.series.length === steps) {
        complete = performance.now() - began;
        const { user, system } = process.cpuUsage(beganProcessor);
        processor = (user + system) / 1000;
      } else await sleep(Math.min(sendMilliseconds, firstChart ? sendMilliseconds : 10));
    }
    await run.read();
  });
  const index = path.join(folder, 'events.index');
  while (!fs.existsSync(index)) await sleep(50);
  await settle();
  const megabytes = megabytesNow() - before;
  run.dispose();
  return { firstChart, complete, processor, block, megabytes, peakMegabytes: peak };
}

/** A folder of many runs: the first look at it, and those that follow. */
async function scanMany(folder: string): Promise<{ first: number; block: number; laterCpu: number }> {
  const registry = new RunRegistry(() => [folder], log);
  const began = performance.now();
  const block = await blockWhile(() => registry.scan());
  const first = performance.now() - began;
  await sleep(3000);
  const seconds = 60; // in which each is looked at once in full
  const before = threadMilliseconds();
  await sleep(seconds * 1000);
  const laterCpu = (threadMilliseconds() - before) / (seconds * 1000);
  registry.dispose();
  return { first, block, laterCpu };
}

/** Until what is no longer needed is gone, as far as that can be asked for. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) {
    (globalThis as { gc?: () => void }).gc?.();
    await sleep(200);
  }
}

const megabytesNow = (): number => process.memoryUsage.rss() / 1e6;
