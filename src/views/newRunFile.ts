/** Where the configuration of a new run goes, and how it gets there. */
import fs from 'node:fs';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { UserError } from '../common/userError';
import { EXTENSIONS } from '../datasets/formats';

const EXTENSION = '.finetune.json';

export const configurationPath = (folder: string, name: string): string => path.join(folder, name + EXTENSION);

/** `data/support.jsonl` → `support`, or the first of `support-2`, `support-3`, … that is free in the folder. */
export function freeName(folder: string, dataset: string): string {
  const { base, name, ext } = path.parse(dataset);
  const own = (EXTENSIONS.includes(ext.toLowerCase()) ? name : base).replace(/[*?[\]]+/g, '') || 'run';
  for (let number = 1; ; number++) {
    const free = number === 1 ? own : `${own}-${number}`;
    if (!fs.existsSync(configurationPath(folder, free))) return free;
  }
}

/** What is wrong with a name; undefined where nothing is. */
export function nameProblem(folder: string, name: string): string | undefined {
  if (name.trim() === '') return l10n.t('Give it a name.');
  if (/[\\/:*?"<>|\0]/.test(name) || /^\.|\.$/.test(name)) return l10n.t('A file cannot have this name.');
  return fs.existsSync(configurationPath(folder, name)) ? l10n.t`${name}${EXTENSION} is there already; it is not overwritten.` : undefined;
}

/** A path as a configuration in `folder` names it, with `/` on every system. */
export function pathFrom(folder: string, file: string): string {
  const relative = path.relative(folder, file);
  return path.isAbsolute(relative) ? file : relative.split(path.sep).join('/');
}

/** Writes beside and renames, and never over what is there: the name is taken first. */
export function writeNew(file: string, text: string): void {
  const beside = `${file}.${process.pid}.tmp`;
  try {
    fs.closeSync(fs.openSync(file, 'wx'));
  } catch (error) {
    throw notWritten(file, error);
  }
  try {
    fs.writeFileSync(beside, text);
    fs.renameSync(beside, file);
  } catch (error) {
    for (const ours of [beside, file]) fs.rmSync(ours, { force: true });
    throw notWritten(file, error);
  }
}

function notWritten(file: string, error: unknown): UserError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EEXIST') return new UserError(l10n.t`${path.basename(file)} is there already; it was left as it is. Choose another name.`);
  return new UserError(l10n.t`${file} cannot be written: ${message}`);
}
