/** Starts the trainer as a process of its own, which goes on when the window goes away. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { processStartTime } from './processIdentity';
import { endTree } from './processTree';
import { attemptLine, createRunFolder, logFile, makeRunsFolder, newRunId, notWritable, updateMeta, type RunMeta } from './runFolder';
import { trainerArguments, trainerEnvironment, type Trainer } from './trainerCommand';

export interface Launched {
  folder: string;
  /** Settles when the process has ended, if this window is still there then. */
  ended: Promise<void>;
}

/** A new run of a configuration. One that cannot begin leaves nothing behind that looks as if it might. */
export async function launchRun(trainer: Trainer, configPath: string, method: string, runsFolder: string): Promise<Launched> {
  const id = newRunId(method);
  const folder = path.join(runsFolder, id);
  const args = trainerArguments('train', configPath, '--run-folder', folder);
  createRunFolder(runsFolder, {
    id,
    ts: Date.now(),
    argv: [trainer.interpreter, ...args],
    interpreter: trainer.interpreter,
    configPath,
  });
  try {
    return await start(trainer, args, configPath, folder);
  } catch (error) {
    await fs.promises.rm(folder, { recursive: true, force: true }).catch(() => undefined); // the error says more
    throw error;
  }
}

/** A new attempt at a run, from its last complete checkpoint. */
export function resumeRun(trainer: Trainer, configPath: string, folder: string): Promise<Launched> {
  return start(trainer, trainerArguments('train', configPath, '--run-folder', folder, '--resume'), configPath, folder);
}

async function start(trainer: Trainer, args: string[], configPath: string, folder: string): Promise<Launched> {
  const log = openLog(folder, attemptLine([trainer.interpreter, ...args]));
  try {
    const child = spawn(trainer.interpreter, args, {
      cwd: path.dirname(configPath),
      env: trainerEnvironment(trainer),
      stdio: ['ignore', log, log],
      detached: true,
      windowsHide: true,
    });
    child.unref();
    let exit: RunMeta['exit'];
    const ended = new Promise<void>(resolve => {
      child.once('exit', (code, signal) => {
        exit = { code, signal };
        // Where the folder is gone or full the process's end shows without it.
        void updateMeta(folder, () => ({ exit })).catch(() => undefined).then(() => resolve());
      });
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', error => {
        fs.writeSync(log, `The trainer could not be started: ${error.message}\n`);
        reject(new Error(l10n.t`The trainer could not be started with ${trainer.interpreter}: ${error.message}`));
      });
    });
    const pid = child.pid as number;
    const start = await processStartTime(pid);
    const startTime = typeof start === 'number' ? start : Date.now() / 1000; // gone already: its exit is seen next
    try {
      await updateMeta(folder, () => ({ launched: { pid, startTime, host: os.hostname() }, exit, cancelled: undefined }));
    } catch (error) {
      await endTree(pid, 'SIGKILL'); // nobody could find it again
      throw notWritable(folder, error);
    }
    return { folder, ended };
  } finally {
    fs.closeSync(log);
  }
}

function openLog(folder: string, firstLine: string): number {
  try {
    const log = fs.openSync(logFile(folder), 'a', 0o600);
    fs.writeSync(log, firstLine);
    return log;
  } catch (error) {
    throw notWritable(folder, error);
  }
}

const lockName = '.starting';
const staleLockMilliseconds = 60_000;

/** Lets one window at a time start a run among the runs of a folder. */
export async function withLaunchLock<T>(runsFolder: string, launch: () => Promise<T>): Promise<T> {
  makeRunsFolder(runsFolder);
  const lock = path.join(runsFolder, lockName);
  takeLock(lock);
  try {
    return await launch();
  } finally {
    fs.rmSync(lock, { force: true });
  }
}

function takeLock(lock: string): void {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      fs.closeSync(fs.openSync(lock, 'wx', 0o600));
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw notWritable(path.dirname(lock), error);
    }
    const age = Date.now() - (fs.statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    if (age < staleLockMilliseconds) {
      throw new Error(l10n.t('Another run is being started in this workspace at this moment. It will show up in the runs view.'));
    }
    fs.rmSync(lock, { force: true }); // left by a window that died while starting
  }
}
