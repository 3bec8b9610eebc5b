/** The runs of the workspace: found in their folders, watched, one of them the current one. */
import path from 'node:path';
import { Disposable, type IDisposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { errorText, type Log } from '../common/log';
import { Pace } from '../common/pace';
import { Run } from './run';
import { isActive, type RunStatus } from './runFolder';
import { RunFolders } from './runFolders';

const activeMilliseconds = 1000;
const scanMilliseconds = 3000;
/** Of the runs that have ended, so many are looked at in each scan, in turns. */
const endedPerScan = 500;
/** While many runs are looked at, those who list them are told so often. */
const tellMilliseconds = 250;
/** The steps of a run that has ended are kept for so long after it was last looked at: people go back and forth. */
const keptMilliseconds = 30_000;
/** When looking takes longer, the newest run is shown meanwhile. */
const patienceMilliseconds = 500;

export class RunRegistry extends Disposable {
  private readonly runsByFolder = new Map<string, Run>();
  private readonly foldersByPath = new Map<string, RunFolders>();
  private readonly activeRuns = new Set<Run>();
  private readonly runsById = new Map<string, Run>();
  private sorted: Run[] | undefined;
  private nextEnded = 0;
  private looking = false;
  private isUntold = false;
  private readonly statusByRun = new Map<Run, RunStatus>();
  private readonly listChanged = this.register(new Emitter<void>());
  private readonly currentChanged = this.register(new Emitter<Run | undefined>());
  private readonly ended = this.register(new Emitter<Run>());
  private readonly overBudget = this.register(new Emitter<Run>());
  private scanning: Promise<void> | undefined;
  private shown: Run | undefined;
  private shownHold: IDisposable | undefined;

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
    private readonly unusedMilliseconds = keptMilliseconds,
  ) {
    super();
    this.every(scanMilliseconds, () => this.scan());
    this.every(activeMilliseconds, () => Promise.all([...this.activeRuns].map(run => run.refresh())));
    this.register({ dispose: () => this.runsByFolder.forEach(run => run.dispose()) });
  }

  /** Newest first. */
  get runs(): readonly Run[] {
    this.sorted ??= newestFirst([...this.runsByFolder.values()]);
    return this.sorted;
  }

  /** The run that the monitor shows and that commands are for. */
  get current(): Run | undefined {
    return this.shown;
  }

  /** Those that are starting, running or paused, newest first. */
  get activeOnes(): readonly Run[] {
    return newestFirst([...this.activeRuns]);
  }

  /** A run that is starting, running or paused. */
  get active(): Run | undefined {
    return this.activeOnes[0];
  }

  byId(id: string): Run | undefined {
    return this.runsById.get(id);
  }

  inFolder(folder: string): Run | undefined {
    return this.runsByFolder.get(folder);
  }

  select(run: Run | undefined): void {
    if (run === this.shown) return;
    this.shown = run;
    this.shownHold?.dispose();
    this.shownHold = run?.hold();
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
    const found = new Set((await Promise.all(this.folders().map(folder => this.runFolders(folder).look()))).flat());
    this.looking = true;
    let meanwhile: Run | undefined;
    const pace = new Pace();
    try {
      for (const folder of found) {
        if (pace.isOver) await pace.pause(); // many runs must not block the host
        if (!this.runsByFolder.has(folder)) this.attach(folder);
      }
      for (const [folder, run] of this.runsByFolder) {
        if (!found.has(folder)) this.detach(folder, run);
      }
      if (pace.isOver) await pace.pause();
      meanwhile = await this.lookAt(this.due(), pace);
      await pace.pause(); // those who list them sort them anew
    } finally {
      this.looking = false;
    }
    if (this.shown === meanwhile) this.select(this.active ?? this.runs[0]);
    for (const run of this.runsByFolder.values()) run.releaseAfter(this.unusedMilliseconds);
    this.tell();
  }

  private runFolders(folder: string): RunFolders {
    const known = this.foldersByPath.get(folder) ?? new RunFolders(folder);
    this.foldersByPath.set(folder, known);
    return known;
  }

  /** Of the many that have ended only some, in turns. */
  private due(): Run[] {
    const ended = this.runs.filter(run => run.isSettled);
    const from = this.nextEnded < ended.length ? this.nextEnded : 0;
    this.nextEnded = from + endedPerScan;
    return [...this.runs.filter(run => !run.isSettled || run === this.shown), ...ended.slice(from, this.nextEnded)];
  }

  /** Says which run is shown meanwhile, if none was and it takes long: when each began is not known before all have been looked at. */
  private async lookAt(runs: readonly Run[], pace: Pace): Promise<Run | undefined> {
    const began = Date.now();
    let told = began;
    let meanwhile: Run | undefined;
    for (const run of runs) {
      await run.refresh().catch((error: unknown) => this.log.error(`${run.folder} cannot be looked at: ${errorText(error)}`)); // the others can
      if (!pace.isOver) continue;
      await pace.pause();
      if (!this.shown && Date.now() - began > patienceMilliseconds) {
        meanwhile = this.active ?? runs[0];
        this.select(meanwhile);
      }
      if (Date.now() - told > tellMilliseconds) {
        told = Date.now();
        this.tell();
      }
    }
    return meanwhile;
  }

  /** Says that the list has changed, if it has. */
  private tell(): void {
    if (!this.isUntold) return;
    this.isUntold = false;
    this.listChanged.fire();
  }

  private changeList(): void {
    this.sorted = undefined;
    this.isUntold = true;
    if (!this.looking) this.tell();
  }

  private attach(folder: string): Run {
    const run = new Run(folder, this.log, this.freeId(path.basename(folder)));
    this.runsByFolder.set(folder, run);
    this.runsById.set(run.id, run);
    this.sorted = undefined;
    run.onDidChange(change => {
      if (change === 'status') this.statusChanged(run);
      if (change === 'events' && !run.launch) this.sorted = undefined; // its first event tells when it began
      if (change === 'budget') this.overBudget.fire(run);
    });
    return run;
  }

  /** Folders of the same name may lie in different places. */
  private freeId(name: string): string {
    let id = name;
    for (let number = 2; this.runsById.has(id); number++) id = `${name}~${number}`;
    return id;
  }

  private detach(folder: string, run: Run): void {
    this.runsByFolder.delete(folder);
    this.runsById.delete(run.id);
    this.statusByRun.delete(run);
    this.activeRuns.delete(run);
    this.sorted = undefined;
    run.dispose();
    if (this.shown === run) this.select(this.active ?? this.runs[0]);
    this.changeList();
  }

  private statusChanged(run: Run): void {
    const before = this.statusByRun.get(run);
    this.statusByRun.set(run, run.status);
    if (isActive(run.status)) this.activeRuns.add(run);
    else this.activeRuns.delete(run);
    // A run that begins, here or on a command line, is what people want to see, unless they watch another.
    if (isActive(run.status) && !(before && isActive(before)) && !(this.shown && isActive(this.shown.status))) {
      this.select(run);
    }
    this.changeList();
    if (before && isActive(before) && !isActive(run.status)) this.ended.fire(run);
  }

  private every(milliseconds: number, work: () => Promise<unknown>): void {
    const timer = setInterval(() => {
      work().catch((error: unknown) => this.log.error(`Looking at the runs failed: ${errorText(error)}`));
    }, milliseconds);
    this.register({ dispose: () => clearInterval(timer) });
  }
}

/** When each began is looked up once: of many runs that is most of the work. */
const newestFirst = (runs: readonly Run[]): Run[] =>
  runs
    .map(run => ({ run, began: run.startedAt }))
    .sort((a, b) => b.began - a.began || (b.run.id > a.run.id ? 1 : -1))
    .map(({ run }) => run);
