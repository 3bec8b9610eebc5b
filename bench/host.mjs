// The extension in a real VS Code: how long it takes to activate, how long it blocks its host, how late the screen is.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as esbuild from 'esbuild';
import { build } from '../scripts/build.mjs';
import { inRoot, python, root } from '../scripts/paths.mjs';
import { fail, handleInterrupts, step } from '../scripts/run.mjs';
import { setUp } from '../scripts/setup.mjs';
import { runInExtensionHost } from '../scripts/vscode-host.mjs';
import { atMost, median, plain } from './figures.mjs';
import { openLiveRun } from './monitor/liveRun.mjs';

const settings = { 'safeFinetuning.python.interpreter': python };
const fileRows = 10_000;
const mostWindows = 30;
const largeMegabytes = 40; // the editor itself opens no more than 50 as a document

/** What the editor itself needs for a file of this size, it needs in any case. */
function blocksOf(file, blocks) {
  const [dataset, other] = [median(blocks.map(found => found.dataset)), median(blocks.map(found => found.plain))];
  return [
    plain(`longest block while ${file} is read and judged, median over windows`, dataset, 'ms'),
    plain(`the same under a name that is no dataset's, median over windows`, other, 'ms'),
    atMost('the one less the other', Math.max(0, dataset - other), 20, 'ms'),
  ];
}

async function main() {
  const quick = process.argv.includes('--quick');
  const output = process.argv[process.argv.indexOf('--output') + 1];
  await setUp('host', 'browser');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'safe-finetuning-bench-'));
  try {
    const inHost = await step('Activation and blocks of the extension host', () => measureInHost(folder, quick ? 1 : 3));
    const delays = await step('From event to screen', () => measureDelays(folder, quick ? 20 : 100));
    fs.writeFileSync(
      output,
      JSON.stringify([
        atMost('activation, median', median(inHost.map(({ activation }) => activation)), 50, 'ms'),
        atMost(`longest block while opening ${fileRows} rows, median over windows`, median(inHost.map(({ block }) => block)), 20, 'ms'),
        ...[['JSON', 'jsonBlock'], ['CSV', 'csvBlock']].map(([format, name]) =>
          blocksOf(`a ${format} file of ${largeMegabytes} MB`, inHost.map(found => found[name]))).flat(),
        plain(`the ${fileRows} rows opened as plain text`, median(inHost.map(({ plainBlock }) => plainBlock)), 'ms'),
        atMost('the example opened to its first row flagged, classifier not yet loaded, median', median(inHost.map(({ cold }) => cold)), 1000, 'ms'),
        atMost('another file like it, classifier loaded, median', median(inHost.map(({ warm }) => warm)), 300, 'ms'),
        plain(`${fileRows} rows opened to their first row flagged, median`, median(inHost.map(({ flagged }) => flagged)), 'ms'),
        atMost('event written to value on screen, median', median(delays), 150, 'ms'),
        plain('event written to value on screen, longest', Math.max(...delays), 'ms'),
      ]),
    );
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** One fresh window per repetition: an extension is activated once in a host's life. */
async function measureInHost(folder, repetitions) {
  await build({ minify: true });
  await esbuild.build({
    absWorkingDir: root, entryPoints: ['bench/host/probe.ts'], outdir: 'out/bench', bundle: true, platform: 'node', format: 'cjs', external: ['vscode'], logLevel: 'warning',
  });
  const workspace = path.join(folder, 'rows');
  fs.mkdirSync(workspace);
  const examples = fs.readFileSync(inRoot('examples/support.jsonl'), 'utf8').trim().split('\n').map(line => JSON.parse(line));
  // No row twice: each has to be judged.
  const rows = Array.from({ length: fileRows }, (_, index) => {
    const { messages } = examples[index % examples.length];
    return JSON.stringify({ messages: messages.map(({ role, content }) => ({ role, content: `${content} (${index})` })) });
  });
  for (const name of ['rows.jsonl', 'rows.txt']) fs.writeFileSync(path.join(workspace, name), rows.join('\n') + '\n');
  fs.copyFileSync(inRoot('examples/support.jsonl'), path.join(workspace, 'cold.jsonl'));
  const first = rows.length - (rows.length % examples.length) - examples.length; // begins as the example does
  fs.writeFileSync(path.join(workspace, 'warm.jsonl'), rows.slice(first, first + examples.length).join('\n') + '\n');
  const large = path.join(folder, 'large'); // beside the workspace, which is not to be larger than most
  writeLarge(large, rows);
  const results = path.join(folder, 'probe.json');
  const measured = [];
  for (let windows = 0; measured.length < repetitions; windows++) {
    if (windows === mostWindows) throw new Error('In each of many windows the extension was active before it was needed.');
    const succeeded = await runInExtensionHost(inRoot('out/bench/probe.js'), workspace, {
      extension: root, settings, env: { BENCH_RESULTS: results, BENCH_LARGE: large },
    });
    if (!succeeded) throw new Error('The probe in the extension host failed.');
    const found = JSON.parse(fs.readFileSync(results, 'utf8'));
    if (found) measured.push(found); // else the window had activated it by itself: some look into JSON files of their own at once
  }
  return measured;
}

/** As a list with a row on a few lines, and as a table. */
function writeLarge(large, rows) {
  fs.mkdirSync(large);
  const padding = ' And so on, as people write.'.repeat(40);
  const written = { 'large.json': [], 'large.csv': ['prompt,completion'] };
  for (let [bytes, index] = [0, 0]; bytes < largeMegabytes * 1e6; index++) {
    const [user, assistant] = JSON.parse(rows[index % rows.length]).messages.slice(-2).map(({ content }) => `${content} ${index}`);
    const text = JSON.stringify({ messages: [{ role: 'user', content: user }, { role: 'assistant', content: assistant + padding }] }, null, 1);
    written['large.json'].push(text);
    written['large.csv'].push([user, assistant + padding].map(cell => `"${cell.replaceAll('"', '""')}"`).join(','));
    bytes += text.length;
  }
  fs.writeFileSync(path.join(large, 'large.json'), `[\n${written['large.json'].join(',\n')}\n]\n`);
  fs.writeFileSync(path.join(large, 'large.csv'), `${written['large.csv'].join('\n')}\n`);
  fs.writeFileSync(path.join(large, 'small.json'), '[]\n');
  // In which the editor does for the file what it does anyway: of JSON its own extension takes note, whatever it is called.
  for (const [name, other] of [['large.json', 'large.jsonc'], ['large.csv', 'large.txt']]) fs.copyFileSync(path.join(large, name), path.join(large, other));
}

async function measureDelays(folder, events) {
  const run = await openLiveRun(folder, settings);
  try {
    return await run.delays(events);
  } finally {
    await run.close();
  }
}

handleInterrupts();
await main().catch(fail);
