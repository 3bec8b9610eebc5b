/** Which subfolders of a folder are runs: known without looking at each again, as long as the folder says that none came or went. */
import fs from 'node:fs';
import path from 'node:path';
import { Pace } from '../common/pace';
import { eventsFile, launchFile, runFile } from './runFolder';

/** Times of folders are coarse: one that is younger may have changed since. */
const settledMilliseconds = 2000;
/** Every so often all are looked at in any case: some mounts tell times late. */
const looksBetweenFull = 20;

export class RunFolders {
  private stamp = NaN;
  private looks = 0;
  private names: string[] = [];
  private readonly runs = new Set<string>();

  constructor(private readonly folder: string) {}

  /** The runs' folders. */
  async look(): Promise<readonly string[]> {
    const full = this.looks++ % looksBetweenFull === 0;
    if (full) this.runs.clear();
    if (full || !(await this.isUnchanged())) await this.list();
    const pace = new Pace();
    for (const name of this.names) {
      if (pace.isOver) await pace.pause();
      if (!this.runs.has(name) && isRun(path.join(this.folder, name))) this.runs.add(name);
    }
    return [...this.runs].map(name => path.join(this.folder, name));
  }

  private async isUnchanged(): Promise<boolean> {
    const changed = (await fs.promises.stat(this.folder).catch(() => undefined))?.mtimeMs ?? NaN;
    const same = changed === this.stamp;
    this.stamp = Date.now() - changed > settledMilliseconds ? changed : NaN;
    return same;
  }

  private async list(): Promise<void> {
    const entries = await fs.promises.readdir(this.folder, { withFileTypes: true }).catch(() => []); // no run yet
    this.names = entries.filter(entry => entry.isDirectory()).map(entry => entry.name);
    const present = new Set(this.names);
    for (const name of this.runs) {
      if (!present.has(name)) this.runs.delete(name);
    }
  }
}

/** A copy may have its events only. */
const isRun = (folder: string): boolean => [launchFile, runFile, eventsFile].some(file => fs.existsSync(file(folder)));
