/** Worker threads that read text and forget it: what they have read must not pile up. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { ResourceLimits } from 'node:worker_threads';

export const SHORT_LIVED: ResourceLimits = { maxYoungGenerationSizeMb: 2 };

let collect: (() => void) | undefined;

/** To be called after much has been forgotten: by itself, V8 lets a heap grow several times as large first. */
export function collectGarbage(): void {
  if (!collect) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}
