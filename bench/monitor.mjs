// What a run of a million steps costs the editor, and one that is written to 500 times a second.  npm run bench -- monitor
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import * as esbuild from 'esbuild';
import { build } from '../scripts/build.mjs';
import { packageVsix } from '../scripts/package-vsix.mjs';
import { inRoot, python, root } from '../scripts/paths.mjs';
import { fail, handleInterrupts, mustRun, step } from '../scripts/run.mjs';
import { setUp } from '../scripts/setup.mjs';
import { runCommand, runInExtensionHost } from '../scripts/vscode-host.mjs';
import { atMost, plain, quantile } from './figures.mjs';
import { openLiveRun, runRecord } from './monitor/liveRun.mjs';
import { writeLongRun, writeManyRuns } from './monitor/longRun.mjs';
import { measureZoom } from './monitor/zoom.mjs';

const settings = { 'safeFinetuning.python.interpreter': python };
const eventsPerSecond = 500;
const beatMilliseconds = 10;

const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));
/** Of run.json. */
const ended = { process: { pid: 1, startTime: 1, host: os.hostname() }, status: 'completed' };
const count = number => number.toLocaleString('en');

async function main() {
  const quick = process.argv.includes('--quick');
  const output = process.argv[process.argv.indexOf('--output') + 1];
  const [steps, runs] = quick ? [100_000, 1000] : [1_000_000, 10_000];
  await setUp('host', 'browser');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'safe-finetuning-bench-'));
  try {
    const long = await step(`A run of ${count(steps)} steps, and ${count(runs)} runs`, () => measureInHost(folder, steps, runs));
    const live = await step(`A run that is written to ${eventsPerSecond} times a second`, () => measureLive(folder, quick ? 20 : 100, quick ? 5 : 20));
    const zoom = await step('Zooming in the run', () => measureZooming(folder, steps));
    const rival = await step('TensorBoard on as long a run', () => measureTensorBoard(folder, steps));
    fs.writeFileSync(output, JSON.stringify([...long, ...zoom, ...rival, ...live]));
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** In the extension host of a window of its own. */
async function measureInHost(folder, steps, runs) {
  await build({ minify: true });
  await esbuild.build({
    absWorkingDir: root, entryPoints: ['bench/monitor/probe.ts'], outdir: 'out/bench/monitor', bundle: true, platform: 'node', format: 'cjs', external: ['vscode'], logLevel: 'warning',
  });
  const [workspace, run, manyRuns, results] = ['window', 'long', 'many', 'probe.json'].map(name => path.join(folder, name));
  for (const made of [workspace, run]) fs.mkdirSync(made);
  fs.copyFileSync(inRoot('examples/support.finetune.json'), path.join(workspace, 'support.finetune.json'));
  writeManyRuns(manyRuns, runs, await runRecord(workspace, ended));
  const events = path.join(run, 'events.jsonl');
  writeLongRun(events, steps);
  const gigabytes = (fs.statSync(events).size / 1e9).toFixed(2);
  const succeeded = await runInExtensionHost(inRoot('out/bench/monitor/probe.js'), workspace, {
    extension: root, settings, env: { BENCH_MONITOR: JSON.stringify({ folder: run, steps, manyRuns, results }) },
  });
  if (!succeeded) throw new Error('The probe in the extension host failed.');
  const index = (fs.statSync(path.join(run, 'events.index')).size / 1e6).toFixed(0);
  fs.rmSync(manyRuns, { recursive: true });
  const { first, again, scans } = JSON.parse(fs.readFileSync(results, 'utf8'));
  const of = `${count(steps)} steps, ${gigabytes} GB`;
  return [
    atMost(`${of}: first opened, to the first charts`, first.firstChart / 1000, 1.5, 's'),
    atMost(`${of}: first opened, to all of it`, first.complete / 1000, 15, 's'),
    plain(`${of}: processor time of the extension host for it, that of the watch for long stretches among it`, first.processor / 1000, 's'),
    atMost(`${of}: opened again, from an index of ${index} MB, to all of it`, again.complete / 1000, 1.5, 's'),
    atMost(`${of}: longest stretch that the extension host computed while it was first opened`, first.block, 20, 'ms'),
    atMost(`${of}: the same when it was opened again`, again.block, 20, 'ms'),
    atMost(`${of}: memory of the extension host, at most, while it was first opened`, first.peakMegabytes, 150, 'MB'),
    plain(`${of}: the same when all was read`, first.megabytes, 'MB'),
    plain(`${count(runs)} runs in a folder: first look at all of them`, scans.first / 1000, 's'),
    atMost(`${count(runs)} runs: longest stretch that the extension host computed meanwhile`, scans.block, 20, 'ms'),
    atMost(`${count(runs)} runs: processor time of the looks that follow, of a core`, 100 * scans.laterCpu, 2, '%'),
  ];
}

/** The run whose index the extension host has just written. */
async function measureZooming(folder, steps) {
  await packageVsix();
  const workspace = path.join(folder, 'zoom');
  const run = path.join(workspace, '.safe-finetuning', 'runs', 'long');
  fs.mkdirSync(path.dirname(run), { recursive: true });
  fs.copyFileSync(inRoot('examples/support.finetune.json'), path.join(workspace, 'support.finetune.json'));
  fs.renameSync(path.join(folder, 'long'), run);
  fs.writeFileSync(path.join(run, 'run.json'), JSON.stringify(await runRecord(workspace, ended)));
  const { frames, tasks } = await measureZoom(workspace, steps, settings);
  fs.rmSync(workspace, { recursive: true });
  const of = `${count(steps)} steps, zoomed and moved along in the run panel, no GPU`;
  return [
    atMost(`${of}: script and drawing per frame, 95 of 100`, quantile(frames, 0.95), 8, 'ms'),
    plain(`${of}: the same, median`, quantile(frames, 0.5), 'ms'),
    atMost(`${of}: longest task`, Math.max(...tasks), 50, 'ms'),
  ];
}

async function measureTensorBoard(folder, steps) {
  const logs = path.join(folder, 'tensorboard');
  const { firstSeconds, seconds, megabytes, bytes } = JSON.parse(await mustRun(python, [inRoot('bench/monitor/rival.py'), String(steps), logs]));
  fs.rmSync(logs, { recursive: true });
  const of = `TensorBoard, ${count(steps)} steps of 14 numbers, ${(bytes / 1e9).toFixed(2)} GB`;
  return [
    plain(`${of}: started, to its first answer with steps`, firstSeconds, 's'),
    plain(`${of}: started, to its answer with the last step; it keeps 1,000 of them`, seconds, 's'),
    plain(`${of}: memory of its processes`, megabytes, 'MB'),
  ];
}

/** In the window of the packaged extension. */
async function measureLive(folder, events, seconds) {
  const run = await openLiveRun(folder, settings);
  try {
    const delays = await run.delays(events);
    const idle = await shareOfCore(seconds);
    await countUpdates(run.shown);
    const [shown] = await Promise.all([shareOfCore(seconds), writeFor(run, seconds)]);
    const written = run.stepsWritten();
    await run.shown.filter({ hasText: new RegExp(`^${[...String(written)].join('[^0-9/]?')}\\b`) }).waitFor({ timeout: 10_000 });
    const updates = await run.shown.evaluate(element => element.ownerDocument.defaultView.updates);
    await runCommand(run.page, 'View: Show Explorer');
    await run.page.locator('iframe.webview').waitFor({ state: 'detached' });
    await sleep(1000);
    const [hidden] = await Promise.all([shareOfCore(seconds), writeFor(run, seconds)]);
    const of = `${eventsPerSecond} events a second`;
    return [
      atMost('event written to value on screen, median', quantile(delays, 0.5), 150, 'ms'),
      plain('event written to value on screen, 95 of 100', quantile(delays, 0.95), 'ms'),
      atMost(`${of}: the extension host's share of a core, less that without a run's events`, 100 * (shown - idle), 10, '%'),
      plain(`${of}: the same while the monitor is hidden and has no page`, 100 * (hidden - idle), '%'),
      atMost(`${of}: updates of the charts`, updates / seconds, 10.5, 'a second'),
    ];
  } finally {
    await run.close();
  }
}

/** Writes as a trainer does whose steps take two milliseconds. */
async function writeFor(run, seconds) {
  const began = Date.now();
  for (let written = 0; written < seconds * eventsPerSecond; ) {
    const due = Math.floor(((Date.now() - began) * eventsPerSecond) / 1000) - written;
    for (let number = 0; number < due; number++) run.write(1);
    written += Math.max(0, due);
    await sleep(beatMilliseconds);
  }
}

function countUpdates(shown) {
  return shown.evaluate(element => {
    const view = element.ownerDocument.defaultView;
    view.updates = 0;
    view.addEventListener('message', event => (view.updates += event.data?.type === 'series' ? 1 : 0));
  });
}

/** What the extension host of the one window uses of a core, over some seconds. */
async function shareOfCore(seconds) {
  const pid = extensionHost();
  const before = processorSeconds(pid);
  const began = performance.now();
  await sleep(seconds * 1000);
  return (processorSeconds(pid) - before) / ((performance.now() - began) / 1000);
}

/** The newest process of this user that is one. */
function extensionHost() {
  const found = fs
    .readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        return isOurs(Number(pid)) && fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--type=extensionHost');
      } catch {
        return false; // gone meanwhile
      }
    });
  if (found.length === 0) throw new Error('There is no extension host.');
  return Math.max(...found.map(Number));
}

/** Whether a process descends from this one. */
function isOurs(pid) {
  for (let at = pid; at > 1; at = Number(fieldsOf(at)[1])) {
    if (at === process.pid) return true;
  }
  return false;
}

/** What stands behind the command name, which may hold anything (proc(5)). */
function fieldsOf(pid) {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

const ticksPerSecond = 100;
function processorSeconds(pid) {
  const fields = fieldsOf(pid);
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

handleInterrupts();
await main().catch(fail);
