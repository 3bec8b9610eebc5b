// A run's events as the trainer writes them: deterministic, and written as fast as a disk takes them.
import fs from 'node:fs';
import path from 'node:path';

const variants = 997; // prime, so that nothing recurs with the rhythm of something else
const linesAtOnce = 2000;
const stepMilliseconds = 500;

/**
 * Writes the events of a run that has completed.
 * @param {string} file events.jsonl
 * @param {number} steps
 * @param {{rows?: number, began?: number}} [options] rows of a step, and when it began, in milliseconds since the Unix epoch
 */
export function writeLongRun(file, steps, { rows = 8, began = 1_700_000_000_000 } = {}) {
  const random = generator(7);
  const tails = Array.from({ length: variants }, () => tail(random, rows));
  const handle = fs.openSync(file, 'w');
  let seq = 0;
  const line = (ts, event) => `${JSON.stringify({ v: 1, seq: seq++, ts, ...event })}\n`;
  try {
    const common = { attempt: 1, fromStep: 0, pid: 1, host: 'bench' };
    fs.writeSync(handle, line(began, { type: 'attempt_started', ...common }) + line(began, { type: 'phase', phase: 'training', message: 'Training' }));
    for (let step = 1; step <= steps; ) {
      let text = '';
      for (const last = Math.min(steps, step + linesAtOnce - 1); step <= last; step++) {
        const ts = began + step * stepMilliseconds + random();
        text += batchLine(seq++, ts, step, steps, tails[step % variants], random);
        if (step % 20 === 0) text += line(ts, { type: 'heartbeat' });
        if (step % 10_000 === 0) text += line(ts, { type: 'checkpoint', step, path: `checkpoints/step-${step}`, bytes: 1e7 });
      }
      fs.writeSync(handle, text);
    }
    const ts = began + (steps + 1) * stepMilliseconds;
    fs.writeSync(handle, line(ts, { type: 'finished', status: 'completed', message: 'Completed.', resumable: false, adapter: 'adapter' }));
  } finally {
    fs.closeSync(handle);
  }
}

/** A folder of runs that have ended. */
export function writeManyRuns(folder, runs, record) {
  for (let number = 0; number < runs; number++) {
    const id = `20260101-${String(number).padStart(6, '0')}-adaptive-xx`;
    const run = path.join(folder, id);
    fs.mkdirSync(run, { recursive: true });
    const launch = { id, ts: 1_700_000_000_000 + 1000 * number, argv: [], interpreter: 'python', configPath: record.configPath };
    fs.writeFileSync(path.join(run, 'launch.json'), JSON.stringify(launch));
    fs.writeFileSync(path.join(run, 'run.json'), JSON.stringify({ ...record, id }));
  }
}

/** One event; `tail` is what does not depend on the step. */
export function batchLine(seq, ts, step, totalSteps, { head, canary, rows }, random) {
  const nll = 0.4 + 3 / (1 + step / 5000) + random();
  const etaSeconds = ((totalSteps - step) * stepMilliseconds) / 1000;
  return (
    `{"v":1,"seq":${seq},"ts":${ts},"type":"batch","step":${step},"totalSteps":${totalSteps},"epoch":${step / 1000},` +
    `"nll":${nll},"kl":${0.1 * random()},"anchors":${0.02 * random()},"safetyTokens":null,"total":${nll + random()},` +
    `${head}"etaSeconds":${etaSeconds},"canary":${step % 10 ? 'null' : canary},"notFinite":[],"rows":${rows}}\n`
  );
}

/** What follows the losses, of one of many steps. */
export function tail(random, rows) {
  const list = value => Array.from({ length: rows }, value);
  const risk = list(random);
  const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;
  const numbers = {
    riskMean: mean(risk), riskMax: Math.max(...risk), betaMean: mean(risk), betaMax: Math.max(...risk), learningRate: 1e-4 * random(),
    gradNorm: 2 * random(), tokens: 500 + Math.floor(300 * random()), tokensPerSecond: 1000 + 900 * random(), stepSeconds: 0.4 + 0.2 * random(),
    memoryBytes: 3e9 + Math.floor(1e8 * random()), gpuLoad: 0.9 + 0.1 * random(),
  };
  const hash = () => list(() => Math.floor(random() * 16).toString(16)).join('').padEnd(16, '0').slice(0, 16);
  const columns = {
    file: list(() => 0), line: list(() => 1 + Math.floor(5000 * random())), hash: list(hash), risk, beta: risk, nll: list(() => 3 * random()), kl: list(random), tokens: list(() => 20 + Math.floor(100 * random())),
  };
  return { head: `${JSON.stringify(numbers).slice(1, -1)},`, canary: 12 - random(), rows: JSON.stringify(columns) };
}

/** Numbers in [0, 1) with all their digits (mulberry32, twice). */
export function generator(seed) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  return () => ((next() >>> 5) * 67_108_864 + (next() >>> 6)) / 9_007_199_254_740_992;
}
