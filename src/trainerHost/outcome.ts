/** What a run that has ended has come to: read from the end of its events, since of many runs most are never followed. */
import fs from 'node:fs/promises';
import { parseEvent } from './eventTail';

export interface Outcome {
  /** Of the last step. */
  loss: number | null;
  /** Of what was trained, from 0 to 1; null where it was not measured. */
  attackSuccess: number | null;
}

/** After the last step come its checkpoint and the measuring of the result: some hundred short lines. */
const readBytes = 256 * 1024;

export async function readOutcome(eventsFile: string): Promise<Outcome> {
  const outcome: Outcome = { loss: null, attackSuccess: null };
  const lines = await lastLines(eventsFile).catch(() => []); // not there, or not for us to read: nothing is known
  for (const line of lines) {
    const parsed = parseEvent(line);
    if (!('event' in parsed)) continue;
    const { event } = parsed;
    if (event.type === 'attempt_started') break; // what an earlier attempt came to does not count
    if (event.type === 'evaluation' && event.model === 'after') outcome.attackSuccess ??= event.metrics.attackSuccess.value;
    if (event.type !== 'batch') continue;
    outcome.loss = event.total;
    break;
  }
  return outcome;
}

/** Newest first; the oldest may be torn, and is then no event. */
async function lastLines(file: string): Promise<string[]> {
  const handle = await fs.open(file, 'r');
  try {
    const { size } = await handle.stat();
    const buffer = Buffer.alloc(Math.min(size, readBytes));
    await handle.read(buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString('utf8').split('\n').reverse();
  } finally {
    await handle.close();
  }
}
