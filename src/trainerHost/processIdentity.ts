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

/** Start of a running process in seconds since the Unix epoch; undefined when there is none (or a zombie). */
export async function processStartTime(pid: number): Promise<number | undefined> {
  if (!isPid(pid)) return undefined;
  switch (process.platform) {
    case 'linux':
      return linuxStartTime(pid);
    case 'win32':
      return printedDate('powershell.exe', [
        '-NoProfile',
        '-Command',
        `(Get-Process -Id ${pid} -ErrorAction Stop).StartTime.ToUniversalTime().ToString('o')`,
      ]);
    default:
      return printedDate('ps', ['-o', 'lstart=', '-p', String(pid)]);
  }
}

function linuxStartTime(pid: number): number | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name, in parentheses, may hold anything; fields are counted behind it (proc(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const bootTime = /^btime (\d+)$/m.exec(fs.readFileSync('/proc/stat', 'utf8'))?.[1];
    if (fields[0] === 'Z' || !bootTime) return undefined;
    return Number(bootTime) + Number(fields[19]) / ticksPerSecond;
  } catch {
    return undefined;
  }
}

function printedDate(command: string, args: string[]): Promise<number | undefined> {
  if (!mayAsk()) return Promise.resolve(undefined);
  return new Promise(resolve => {
    execFile(command, args, { windowsHide: true, env: { ...process.env, LC_ALL: 'C' } }, (error, stdout) => {
      const milliseconds = error ? NaN : Date.parse(stdout.trim());
      resolve(Number.isNaN(milliseconds) ? undefined : milliseconds / 1000);
    });
  });
}

/** Whether exactly this process still runs on this machine; undefined for a process of another machine. */
export async function isAlive(record: ProcessRecord): Promise<boolean | undefined> {
  if (record.host !== os.hostname()) return undefined;
  try {
    process.kill(record.pid, 0); // cheap, and the usual answer
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const start = await processStartTime(record.pid);
  return start !== undefined && Math.abs(start - record.startTime) <= startTimeToleranceSeconds;
}
