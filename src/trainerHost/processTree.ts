/** Child processes that are ended together with everything they started. */
import { execFile, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';

/** Starts a process as the leader of its own group, so that `endTree` reaches its children too. */
export function spawnTree(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  return spawn(command, args, { ...options, detached: process.platform !== 'win32', windowsHide: true });
}

/** Ends a process and its children: politely, or at once. A process that is gone already is no error. */
export function endTree(pid: number, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (process.platform === 'win32') {
    const force = signal === 'SIGKILL' ? ['/F'] : [];
    return new Promise(resolve => {
      execFile('taskkill', ['/PID', String(pid), '/T', ...force], { windowsHide: true }, () => resolve());
    });
  }
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, signal);
      break; // the whole group has it
    } catch {
      // not the leader of a group: the process alone; or gone
    }
  }
  return Promise.resolve();
}
