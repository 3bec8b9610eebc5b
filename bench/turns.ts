/** Runs inside the extension host: for how long its thread is busy without a pause. */

/**
 * The longest time, in milliseconds, that this thread computed without going back to its event loop.
 * Its processor time counts: waiting for a processor that others use is not the extension's doing.
 */
export async function blockWhile(work: () => Promise<unknown>): Promise<number> {
  let [longest, last, over] = [0, threadMilliseconds(), false];
  const look = (): void => {
    const now = threadMilliseconds();
    longest = Math.max(longest, now - last);
    last = now;
    if (!over) setImmediate(look);
  };
  setImmediate(look);
  await work();
  over = true;
  return longest;
}

export function threadMilliseconds(): number {
  const { user, system } = (process as unknown as { threadCpuUsage(): { user: number; system: number } }).threadCpuUsage();
  return (user + system) / 1000;
}
