// The runs of a workspace in the terminal: read from their folders, as the extension reads them.
import path from 'node:path';
import { tsImport } from 'tsx/esm/api';

const load = name => tsImport(`../src/trainerHost/${name}.ts`, import.meta.url);
const { RunRegistry } = await load('runs');
const { isActive } = await load('runFolder');
const { isAlive } = await load('processIdentity');
export const { stopRun, cancelRun } = await load('runControl');

const lineSeconds = 5; // between lines of the same kind

/** Follows the runs of a workspace. `begun` settles with the first run. */
export function followRuns(workspace) {
  const log = { info() {}, warn: console.warn, error: console.error };
  const registry = new RunRegistry(() => [path.join(workspace, '.safe-finetuning', 'runs')], log);
  const begun = new Promise(resolve => {
    registry.onDidChangeCurrent(run => run && resolve(run));
  });
  return {
    begun,
    async unfinished() {
      await registry.scan();
      return registry.active;
    },
    dispose: () => registry.dispose(),
  };
}

/** Prints how a run goes, until it and its process have ended. */
export async function mirror(run, print = console.log) {
  await printUntilEnd(run, print);
  while (run.process && (await isAlive(run.process))) await new Promise(resolve => setTimeout(resolve, 100));
}

function printUntilEnd(run, print) {
  const shown = { key: '', line: '', at: 0, warnings: 0 };
  return new Promise(resolve => {
    const timer = setInterval(() => {
      const { state } = run;
      for (const { message } of state.warnings.slice(shown.warnings)) print(`  warning: ${message}`);
      shown.warnings = state.warnings.length;
      const { key, line } = describe(state);
      const isNew = key !== shown.key;
      if (line && line !== shown.line && (isNew || Date.now() - shown.at > lineSeconds * 1000)) {
        print(`${isNew ? '▸' : ' '} ${line}`);
        Object.assign(shown, { key, line, at: Date.now() });
      }
      if (isActive(run.status)) return;
      clearInterval(timer);
      print(`${run.status === 'completed' ? '✔' : '✖'} ${[run.status, run.message].filter(Boolean).join(': ')}`);
      for (const line of run.logTail) print(`  | ${line}`);
      resolve();
    }, 250);
  });
}

/** What is going on, in a line, and a key that changes with its kind. */
function describe({ phase, latest, paused }) {
  if (paused) return { key: 'paused', line: 'paused' };
  if (!phase) return { key: '', line: '' };
  if (phase.phase !== 'training' || !latest) {
    const far = phase.done === null ? '' : ` ${phase.done}${phase.total === null ? '' : ` of ${phase.total}`} ${phase.unit}`;
    return { key: phase.phase, line: `${phase.message || phase.phase}${far}` };
  }
  const parts = [
    `step ${latest.step} of ${latest.totalSteps}`,
    `loss ${number(latest.total)}`,
    `nll ${number(latest.nll)}`,
    `β·KL ${number(latest.kl)}`,
    latest.riskMax === null ? '' : `risk max ${latest.riskMax.toFixed(2)}`,
    latest.tokensPerSecond === null ? '' : `${latest.tokensPerSecond.toFixed(0)} tokens/s`,
    `${(latest.memoryBytes / 1e9).toFixed(1)} GB`,
    latest.etaSeconds === null ? '' : `${Math.ceil(latest.etaSeconds)} s left`,
  ];
  return { key: 'training', line: parts.filter(Boolean).join(', ') };
}

const number = value => (value === null ? '–' : value.toFixed(3));
const percent = value => `${(100 * value).toFixed(1)} %`;

const measures = [
  ['attack success', 'attackSuccess', percent],
  ['over-refusal', 'overRefusal', percent],
  ['degenerate answers', 'degenerate', percent],
  ['held-out loss', 'heldOutLoss', number],
];

/** The reference and the fine-tuned model side by side, with 95 % intervals. */
export function comparison({ before, after }) {
  const cell = (evaluated, field, format) => {
    const measured = evaluated?.metrics[field];
    if (!measured || measured.value === null) return 'not measured';
    return `${format(measured.value)}  [${format(measured.low)}, ${format(measured.high)}]`;
  };
  const rows = [['', 'reference', 'fine-tuned'], ...measures.map(([title, field, format]) => [title, cell(before, field, format), cell(after, field, format)])];
  const widths = [0, 1, 2].map(column => Math.max(...rows.map(row => row[column].length)));
  return rows.map(row => row.map((text, column) => text.padEnd(widths[column])).join('   ').trimEnd()).join('\n');
}
