// Runs other programs, and says what is going on.
import { spawn } from 'node:child_process';

/** A problem that the person at the terminal can solve: shown without a stack trace. */
export class UserError extends Error {}

/** Ends the script: 1 after an error, which is told in one line if it is the user's to solve. */
export function fail(error) {
  console.error(`\n✖ ${error instanceof UserError ? error.message : error.stack}`);
  process.exit(1);
}

const interruption = new AbortController();

/** Fails when the script is told to end: everything that waits for long waits for this too. */
export const interrupted = new Promise((_, reject) => {
  interruption.signal.addEventListener('abort', () => reject(new UserError('Interrupted.')));
});
interrupted.catch(() => undefined); // whoever waits handles it
export const interruptSignal = interruption.signal;

/** Lets Ctrl+C and a polite kill end what is running in good order; when said again, `insist` is called. */
export function handleInterrupts(insist = () => process.exit(130)) {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => (interruption.signal.aborted ? insist() : interruption.abort()));
  }
}

/** Python children share the machine with an editor and a browser. */
export const pythonEnvironment = {
  KMP_BLOCKTIME: '0',
  OMP_WAIT_POLICY: 'PASSIVE',
  OMP_NUM_THREADS: '2',
  PYTHONDONTWRITEBYTECODE: '1',
  HF_HUB_DISABLE_TELEMETRY: '1',
  HF_HUB_DISABLE_PROGRESS_BARS: '1',
  TRANSFORMERS_VERBOSITY: 'error',
  PYTHONWARNINGS: 'ignore::FutureWarning',
  DO_NOT_TRACK: '1',
};

// What `npm run` adds for its own script would mislead an npm in another folder.
const inheritedEnvironment = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(config_local_prefix|package_|lifecycle_)/.test(name)));

/**
 * Runs a program to its end.
 * @param {string} command
 * @param {string[]} args
 * @param {{cwd?: string, env?: Record<string, string>, output?: 'show' | 'capture' | 'both'}} [options]
 *   `show` (default): straight to the terminal; `capture`: kept; `both`.
 * @returns {Promise<{code: number, output: string}>}
 */
export function runProgram(command, args, { cwd, env, output = 'show' } = {}) {
  return new Promise((resolve, reject) => {
    const pipe = output === 'show' ? 'inherit' : 'pipe';
    const batch = command.endsWith('.cmd'); // on Windows only a shell runs these
    const child = spawn(command, batch ? args.map(arg => `"${arg}"`) : args, {
      cwd,
      env: { ...inheritedEnvironment(), ...env },
      stdio: ['ignore', pipe, pipe],
      shell: batch,
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', chunk => {
        text += chunk;
        if (output === 'both') process.stdout.write(chunk);
      });
    }
    const end = () => child.kill();
    interruptSignal.addEventListener('abort', end);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      interruptSignal.removeEventListener('abort', end);
      if (interruptSignal.aborted) interrupted.catch(reject);
      else resolve({ code: code ?? (signal ? 128 : 1), output: text });
    });
  });
}

/** As `runProgram`, but quiet, and an error with what the program said when it fails. */
export async function mustRun(command, args, options = {}) {
  const { code, output } = await runProgram(command, args, { output: 'capture', ...options });
  if (code !== 0) {
    const said = output.trim().split('\n').slice(-20).join('\n');
    throw new UserError(`${[command, ...args].join(' ')} ended with exit code ${code}:\n${said}`);
  }
  return output;
}

/** Shows what is being done and, at its end, how long it took. */
export async function step(title, work) {
  const began = Date.now();
  console.log(`▸ ${title} …`);
  const result = await work();
  console.log(`✔ ${title} (${seconds(began)})`);
  return result;
}

export const seconds = began => `${((Date.now() - began) / 1000).toFixed(1)} s`;
