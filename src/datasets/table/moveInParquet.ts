/**
 * Moves rows of Parquet files: the trainer, whose library knows all of the format, writes both files anew beside
 * the old ones; here they change places. The old ones are kept until nobody can want them back.
 */
import { randomUUID } from 'node:crypto';
import { chmod, copyFile, link, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import type { RowLocation } from '../../common/commands';
import { errorText } from '../../common/log';
import { UserError } from '../../common/userError';
import { changedSince, inTurn, type Moved } from './moveOnDisk';
import { stampIfThere } from './sources';

/** Files of a split; those that are written must not be there. */
export interface Split {
  dataset: string;
  /** Lines of a row's number and its content hash. */
  rows: string;
  taken: string;
  rest: string;
  /** A file whose rows come before those that are taken. */
  behind?: string;
}

/** Rejects with what to tell the user. Once aborted, nothing is written any more. */
export type SplitRows = (split: Split, signal: AbortSignal) => Promise<void>;

export function moveInParquet(rows: readonly RowLocation[], to: string, splitRows: SplitRows, signal: AbortSignal): Promise<Moved> {
  return inTurn(rows, to, async (from, to) => {
    const key = randomUUID().slice(0, 8);
    const list = `${from}.${key}.rows.tmp`;
    const files = [await Exchange.of(to, key), await Exchange.of(from, key)] as const; // no row is on no disk in between
    const [target, source] = files;
    try {
      await writeFile(list, rows.map(({ line, hash }) => `${line} ${hash}\n`).join(''), { flag: 'wx' });
      await splitRows({ dataset: from, rows: list, taken: target.beside, rest: source.beside, ...(target.before && { behind: to }) }, signal);
      signal.throwIfAborted();
      for (const file of files) await file.swapIn(from);
    } catch (error) {
      for (const file of files) await file.putBack();
      if (signal.aborted || error instanceof UserError) throw error;
      throw new UserError(l10n.t`Nothing was moved from ${path.basename(from)}: ${errorText(error)}`);
    } finally {
      await rm(list, { force: true });
      for (const { beside } of files) await rm(beside, { force: true });
    }
    return {
      async undo() {
        if ((await source.isChanged()) || (await target.isChanged())) throw changedSince(from, to);
        for (const file of [source, target]) await file.putBack();
      },
      async forget() {
        for (const file of files) await file.forget();
      },
    };
  });
}

/** A file, and the new one that takes its place. */
class Exchange {
  readonly beside: string;
  private readonly kept: string;
  private after: string | undefined;

  /** `before`: undefined where there is no such file. */
  private constructor(
    private readonly file: string,
    key: string,
    readonly before: string | undefined,
  ) {
    this.beside = `${file}.${key}.tmp`;
    this.kept = `${file}.${key}.before-move~`;
  }

  static async of(file: string, key: string): Promise<Exchange> {
    return new Exchange(file, key, await stampIfThere(file));
  }

  async isChanged(): Promise<boolean> {
    return (await stampIfThere(this.file)) !== this.after;
  }

  /** A new file may be read by whom `like` may be read by. */
  async swapIn(like: string): Promise<void> {
    if ((await stampIfThere(this.file)) !== this.before) throw new UserError(l10n.t`${path.basename(this.file)} has changed meanwhile, so nothing was moved. Try again.`);
    await chmod(this.beside, (await stat(this.before ? this.file : like)).mode);
    if (this.before) await link(this.file, this.kept).catch(() => copyFile(this.file, this.kept));
    await rename(this.beside, this.file);
    this.after = await stampIfThere(this.file);
  }

  /** As it was, unless others have written it since: then what they wrote counts more. */
  async putBack(): Promise<void> {
    if (this.after !== undefined && !(await this.isChanged())) {
      if (this.before) await rename(this.kept, this.file);
      else await rm(this.file);
    }
    await this.forget();
  }

  forget(): Promise<void> {
    return rm(this.kept, { force: true });
  }
}
