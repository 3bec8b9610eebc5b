// The checkout's own `.venv`, made by the extension's code and completed with what tests and builds need.
import { tsImport } from 'tsx/esm/api';
import { inRoot, python, venv } from './paths.mjs';
import { interruptSignal, mustRun, UserError } from './run.mjs';

export async function create() {
  const environment = await tsImport('../src/trainerHost/environment.ts', import.meta.url);
  let shown = '';
  try {
    await environment.setUpEnvironment({
      python: await environment.findPython({ forVenv: true }),
      venv,
      requirements: inRoot('trainer/requirements.txt'),
      trainer: inRoot('trainer'),
      signal: interruptSignal,
      onProgress({ message }) {
        // A download tells every percent; a terminal or log wants one line a part.
        const line = message.replace(/, \d+ of (\d+ MB)/, ' ($1)');
        if (line !== shown) console.log(`  ${line}`);
        shown = line;
      },
    });
  } catch (error) {
    if (error instanceof environment.EnvironmentError) throw new UserError(`${error.message} ${error.nextStep}\n${error.detail}`);
    throw error;
  }
  console.log('  packages for tests and builds');
  await mustRun(python, ['-m', 'pip', 'install', '--quiet', '-r', inRoot('trainer/requirements-dev.txt')]);
}
