/** Workers read text and forget it: collected early, what they have read does not pile up. */
import type { ResourceLimits } from 'node:worker_threads';

export const SHORT_LIVED: ResourceLimits = { maxYoungGenerationSizeMb: 2 };
