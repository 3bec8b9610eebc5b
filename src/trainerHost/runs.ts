/** The runs of the workspace: found in their folders, watched, one of them the current one. */
import fs from 'node:fs';
import path from 'node:path';
import { Disposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { errorText, type Log } from '../common/log';
import { Run } from './run';
import { isActive, launchFile, runFile, type RunStatus } from './runFolder';

const activeMilliseconds = 1000;
const scanMilliseconds = 3000;

export class RunRegistry extends Disposable {
  private readonly runsByFolder = new Map<string, Run>();
  private readonly statusByRun = new Map<Run, RunStatus>();
  private readonly listChanged = this.register(new Emitter<void>());
  private readonly currentChanged = this.register(new Emitter<Run | undefined>());
  private readonly ended = this.register(new Emitter<Run>());
  private readonly overBudget = this.register(new Emitter<Run>());
  private scanning: Promise<void> | undefined;
  private shown: Run | undefined;

  /** Runs came or went, or one of them stands differently. */
  readonly onDidChange = this.listChanged.event;
  /** Another run is the current one. */
  readonly onDidChangeCurrent = this.currentChanged.event;
  /** A run that was active has ended. */
  readonly onDidEnd = this.ended.event;

  /** The safety budget of a run has just been exceeded. */
  readonly onDidExceedBudget = this.overBudget.event;

  /** @param folders the folders that hold one subfolder per run */
  constructor(
    private readonly folders: () => readonly string[],
    private readonly log: Log,
  ) {
    super();
    this.every(scanMilliseconds, () => this.scan());
    this.every(activeMilliseconds, () => Promise.all(this.runs.filter(run => isActive(run.status)).map(run => run.refresh())));
    this.register({ dispose: () => this.runs.forEach(run => run.dispose()) });
  }

  /** Newest first. */
  get runs(): Run[] {
    return [...this.runsByFolder.values()].sort((a, b) => b.startedAt - a.startedAt || b.id.localeCompare(a.id));
  }

  /** The run that the monitor shows and that commands are for. */
  get current(): Run | undefined {
    return this.shown;
  }

  /** A run that is starting, running or paused. */
  get active(): Run | undefined {
    return this.runs.find(run => isActive(run.status));
  }

  byId(id: string): Run | undefined {
    return this.runs.find(run => run.id === id);
  }

  inFolder(folder: string): Run | undefined {
    return this.runsByFolder.get(folder);
  }

  select(run: Run | undefined): void {
    if (run === this.shown) return;
    this.shown = run;
    run?.follow();
    this.currentChanged.fire(run);
    this.listChanged.fire();
  }

  /** Takes in the run of a folder at once, without waiting for the next look. */
  async add(folder: string): Promise<Run> {
    const run = this.runsByFolder.get(folder) ?? this.attach(folder);
    await run.refresh();
    return run;
  }

  /** Looks for runs that have come or gone. */
  scan(): Promise<void> {
    this.scanning ??= this.look().finally(() => (this.scanning = undefined));
    return this.scanning;
  }

  /** Looks in any case after this call: a look that is under way may have missed what is asked for. */
  async lookAgain(): Promise<void> {
    await this.scanning;
    await this.scan();
  }

  private async look(): Promise<void> {
    const found = new Set((await Promise.all(this.folders().map(runFoldersIn))).flat());
    for (const folder of found) {
      if (!this.runsByFolder.has(folder)) this.attach(folder);
    }
    for (const [folder, run] of this.runsByFolder) {
      if (!found.has(folder)) this.detach(folder, run);
    }
    for (const run of this.runs) {
      await run.refresh();
      await new Promise(setImmediate); // a long history must not block the host
    }
    if (!this.shown) this.select(this.active ?? this.runs[0]);
  }

  private attach(folder: string): Run {
    const run = new Run(folder, this.log, this.freeId(path.basename(folder)));
    this.runsByFolder.set(folder, run);
    run.onDidChange(change => {
      if (change === 'status') this.statusChanged(run);
      if (change === 'budget') this.overBudget.fire(run);
    });
    return run;
  }

  /** Folders of the same name may lie in different places. */
  private freeId(name: string): string {
    const taken = new Set(this.runs.map(({ id }) => id));
    let id = name;
    for (let number = 2; taken.has(id); number++) id = `${name}~${number}`;
    return id;
  }

  private detach(folder: string, run: Run): void {
    this.runsByFolder.delete(folder);
    this.statusByRun.delete(run);
    run.dispose();
    if (this.shown === run) this.select(this.active ?? this.runs[0]);
    this.listChanged.fire();
  }

  private statusChanged(run: Run): void {
    const before = this.statusByRun.get(run);
    this.statusByRun.set(run, run.status);
    // A run that begins, here or on a command line, is what people want to see, unless they watch another.
    if (isActive(run.status) && !(before && isActive(before)) && !(this.shown && isActive(this.shown.status))) {
      this.select(run);
    }
    this.listChanged.fire();
    if (before && isActive(before) && !isActive(run.status)) this.ended.fire(run);
  }

  private every(milliseconds: number, work: () => Promise<unknown>): void {
    const timer = setInterval(() => {
      work().catch((error: unknown) => this.log.error(`Looking at the runs failed: ${errorText(error)}`));
    }, milliseconds);
    this.register({ dispose: () => clearInterval(timer) });
  }
}

async function runFoldersIn(folder: string): Promise<string[]> {
  let entries: fs.Dirent[];
  try {
    entries = await fs.promises.readdir(folder, { withFileTypes: true });
  } catch {
    return []; // no run yet
  }
  return entries
    .filter(entry => entry.isDirectory())
    .map(entry => path.join(folder, entry.name))
    .filter(run => fs.existsSync(launchFile(run)) || fs.existsSync(runFile(run)));
}
