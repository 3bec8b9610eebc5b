/** What differs between the configurations of runs. Pure. */
import type { RunConfig } from '../protocol/messages';

export interface Difference {
  /** As in training.batchSize. */
  path: string;
  /** By run; null where a run has no such setting. */
  values: (string | null)[];
}

/** The settings in which the runs do not all agree, in the order of the configuration. A run without one is left out of account. */
export function configDifferences(configs: readonly (RunConfig | null | undefined)[]): Difference[] {
  const flat = configs.map(config => (config ? flatten(config) : undefined));
  const paths = [...new Set(flat.flatMap(settings => [...(settings?.keys() ?? [])]))];
  const known = flat.filter(settings => settings !== undefined);
  return paths
    .filter(path => path !== '$schema') // of editors
    .filter(path => new Set(known.map(settings => settings.get(path))).size > 1)
    .map(path => ({ path, values: flat.map(settings => settings?.get(path) ?? null) }));
}

/** Every setting by its dotted path; a list is one value. */
export function flatten(value: object, prefix = ''): Map<string, string> {
  const settings = new Map<string, string>();
  for (const [key, inside] of Object.entries(value) as [string, unknown][]) {
    const path = prefix + key;
    if (isSection(inside)) for (const entry of flatten(inside, `${path}.`)) settings.set(...entry);
    else settings.set(path, typeof inside === 'string' ? inside : JSON.stringify(inside));
  }
  return settings;
}

const isSection = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value);
