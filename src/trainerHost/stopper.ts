/** Ends a run: asks first, then ends the process, and only the process that was recorded. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProcessRecord } from '../protocol/messages';
import { isAlive, isConfirmed } from './processIdentity';
import { endTree } from './processTree';

export interface StopTarget {
  /** The process that works on the run, as recorded; undefined when none is known (yet). */
  process(): ProcessRecord | undefined;
  /** Whether the trainer has answered the request. */
  answered(): boolean;
}

export interface Patience {
  terminateAfter: number;
  killAfter: number;
}

/** Milliseconds without an answer. */
export const patience: Patience = { terminateAfter: 10_000, killAfter: 20_000 };
/** A process that is still loading its libraries hears nothing yet, and has nothing to lose. */
export const impatience: Patience = { terminateAfter: 1_500, killAfter: 5_000 };

const pollMilliseconds = 100;

export type StopOutcome = 'answered' | 'ended' | 'terminated' | 'killed' | 'unreachable';

/**
 * Waits for the answer to a request to stop. Without one, the process and its children are terminated, then
 * killed, if that process is for certain the recorded one. Of any other, as on another machine, one can only ask.
 */
export async function escalate(target: StopTarget, limits: Patience): Promise<StopOutcome> {
  let done: StopOutcome = 'ended';
  const begun = Date.now();
  for (;;) {
    if (done === 'ended' && target.answered()) return 'answered';
    const record = target.process();
    const alive = record && (await isAlive(record));
    if (alive === false) return done;
    const waited = Date.now() - begun;
    if (record && alive && waited >= limits.killAfter && (await isConfirmed(record))) {
      await endTree(record.pid, 'SIGKILL');
      return 'killed';
    }
    if (record && alive && waited >= limits.terminateAfter && done === 'ended' && (await isConfirmed(record))) {
      await endTree(record.pid, 'SIGTERM');
      done = 'terminated';
    }
    if (waited >= limits.killAfter) return 'unreachable';
    await sleep(pollMilliseconds);
  }
}
