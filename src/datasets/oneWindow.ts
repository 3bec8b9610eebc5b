/**
 * Files that several windows may change: each is a process of its own, and two that changed a file at once would each
 * write it without what the other has changed.
 */
import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { access, chmod, constants, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { takeLock } from '../common/fileLock';
import { errorText } from '../common/log';
import { UserError } from '../common/userError';

const BYTE_ORDER_MARK = '\ufeff';

/** Does it while every other window waits that wants to do something with the same file. */
export async function alone<T>(file: string, act: () => Promise<T>): Promise<T> {
  const name = path.basename(file);
  const lock = `${file}.changing~`;
  const busy = () => new UserError(l10n.t`Another window is changing ${name}, so nothing was done. Try again when it has ended; if there is none, delete ${path.basename(lock)} beside the file.`);
  const giveBack = await takeLock(lock, busy).catch((error: unknown) => {
    if (error instanceof UserError) throw error;
    throw new UserError(l10n.t`Nothing was done with ${name}, as nothing can be written beside it: ${errorText(error)}. Allow its folder to be written, and try again.`);
  });
  try {
    return await act();
  } finally {
    await giveBack();
  }
}

/** Changes a small file as a whole; `changed` gets what it says, nothing where there is none. */
export async function changeFile(named: string, changed: (text: string) => string): Promise<void> {
  const file = await realPath(named);
  await refuseReadOnly(file);
  await alone(file, async () => {
    const beside = `${file}.${randomUUID().slice(0, 8)}.tmp`;
    const mode = await stat(file).then(found => found.mode, () => undefined);
    try {
      const text = mode === undefined ? '' : await textOf(file);
      const bom = text.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK : '';
      await writeFile(beside, bom + changed(text.slice(bom.length)), { flag: 'wx', flush: true });
      if (mode !== undefined) await chmod(beside, mode);
      await rename(beside, file);
    } finally {
      await rm(beside, { force: true });
    }
  });
}

async function textOf(file: string): Promise<string> {
  const bytes = await readFile(file);
  if (isUtf8(bytes)) return bytes.toString();
  throw new UserError(l10n.t`${path.basename(file)} is not valid UTF-8, so it was left as it is. Save it with the encoding UTF-8, and try again.`);
}

/** The file that a link leads to. */
export const realPath = (file: string): Promise<string> => realpath(file).catch(() => file);

/** A new file in its place would not need the permission that somebody took away from it, or never gave. */
export async function refuseReadOnly(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined); // one that is not there yet
  if (!found) return;
  const mayWrite = await access(file, constants.W_OK).then(() => (found.mode & 0o222) > 0, () => false);
  if (!mayWrite) throw new UserError(l10n.t`${path.basename(file)} is read-only, so nothing was done. Allow it to be written, and try again.`);
}
