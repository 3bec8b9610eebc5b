/* global MutationObserver, requestAnimationFrame */
// The extension in a real VS Code: how long it takes to activate, how long it blocks its host, how late the screen is.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as esbuild from 'esbuild';
import { tsImport } from 'tsx/esm/api';
import { build } from '../scripts/build.mjs';
import { packageVsix } from '../scripts/package-vsix.mjs';
import { inRoot, python, root, vsix } from '../scripts/paths.mjs';
import { fail, handleInterrupts, step } from '../scripts/run.mjs';
import { setUp } from '../scripts/setup.mjs';
import { launchBrowser, runCommand, runInExtensionHost, startServer, windowReady, windowUrl } from '../scripts/vscode-host.mjs';

const settings = { 'safeFinetuning.python.interpreter': python };
const fileRows = 10_000;

const median = values => [...values].sort((a, b) => a - b)[values.length >> 1];
const atMost = (name, value, limit, unit = 'ms') => ({ name, value, unit, goal: `at most ${limit} ${unit}`, holds: value <= limit });

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
        atMost('activation, median', median(inHost.map(({ activation }) => activation)), 50),
        atMost(`longest block while opening ${fileRows} rows, median over windows`, median(inHost.map(({ block }) => block)), 30),
        { name: 'the same file opened as plain text', value: median(inHost.map(({ plainBlock }) => plainBlock)), unit: 'ms', goal: null, holds: null },
        atMost('the example opened to its first row flagged, classifier not yet loaded, median', median(inHost.map(({ cold }) => cold)), 1000),
        { name: 'another file like it, classifier loaded, median', value: median(inHost.map(({ warm }) => warm)), unit: 'ms', goal: null, holds: null },
        { name: `${fileRows} rows opened to their first row flagged, median`, value: median(inHost.map(({ flagged }) => flagged)), unit: 'ms', goal: null, holds: null },
        atMost('event written to value on screen, median', median(delays), 300),
        { name: 'event written to value on screen, longest', value: Math.max(...delays), unit: 'ms', goal: null, holds: null },
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
  fs.writeFileSync(path.join(workspace, 'warm.jsonl'), rows.slice(-examples.length).join('\n') + '\n');
  const results = path.join(folder, 'probe.json');
  const measured = [];
  for (let repetition = 0; repetition < repetitions; repetition++) {
    const succeeded = await runInExtensionHost(inRoot('out/bench/probe.js'), workspace, {
      extension: root, settings, env: { BENCH_RESULTS: results },
    });
    if (!succeeded) throw new Error('The probe in the extension host failed.');
    measured.push(JSON.parse(fs.readFileSync(results, 'utf8')));
  }
  return measured;
}

/** Writes events into a run folder as a trainer does, and looks when the packaged extension's monitor shows them. */
async function measureDelays(folder, events) {
  await packageVsix();
  const { processStartTime } = await tsImport('../src/trainerHost/processIdentity.ts', import.meta.url);
  const workspace = path.join(folder, 'run');
  const runFolder = path.join(workspace, '.safe-finetuning', 'runs', 'bench');
  fs.mkdirSync(runFolder, { recursive: true });
  fs.copyFileSync(inRoot('examples/support.finetune.json'), path.join(workspace, 'support.finetune.json'));
  const trainer = { pid: process.pid, startTime: await processStartTime(process.pid), host: os.hostname() };
  fs.writeFileSync(path.join(runFolder, 'run.json'), JSON.stringify(await runRecord(workspace, trainer)));

  let seq = 0;
  const write = event => {
    const ts = Date.now();
    fs.appendFileSync(path.join(runFolder, 'events.jsonl'), `${JSON.stringify({ v: 1, seq: seq++, ts, ...event })}\n`);
    return ts;
  };
  write({ type: 'attempt_started', attempt: 1, fromStep: 0, pid: process.pid, host: os.hostname() });
  write({ type: 'phase', phase: 'training', message: 'Training' });
  write(batch(1, events));

  const server = await startServer({ extensions: [vsix], settings });
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
    await page.goto(windowUrl(server.url, workspace));
    await windowReady(page);
    await runCommand(page, 'Safe Fine-Tuning: Open Training Monitor');
    const monitor = page.frameLocator('iframe.webview.ready').frameLocator('#active-frame');
    const shown = monitor.locator(`.values > div:has(dt:text-is("Step")) dd`);
    await shown.filter({ hasText: /^1\b/ }).waitFor();
    await shown.evaluate(element => {
      element.ownerDocument.defaultView.seenAt = {};
      new MutationObserver(() => {
        const step = Number.parseInt(element.textContent, 10);
        requestAnimationFrame(() => (element.ownerDocument.defaultView.seenAt[step] ??= Date.now()));
      }).observe(element, { childList: true, characterData: true, subtree: true });
    });
    const delays = [];
    for (let number = 2; number <= events + 1; number++) {
      const written = write(batch(number, events + 1));
      const seen = await shown.evaluate(
        (element, wanted) =>
          new Promise(resolve => {
            const look = () => {
              const at = element.ownerDocument.defaultView.seenAt[wanted];
              if (at) resolve(at);
              else setTimeout(look, 5);
            };
            look();
          }),
        number,
      );
      delays.push(seen - written);
      await new Promise(resolve => setTimeout(resolve, 200 + 300 * Math.random())); // unlike any timer's beat
    }
    return delays;
  } finally {
    await browser.close();
    await server.stop();
  }
}

async function runRecord(workspace, trainer) {
  const { parse } = await import('jsonc-parser');
  const { mustRun } = await import('../scripts/run.mjs');
  const configPath = path.join(workspace, 'support.finetune.json');
  const resolve = 'import sys, pathlib; from safe_finetuning.config_file import read_config; print(read_config(pathlib.Path(sys.argv[1])).model_dump_json(by_alias=True))';
  const config = parse(await mustRun(python, ['-c', resolve, configPath], { env: { PYTHONPATH: inRoot('trainer') } }));
  return {
    v: 1, id: 'bench', configPath, config, datasets: [], versions: {}, process: trainer, attempt: 1, status: 'running', message: '', parent: null,
  };
}

function batch(number, totalSteps) {
  const rows = { file: [0], line: [number], hash: ['0'.repeat(16)], risk: [0.5], beta: [0.5], nll: [1], kl: [0.1] };
  return {
    type: 'batch', step: number, totalSteps, epoch: number / totalSteps, nll: 1, kl: 0.1, anchors: null, safetyTokens: null, total: 1.1, riskMean: 0.5, riskMax: 0.5, betaMean: 0.5, betaMax: 0.5,
    learningRate: 1e-4, gradNorm: 1, tokens: 100, tokensPerSecond: 500, stepSeconds: 0.4, memoryBytes: 1e9, etaSeconds: 10, rows,
  };
}

handleInterrupts();
await main().catch(fail);
