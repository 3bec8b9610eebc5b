/** Rows that were put aside lie in a file beside the dataset, of its format. */
import path from 'node:path';

const QUARANTINE = '.quarantine';

/** `support.jsonl` → `support.quarantine.jsonl`. */
export function quarantineOf(dataset: string): string {
  const { dir, name, ext } = path.parse(dataset);
  return path.join(dir, name + QUARANTINE + ext);
}

/** `support.quarantine.jsonl` → `support.jsonl`. */
export function datasetOf(quarantine: string): string {
  const { dir, name, ext } = path.parse(quarantine);
  return path.join(dir, name.slice(0, -QUARANTINE.length) + ext);
}

/** Nothing there needs to be flagged again. */
export function isQuarantine(file: string): boolean {
  return path.parse(file).name.endsWith(QUARANTINE);
}
