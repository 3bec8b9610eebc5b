// npm run results -- NAME: makes a section of docs/results.md with bench/NAME.py.
import { inRoot, python } from './paths.mjs';
import { fail, handleInterrupts, pythonEnvironment, runProgram, UserError } from './run.mjs';
import { setUp } from './setup.mjs';

const scripts = { anchoring: 'bench/anchoring.py', canary: 'bench/canary.py', example: 'bench/example.py', matrix: 'bench/matrix.py', tuning: 'bench/tuning.py', refusals: 'bench/refusals.py', classifier: 'bench/classifier.py' };

async function results([name, ...rest]) {
  const script = scripts[name];
  if (!script) throw new UserError(`Which results? npm run results -- ${Object.keys(scripts).join('|')}`);
  await setUp('python', 'classifier', 'model');
  const { code } = await runProgram(python, [inRoot(script), ...rest], {
    env: { ...pythonEnvironment, PYTHONPATH: inRoot('trainer') },
  });
  return code;
}

handleInterrupts();
results(process.argv.slice(2)).then(code => process.exit(code), fail);
