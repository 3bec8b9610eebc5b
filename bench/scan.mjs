// How fast rows are judged, and files of any size read.  npm run bench -- scan
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import * as esbuild from 'esbuild';
import { tsImport } from 'tsx/esm/api';
import { build } from '../scripts/build.mjs';
import { inRoot, python } from '../scripts/paths.mjs';
import { fail, handleInterrupts, mustRun, pythonEnvironment, runProgram, step } from '../scripts/run.mjs';
import { atMost, median, plain } from './figures.mjs';

const data = inRoot('../shared/data');
const bundled = inRoot('trainer/safe_finetuning/classifier');
const threads = Math.max(1, Math.min(4, os.availableParallelism()));

async function main() {
  const quick = process.argv.includes('--quick');
  const output = process.argv[process.argv.indexOf('--output') + 1];
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'safe-finetuning-bench-'));
  try {
    await build({ minify: true });
    await esbuild.build({ entryPoints: [inRoot('bench/scan/readFile.ts')], outfile: path.join(folder, 'readFile.cjs'), bundle: true, platform: 'node', logLevel: 'warning' });
    const speed = await step('The classifier, here and through the transformers pipeline', () => measureSpeed(folder, quick));
    const again = await step('Rows that are known already', () => measureRescan(folder, quick ? 10_000 : 100_000));
    const large = await step('Large files', () => measureLargeFiles(folder, quick ? 2e8 : 2e9, quick ? 1e8 : 1e9));
    fs.writeFileSync(output, JSON.stringify([...speed, ...again, ...large]));
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Both judge the same texts, turn by turn. */
async function measureSpeed(folder, quick) {
  const { Classifier } = await tsImport('../src/risk/classifier.ts', import.meta.url);
  const rows = JSON.parse(fs.readFileSync(path.join(data, 'alpaca_en_demo.json'), 'utf8')).slice(0, quick ? 200 : 900);
  // So short that each is one window: the pipeline cuts what is longer.
  const texts = rows.map(({ instruction, input, output }) => `${instruction}\n${input}\n${output}`.slice(0, 160));
  const classifier = await Classifier.load(bundled, threads);
  const encoderAlone = await Classifier.load(withoutFirstStage(folder), threads);
  const pipeline = spawn(python, [inRoot('bench/scan/pipeline.py')], { env: { ...process.env, ...pythonEnvironment, PYTHONPATH: inRoot('trainer') }, stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface(pipeline.stdout)[Symbol.asyncIterator]();
  pipeline.stdin.write(`${JSON.stringify({ texts, threads })}\n`);
  const throughPipeline = async batch => {
    pipeline.stdin.write(`${batch}\n`);
    const { value, done } = await answers.next();
    if (done) throw new Error('bench/scan/pipeline.py ended.');
    return Number(value);
  };
  const here = async classifier => {
    const began = performance.now();
    await classifier.score(texts);
    return (performance.now() - began) / 1000;
  };
  for (const each of [classifier, encoderAlone]) await here(each);
  const byBatch = new Map();
  for (const batch of [1, 8, 16, 32, 64]) byBatch.set(batch, await throughPipeline(batch));
  const [best] = [...byBatch].sort((a, b) => a[1] - b[1])[0];
  const [cascade, alone, theirs] = [[], [], []];
  for (let turn = 0; turn < (quick ? 1 : 5); turn++) {
    cascade.push(await here(classifier));
    alone.push(await here(encoderAlone));
    theirs.push(await throughPipeline(best));
  }
  pipeline.stdin.end();
  const atLeast = (name, ours, limit) => {
    const value = median(theirs.map((seconds, turn) => seconds / ours[turn]));
    return { name: `${name}: rows per second, of the transformers pipeline's at its best batch size (${best}), ${threads} threads`, value, unit: 'times', goal: `at least ${limit} times`, holds: value >= limit };
  };
  return [
    atLeast('the encoder alone', alone, 1.3),
    atLeast('the classifier, whose first stage settles what is clear', cascade, 6),
    plain('rows per second of the classifier', texts.length / median(cascade), 'rows/s'),
  ];
}

/** The bundled classifier's folder, with a first stage that settles nothing. */
function withoutFirstStage(folder) {
  const copy = path.join(folder, 'encoder-alone');
  fs.cpSync(bundled, copy, { recursive: true });
  const file = path.join(copy, 'first_stage.json');
  fs.writeFileSync(file, JSON.stringify({ ...JSON.parse(fs.readFileSync(file, 'utf8')), clearBelow: -1e9 }));
  return copy;
}

/** A file all of whose rows are in the cache. */
async function measureRescan(folder, count) {
  const file = path.join(folder, 'known.jsonl');
  const rows = Array.from({ length: count }, (_, index) => JSON.stringify({ prompt: `Where is parcel ${index}?`, completion: `Parcel ${index} is on its way and arrives tomorrow.` }));
  fs.writeFileSync(file, `${rows.join('\n')}\n`);
  const { rememberRows } = await tsImport('./scan/known.ts', import.meta.url);
  await rememberRows(file, path.join(folder, 'scores.txt'));
  const { rows: read, seconds } = await readFile(file, folder);
  fs.rmSync(path.join(folder, 'scores.txt'));
  const known = (seconds * 100_000) / read;
  return [atMost('100,000 rows from the cache, the start of the classifier and of the cache among it', known, 2, 's')];
}

async function measureLargeFiles(folder, jsonlBytes, parquetBytes) {
  await mustRun(python, [inRoot('bench/scan/large_files.py'), folder, String(jsonlBytes), String(parquetBytes)], { env: pythonEnvironment });
  const results = [];
  for (const name of ['rows.jsonl', 'rows.parquet']) {
    const file = path.join(folder, name);
    const gigabytes = fs.statSync(file).size / 1e9;
    const { rows, seconds, peakMegabytes } = await readFile(file, folder);
    fs.rmSync(file);
    results.push(atMost(`${name}, ${gigabytes.toFixed(1)} GB, ${rows} rows: peak memory of the process`, peakMegabytes, 300, 'MB'), plain(`${name}: read and judged in`, seconds, 's'));
  }
  return results;
}

/** In a process of its own. */
async function readFile(file, folder) {
  const { code, output } = await runProgram(process.execPath, [path.join(folder, 'readFile.cjs'), file, folder], { output: 'capture' });
  if (code !== 0) throw new Error(output);
  return JSON.parse(output.trim().split('\n').at(-1));
}

handleInterrupts();
await main().catch(fail);
