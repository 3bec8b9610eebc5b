/* global MutationObserver, requestAnimationFrame */
// A run that this process plays the trainer of, and the packaged extension's monitor on it in a real VS Code.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { tsImport } from 'tsx/esm/api';
import { packageVsix } from '../../scripts/package-vsix.mjs';
import { inRoot, python, vsix } from '../../scripts/paths.mjs';
import { launchBrowser, runCommand, startServer, windowReady, windowUrl } from '../../scripts/vscode-host.mjs';

const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));

/** Opens the monitor on a run of one step. */
export async function openLiveRun(folder, settings) {
  await packageVsix();
  const { processStartTime } = await tsImport('../../src/trainerHost/processIdentity.ts', import.meta.url);
  const workspace = path.join(folder, 'run');
  const runFolder = path.join(workspace, '.safe-finetuning', 'runs', 'bench');
  fs.mkdirSync(runFolder, { recursive: true });
  fs.copyFileSync(inRoot('examples/support.finetune.json'), path.join(workspace, 'support.finetune.json'));
  const trainer = { pid: process.pid, startTime: await processStartTime(process.pid), host: os.hostname() };
  fs.writeFileSync(path.join(runFolder, 'run.json'), JSON.stringify(await runRecord(workspace, { process: trainer, status: 'running' })));

  let seq = 0;
  const append = events => {
    const ts = Date.now();
    const lines = events.map(event => `${JSON.stringify({ v: 1, seq: seq++, ts, ...event })}\n`);
    fs.appendFileSync(path.join(runFolder, 'events.jsonl'), lines.join(''));
    return ts;
  };
  append([{ type: 'attempt_started', attempt: 1, fromStep: 0, pid: process.pid, host: os.hostname() }, { type: 'phase', phase: 'training', message: 'Training' }, batch(1)]);
  let steps = 1;
  /** Writes the next steps; says when. */
  const write = count => append(Array.from({ length: count }, () => batch(++steps)));

  const server = await startServer({ extensions: [vsix], settings });
  const browser = await launchBrowser();
  const close = async () => {
    await browser.close();
    await server.stop();
  };
  try {
    const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
    await page.goto(windowUrl(server.url, workspace));
    await windowReady(page);
    await runCommand(page, 'Safe Fine-Tuning: Open Training Monitor');
    const monitor = page.frameLocator('iframe.webview.ready').frameLocator('#active-frame');
    const shown = monitor.locator('.values > div:has(dt:text-is("Step")) dd');
    await shown.filter({ hasText: /^1\b/ }).waitFor();
    return { page, shown, write, close, stepsWritten: () => steps, delays: events => measureDelays(shown, write, () => steps, events) };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Milliseconds from an event's writing to its number on the screen, one event after the other. */
async function measureDelays(shown, write, stepsWritten, events) {
  await shown.evaluate(element => {
    element.ownerDocument.defaultView.seenAt = {};
    new MutationObserver(() => {
      const step = Number.parseInt(element.textContent.replaceAll(/[^0-9/ ]/g, ''), 10);
      requestAnimationFrame(() => (element.ownerDocument.defaultView.seenAt[step] ??= Date.now()));
    }).observe(element, { childList: true, characterData: true, subtree: true });
  });
  const delays = [];
  for (let number = 0; number < events; number++) {
    const written = write(1);
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
      stepsWritten(),
    );
    delays.push(seen - written);
    await sleep(200 + 300 * Math.random()); // unlike any timer's beat
  }
  return delays;
}

/** run.json of a run of the example's configuration. */
export async function runRecord(workspace, given) {
  const { parse } = await import('jsonc-parser');
  const { mustRun } = await import('../../scripts/run.mjs');
  const configPath = path.join(workspace, 'support.finetune.json');
  const resolve = 'import sys, pathlib; from safe_finetuning.config_file import read_config; print(read_config(pathlib.Path(sys.argv[1])).model_dump_json(by_alias=True))';
  const config = parse(await mustRun(python, ['-c', resolve, configPath], { env: { PYTHONPATH: inRoot('trainer') } }));
  return { v: 1, id: 'bench', configPath, config, script: null, datasets: [], versions: {}, attempt: 1, message: '', parent: null, ...given };
}

const stepsOfRun = 1_000_000;

function batch(number) {
  const eight = value => Array.from({ length: 8 }, value);
  const loss = 1 + Math.random();
  const rows = {
    file: eight(() => 0), line: eight(() => 1 + Math.floor(5000 * Math.random())), hash: eight(() => '0123456789abcdef'), risk: eight(Math.random), beta: eight(Math.random),
    nll: eight(Math.random), kl: eight(Math.random), tokens: eight(() => 60),
  };
  return {
    type: 'batch', step: number, totalSteps: stepsOfRun, epoch: number / 1000, nll: loss, kl: 0.1, anchors: null, safetyTokens: null, total: loss + 0.1, riskMean: 0.5, riskMax: Math.random(), betaMean: 0.5, betaMax: 0.5,
    learningRate: 1e-4, gradNorm: 1, tokens: 100, tokensPerSecond: 500, stepSeconds: 0.4, memoryBytes: 1e9, gpuLoad: null, etaSeconds: 10, canary: number % 10 ? null : 5, notFinite: [], rows,
  };
}
