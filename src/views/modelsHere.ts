/** Chat models that are on this machine: in the cache of the Hugging Face hub, and in folders. */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

/** Where the hub's libraries keep what they download, by the variables that they read. */
export function hubCache(environment: NodeJS.ProcessEnv = process.env): string {
  const { HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = environment;
  return HF_HUB_CACHE || path.join(HF_HOME || path.join(XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'huggingface'), 'hub');
}

/** Names of the models in the cache that are there with a configuration, sorted. */
export async function cachedModels(cache = hubCache()): Promise<string[]> {
  const folders = (await namesIn(cache)).filter(name => name.startsWith('models--'));
  const found = await Promise.all(folders.map(async folder => ((await hasConfiguration(path.join(cache, folder, 'snapshots'))) ? [folder.slice('models--'.length).replaceAll('--', '/')] : [])));
  return found.flat().sort((a, b) => a.localeCompare(b));
}

async function hasConfiguration(snapshots: string): Promise<boolean> {
  const found = await Promise.all((await namesIn(snapshots)).map(name => isModelFolder(path.join(snapshots, name))));
  return found.includes(true);
}

export const isModelFolder = (folder: string): Promise<boolean> =>
  fs.access(path.join(folder, 'config.json')).then(
    () => true,
    () => false,
  );

const namesIn = (folder: string): Promise<string[]> => fs.readdir(folder).catch(() => []);

/** Whether the hub could have a model of this name. */
export const mayBeOnTheHub = (name: string): boolean => /^[\w.-]{1,96}(\/[\w.-]{1,96})?$/.test(name) && !/^[.-]|\.\.|--/.test(name);
