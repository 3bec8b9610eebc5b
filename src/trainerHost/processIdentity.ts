/** Is a process still the one that was recorded? A process id alone is given out again. */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import type { ProcessRecord } from '../protocol/messages';

/** Clocks of process starts are coarse: ticks on Linux, whole seconds from `ps`. */
export const startTimeToleranceSeconds = 2;
const ticksPerSecond = 100; // USER_HZ, fixed in Linux's interface to user space

/** What people or strangers may have written, as a process that can be looked for; undefined when it is none. */
export function asProcessRecord(value: unknown): ProcessRecord | undefined {
  const { pid, startTime, host } = (value ?? {}) as Partial<ProcessRecord>;
  return isPid(pid) && Number.isFinite(startTime) && typeof host === 'string' ? (value as ProcessRecord) : undefined;
}

const isPid = (pid: unknown): boolean => Number.isSafeInteger(pid) && (pid as number) > 0;

let mayAsk = () => true;

/** Elsewhere than on Linux another program is asked about a process: none is started unless this allows it. */
export function askOnlyIf(allowed: () => boolean): void {
  mayAsk = allowed;
}

/** Seconds since the Unix epoch. `gone`: there is no such process, or a zombie. `unknown`: it cannot be told now. */
export type StartTime = number | 'gone' | 'unknown';

/** Start of a running process. */
export async function processStartTime(pid: number): Promise<StartTime> {
  if (!isPid(pid)) return 'gone';
  switch (process.platform) {
    case 'linux':
      return linuxStartTime(pid);
    case 'win32':
      return printedDate('powershell.exe', [
        '-NoProfile',
        '-Command',
        `Get-Process -Id ${pid} -ErrorAction SilentlyContinue | ForEach-Object { $_.StartTime.ToUniversalTime().ToString('o') }`,
      ]);
    default:
      return printedDate('ps', ['-o', 'lstart=', '-p', String(pid)]);
  }
}

function linuxStartTime(pid: number): StartTime {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name, in parentheses, may hold anything; fields are counted behind it (proc(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const bootTime = /^btime (\d+)$/m.exec(fs.readFileSync('/proc/stat', 'utf8'))?.[1];
    if (fields[0] === 'Z') return 'gone';
    return bootTime === undefined ? 'unknown' : Number(bootTime) + Number(fields[19]) / ticksPerSecond;
  } catch (error) {
    return ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '') ? 'gone' : 'unknown';
  }
}

/** The date that a program prints about a process: nothing when there is none, and a complaint when it cannot tell. */
function printedDate(command: string, args: string[]): Promise<StartTime> {
  if (!mayAsk()) return Promise.resolve('unknown');
  return new Promise(resolve => {
    execFile(command, args, { windowsHide: true, env: { ...process.env, LC_ALL: 'C' } }, (error, stdout, stderr) => {
      const ended = !error || typeof error.code === 'number'; // it ran, and was not killed
      if (ended && !stdout.trim() && !stderr.trim()) return resolve('gone');
      const milliseconds = Date.parse(stdout.trim());
      resolve(Number.isNaN(milliseconds) ? 'unknown' : milliseconds / 1000);
    });
  });
}

/**
 * Whether exactly this process still runs on this machine; undefined for a process of another machine. Where its
 * start time cannot be told, a process of the user's with its id will do.
 */
export async function isAlive(record: ProcessRecord): Promise<boolean | undefined> {
  if (record.host !== os.hostname()) return undefined;
  let ours = true;
  try {
    process.kill(record.pid, 0); // cheap, and the usual answer
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    ours = false;
  }
  const start = await processStartTime(record.pid);
  return start === 'unknown' ? ours : isStart(start, record);
}

/** Whether this is for certain the recorded process, so that it may be ended. */
export async function isConfirmed(record: ProcessRecord): Promise<boolean> {
  const mayBeEnded = record.host === os.hostname() && record.pid > 1; // as a group, 1 means every process
  return mayBeEnded && isStart(await processStartTime(record.pid), record);
}

const isStart = (start: StartTime, record: ProcessRecord): boolean =>
  typeof start === 'number' && Math.abs(start - record.startTime) <= startTimeToleranceSeconds;
