/** How the trainer's command line is called: always the extension's own copy, in the user's interpreter. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import * as l10n from '@vscode/l10n';
import { endTree } from './processTree';

export interface Trainer {
  interpreter: string;
  /** Folder that holds the package `safe_finetuning`. */
  folder: string;
  /** Environment variables that are the user's secrets. */
  secrets?: NodeJS.ProcessEnv;
}

export const trainerArguments = (...args: string[]): string[] => ['-m', 'safe_finetuning', ...args];

export function trainerEnvironment({ folder, secrets }: Trainer): NodeJS.ProcessEnv {
  const { PYTHONHOME: _home, ...inherited } = process.env;
  return {
    ...inherited,
    PYTHONPATH: [folder, inherited.PYTHONPATH].filter(Boolean).join(path.delimiter),
    PYTHONUNBUFFERED: '1',
    PYTHONUTF8: '1',
    HF_HUB_DISABLE_TELEMETRY: '1',
    DO_NOT_TRACK: '1',
    TOKENIZERS_PARALLELISM: 'false',
    ...secrets,
  };
}

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** What a command that failed says of it; that may have several lines. */
export const failureOf = ({ code, stderr }: Ended): string =>
  stderr.trim().split(/^error: /m).at(-1) || l10n.t`The trainer ended with exit code ${String(code)} and said nothing.`;

/**
 * Runs a trainer command to its end. Aborting ends it; its output so far is returned. `onMessage` gets the lines
 * that it writes beside its output.
 */
export function runTrainer(
  trainer: Trainer,
  args: string[],
  cwd: string,
  signal?: AbortSignal,
  onMessage?: (line: string) => void,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(trainer.interpreter, trainerArguments(...args), {
      cwd,
      env: trainerEnvironment(trainer),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: process.platform !== 'win32',
      windowsHide: true,
    });
    const output = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
    if (onMessage) createInterface(child.stderr).on('line', onMessage);
    const end = () => child.pid && void endTree(child.pid, 'SIGKILL');
    if (signal?.aborted) end();
    signal?.addEventListener('abort', end);
    child.once('error', reject);
    child.once('close', code => {
      signal?.removeEventListener('abort', end);
      resolve({ code, ...output });
    });
  });
}
