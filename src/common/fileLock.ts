/** A file by which the windows of a machine, which are processes of their own, take turns. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';

const waitMilliseconds = 10_000;
const lookAgainMilliseconds = 20;

/** Takes the lock as soon as nobody has it, and returns what gives it back. Rejects where it cannot be written, or with `busy` when that takes too long. */
export async function takeLock(lock: string, busy: () => Error): Promise<() => Promise<void>> {
  for (const end = Date.now() + waitMilliseconds; !(await isTaken(lock)); await pause(lookAgainMilliseconds)) {
    if (Date.now() > end) throw busy();
  }
  return () => rm(lock, { force: true });
}

/** Whether the lock is ours now. One whose process has ended is removed. */
async function isTaken(lock: string): Promise<boolean> {
  try {
    await writeFile(lock, `${hostname()} ${process.pid}`, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      await rm(lock, { force: true }).catch(() => undefined); // created, and then the disk was full
      throw error;
    }
    const [host, holder] = (await readFile(lock, 'utf8').catch(() => '')).split(' ');
    if (host === hostname() && holder && !isRunning(Number(holder))) await rm(lock, { force: true });
    return false;
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
