// Benchmarks:  npm run bench -- NAME [--quick]
// A benchmark writes into the file given with --output a JSON list of {name, value, unit, goal, holds}: `goal` is a
// condition in words or null, and `holds` says whether it is met, or null.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { inRoot, python, root } from './paths.mjs';
import { fail, handleInterrupts, mustRun, pythonEnvironment, runProgram, UserError } from './run.mjs';
import { setUp } from './setup.mjs';

const programs = { host: 'bench/host.mjs', monitor: 'bench/monitor.mjs', scan: 'bench/scan.mjs', trainer: 'bench/trainer.py' };

async function main() {
  const [name, ...options] = process.argv.slice(2);
  if (!Object.hasOwn(programs, name ?? '') || options.some(option => option !== '--quick')) {
    throw new UserError(`npm run bench -- NAME [--quick], where NAME is one of: ${Object.keys(programs).join(', ')}.`);
  }
  await setUp('node', 'classifier', 'model', ...(name === 'trainer' ? ['bench'] : []));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'safe-finetuning-bench-'));
  const file = path.join(folder, 'results.json');
  try {
    const program = inRoot(programs[name]);
    const { code } = await runProgram(program.endsWith('.py') ? python : process.execPath, [program, ...options, '--output', file], {
      cwd: root,
      env: { ...pythonEnvironment, PYTHONPATH: inRoot('trainer') },
    });
    if (code !== 0) throw new UserError(`${programs[name]} ended with exit code ${code}.`);
    const results = JSON.parse(fs.readFileSync(file, 'utf8'));
    console.log(`\n${table(results)}`);
    fs.mkdirSync(inRoot('bench', 'results'), { recursive: true });
    fs.writeFileSync(inRoot('bench', 'results', `${name}.json`), `${JSON.stringify({ processor: `${os.availableParallelism()} × ${os.cpus()[0].model}`, results }, null, 2)}\n`);
    if (name !== 'trainer' && options.length === 0) await mustRun(python, [inRoot('bench/page.py'), name], { env: pythonEnvironment }); // the trainer's writes its own
    if (results.some(({ holds }) => holds === false)) process.exitCode = 1;
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

function table(results) {
  const figure = value => (Number.isInteger(value) || value >= 1000 ? value.toFixed(0) : value.toPrecision(3));
  const verdict = { true: '✔', false: '✖', null: '' };
  const rows = results.map(({ name, value, unit, goal, holds }) => [name, `${figure(value)} ${unit}`, goal ?? '', verdict[holds]]);
  const cells = [['', 'measured', 'goal', ''], ...rows];
  const widths = cells[0].map((_, column) => Math.max(...cells.map(row => row[column].length)));
  return cells.map(row => row.map((text, column) => text.padEnd(widths[column])).join('   ').trimEnd()).join('\n');
}

handleInterrupts();
await main().catch(fail);
