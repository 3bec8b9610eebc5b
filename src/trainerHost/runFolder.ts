/** The run folder's layout, how it is made and read, and what a run's state follows from. */
import { randomInt } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { takeLock } from '../common/fileLock';
import { UserError } from '../common/userError';
import type { LaunchRecord, ProcessRecord, RunRecord, Finished } from '../protocol/messages';
import { check } from '../protocol/validate';
import { asProcessRecord, startTimeToleranceSeconds } from './processIdentity';

export const runFile = (folder: string) => path.join(folder, 'run.json');
export const launchFile = (folder: string) => path.join(folder, 'launch.json');
export const eventsFile = (folder: string) => path.join(folder, 'events.jsonl');
/** What the extension keeps of a long events.jsonl. */
export const indexFile = (folder: string) => path.join(folder, 'events.index');
export const commandsFile = (folder: string) => path.join(folder, 'commands.jsonl');
export const metaFile = (folder: string) => path.join(folder, 'meta.json');
export const safetyTokensFile = (folder: string) => path.join(folder, 'safety_tokens.json');
export const logFile = (folder: string) => path.join(folder, 'trainer.log');

/** What a user has to say about a run at a step. */
export interface RunNote {
  step: number;
  text: string;
}

/** What the extension keeps about a run. */
export interface RunMeta {
  name?: string;
  tags?: string[];
  /** By step. */
  notes?: RunNote[];
  /** The process that was started last; it is the run's until run.json names a later one. */
  launched?: ProcessRecord;
  /** How that process ended, where a window saw it. */
  exit?: { code: number | null; signal: string | null };
  /** The user has cancelled it: however it ended, that was meant. */
  cancelled?: boolean;
}

export type RunStatus =
  | 'starting'
  | 'running'
  | 'paused'
  | 'completed'
  | 'stopped'
  | 'cancelled'
  | 'failed'
  /** Without a sign of life, of a process that cannot be looked for: on another machine, say. */
  | 'lost';

export const isActive = (status: RunStatus): boolean =>
  status === 'starting' || status === 'running' || status === 'paused';

/** A name that sorts by time (UTC) and says what the run is, as in 20261122-171530-adaptive-x7. */
export function newRunId(method: string, now = new Date()): string {
  const time = now.toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15);
  const tail = Array.from({ length: 2 }, () => randomInt(36).toString(36)).join('');
  return `${time}-${method}-${tail}`;
}

const ownFolder = '.safe-finetuning';

/** Where the runs of a workspace folder lie, by the setting; an empty one would be the workspace itself. */
export const runsFolderIn = (workspaceFolder: string, configured: string): string =>
  path.resolve(workspaceFolder, configured.trim() || path.join(ownFolder, 'runs'));

/** Folders of runs that lie elsewhere, on a mounted drive say; what is no absolute path names none. */
export const furtherRunsFolders = (configured: unknown): string[] =>
  (Array.isArray(configured) ? configured : [])
    .filter(folder => typeof folder === 'string' && path.isAbsolute(folder.trim()))
    .map(folder => path.resolve((folder as string).trim()));

/** The folder of all runs, for its owner only and invisible to git, unless it is one of the user's own folders. */
export function makeRunsFolder(runsFolder: string): void {
  try {
    const made = fs.mkdirSync(runsFolder, { recursive: true, mode: 0o700 });
    const ignore = path.join(runsFolder, '.gitignore');
    const ours = made !== undefined || path.resolve(runsFolder).split(path.sep).includes(ownFolder);
    if (ours && !fs.existsSync(ignore)) fs.writeFileSync(ignore, '*\n');
  } catch (error) {
    throw notWritable(runsFolder, error);
  }
}

/** Makes the folder of a new run with its launch.json. */
export function createRunFolder(runsFolder: string, launch: LaunchRecord): string {
  makeRunsFolder(runsFolder);
  const folder = path.join(runsFolder, launch.id);
  try {
    fs.mkdirSync(folder, { mode: 0o700 });
    writeJson(launchFile(folder), launch);
  } catch (error) {
    throw notWritable(folder, error);
  }
  return folder;
}

export function notWritable(folder: string, error: unknown): Error {
  const reasons: Record<string, string> = {
    ENOSPC: l10n.t('the disk is full'),
    EACCES: l10n.t('permission denied'),
    EPERM: l10n.t('permission denied'),
    EROFS: l10n.t('the file system is read-only'),
    ENOTDIR: l10n.t('a part of the path is a file'),
    EEXIST: l10n.t('there is a file of that name'),
  };
  const code = (error as NodeJS.ErrnoException).code ?? '';
  return new Error(
    l10n.t`The run folder ${folder} cannot be written: ${reasons[code] ?? (error as Error).message}. Free some space, change its permissions, or set safeFinetuning.runs.folder to another folder.`,
  );
}

/** Writes beside and renames: a reader sees the old file or the new one. */
export function writeJson(file: string, value: unknown): void {
  const beside = `${file}.${process.pid}.tmp`;
  fs.writeFileSync(beside, `${JSON.stringify(value, null, 2)}\n`);
  fs.renameSync(beside, file);
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(l10n.t`${file} cannot be read: ${(error as Error).message}`);
  }
}

/** The file as the named message; undefined where there is none. Throws with the field that is wrong. */
function readRecord<N extends 'RunRecord' | 'LaunchRecord'>(name: N, file: string) {
  const value = readJson(file);
  if (value === undefined) return undefined;
  const checked = check(name, value);
  if (!checked.ok) throw new Error(l10n.t`${file} is not what was expected: ${checked.reason}.`);
  return checked.value;
}

export const readRunRecord = (folder: string): RunRecord | undefined => readRecord('RunRecord', runFile(folder));
export const readLaunchRecord = (folder: string): LaunchRecord | undefined =>
  readRecord('LaunchRecord', launchFile(folder));

export function readMeta(folder: string): RunMeta {
  try {
    const meta = readJson(metaFile(folder));
    if (typeof meta !== 'object' || meta === null) return {};
    const { name, tags, notes, launched, ...rest } = meta as RunMeta; // people edit it, and a folder may be a stranger's
    const process = asProcessRecord(launched);
    return {
      ...rest,
      ...(typeof name === 'string' && { name }),
      ...(Array.isArray(tags) && { tags: tags.filter(tag => typeof tag === 'string') }),
      ...(notes !== undefined && { notes: asNotes(notes) }),
      ...(process && { launched: process }),
    };
  } catch {
    return {}; // a convenience: the run does not depend on it
  }
}

/** A token that safety token regularisation holds, and how likely the reference is to say it in the opening of an answer. */
export interface SafetyToken {
  text: string;
  /** On average over harmful prompts. */
  refusing: number;
  /** On average over ordinary rows of the dataset. */
  ordinary: number;
}

/** Those of a run, the likeliest first; none before they are chosen. */
export function readSafetyTokens(folder: string): SafetyToken[] {
  try {
    const listed = readJson(safetyTokensFile(folder));
    return Array.isArray(listed) ? listed.filter(isSafetyToken) : [];
  } catch {
    return []; // a convenience, as above
  }
}

const isSafetyToken = (value: unknown): value is SafetyToken => {
  const { text, refusing, ordinary } = (value ?? {}) as Partial<Record<keyof SafetyToken, unknown>>;
  return typeof text === 'string' && typeof refusing === 'number' && typeof ordinary === 'number';
};

/** A text without a step is about the run as a whole. */
const asNotes = (value: unknown): RunNote[] =>
  typeof value === 'string' ? [{ step: 0, text: value }] : Array.isArray(value) ? value.filter(isNote) : [];

const isNote = (value: unknown): value is RunNote =>
  typeof value === 'object' && value !== null && 'step' in value && Number.isInteger(value.step) && 'text' in value && typeof value.text === 'string';

/**
 * One note a step: another at the same step replaces it, an empty one takes it away. `before` is what it replaces: what
 * another window has written there meanwhile stays.
 */
export function withNote(notes: readonly RunNote[], { step, text }: RunNote, before: string): RunNote[] | undefined {
  const there = notes.find(note => note.step === step)?.text ?? '';
  const both = there === before ? text : [there, text].filter(Boolean).join(' · ');
  const others = notes.filter(note => note.step !== step);
  const all = both ? [...others, { step, text: both }].sort((a, b) => a.step - b.step) : others;
  return all.length ? all : undefined;
}

/** `change` follows from what is there when nobody else writes: another window may have written since it was read last. */
export async function updateMeta(folder: string, change: (before: RunMeta) => Partial<RunMeta>): Promise<RunMeta> {
  const file = metaFile(folder);
  const giveBack = await takeLock(`${file}.writing~`, () => new UserError(l10n.t`Another window is writing ${file}, so nothing was written. Try again.`));
  try {
    keepDamaged(file);
    const before = readMeta(folder);
    const meta = { ...before, ...change(before) };
    writeJson(file, meta);
    return meta;
  } finally {
    await giveBack();
  }
}

/** A file that cannot be read holds somebody's notes all the same: it is not written over. */
function keepDamaged(file: string): void {
  try {
    readJson(file);
  } catch {
    fs.renameSync(file, `${file}.damaged`);
  }
}

/** Whether a run can be resumed: a checkpoint is complete when its manifest, written last, is there. */
export function hasCheckpoint(folder: string): boolean {
  const checkpoints = path.join(folder, 'checkpoints');
  try {
    return fs.readdirSync(checkpoints).some(name => fs.existsSync(path.join(checkpoints, name, 'manifest.json')));
  } catch {
    return false;
  }
}

/** What a run has trained: the folder of its adapter, or of the whole model; undefined before it has saved one. */
export function trainedFolder(folder: string): string | undefined {
  const places = [['adapter', 'adapter_config.json'], ['model', 'config.json']] as const;
  const found = places.find(([name, file]) => fs.existsSync(path.join(folder, name, file)));
  return found && path.join(folder, found[0]);
}

const attemptMark = '=== attempt ';

/** A line that separates the log of one attempt from the one before. */
export const attemptLine = (argv: readonly string[], now = new Date()): string =>
  `${attemptMark}${now.toISOString()}: ${argv.join(' ')}\n`;

/** The last lines of the latest attempt's log. */
export function logTail(folder: string, lines = 20): string[] {
  const maximumBytes = 64 * 1024;
  try {
    const file = fs.openSync(logFile(folder), 'r');
    try {
      const size = fs.fstatSync(file).size;
      const buffer = Buffer.alloc(Math.min(size, maximumBytes));
      fs.readSync(file, buffer, 0, buffer.length, size - buffer.length);
      const text = buffer.toString('utf8');
      const attempt = text.lastIndexOf(attemptMark);
      const own = attempt < 0 ? text : text.slice(text.indexOf('\n', attempt) + 1);
      return own
        .split(/\r\n|[\r\n]/)
        .filter(line => line.trim())
        .slice(-lines);
    } finally {
      fs.closeSync(file);
    }
  } catch {
    return [];
  }
}

export interface StatusFacts {
  record?: RunRecord;
  launch?: LaunchRecord;
  /** See RunMeta. */
  launched?: ProcessRecord;
  /** Whether `currentProcess` runs; undefined where it cannot be looked for: on another machine, say. */
  alive: boolean | undefined;
  /** The last event of the attempt that was read last, if it has ended. */
  finished?: Pick<Finished, 'status' | 'ts'>;
  cancelled: boolean;
  paused: boolean;
  /** Milliseconds since the Unix epoch. */
  lastEvent: number;
  now: number;
}

/** Whether the window that launched the current process has seen it end. */
export function hasExited({ record, launched, exit }: Pick<StatusFacts, 'record' | 'launched'> & Pick<RunMeta, 'exit'>): boolean {
  const process = currentProcess({ record, launched });
  return !!exit && !!launched && !!process && Math.abs(process.startTime - launched.startTime) <= startTimeToleranceSeconds;
}

const silenceMilliseconds = 60_000;
const startMilliseconds = 120_000;

/** The process that works on the run: the one launched last, until run.json names it or a later one. */
export function currentProcess(facts: Pick<StatusFacts, 'record' | 'launched'>): ProcessRecord | undefined {
  return isBeforeRecord(facts) ? facts.launched : facts.record?.process;
}

/** Whether the process launched last has not yet written its run.json. */
export function isBeforeRecord({ record, launched }: Pick<StatusFacts, 'record' | 'launched'>): boolean {
  return !!launched && (!record || launched.startTime > record.process.startTime + startTimeToleranceSeconds);
}

/** The last event, if it is of the process that works on the run now and not of an earlier attempt. */
export function endOf<E extends Pick<Finished, 'ts'>>(facts: Pick<StatusFacts, 'record' | 'launched'>, finished: E | undefined): E | undefined {
  const begun = ((currentProcess(facts)?.startTime ?? 0) - startTimeToleranceSeconds) * 1000;
  return finished && finished.ts >= begun ? finished : undefined;
}

/** A run's state: what run.json says, unless the process that should be changing it is gone. */
export function deriveStatus(facts: StatusFacts): RunStatus {
  const { record, launch, launched, alive, paused, lastEvent, now } = facts;
  const finished = endOf(facts, facts.finished);
  const silent = now - lastEvent > silenceMilliseconds;
  const gone = facts.cancelled ? 'cancelled' : 'failed';
  if (!record || isBeforeRecord(facts)) {
    if (finished) return finished.status;
    if (!launch && !launched) return silent ? 'lost' : 'running'; // its events are all there is
    const mayCome = launched ? (alive ?? !silent) : launch && now - launch.ts < startMilliseconds;
    return mayCome ? 'starting' : gone;
  }
  if (record.status !== 'running') return record.status;
  if (finished) return finished.status;
  if (alive === undefined && silent) return 'lost';
  if (alive === false) return gone;
  return paused ? 'paused' : 'running';
}

/** Why a run failed, when it could not say so itself. */
export function explainSilentEnd(tail: readonly string[], exit: RunMeta['exit']): string {
  const said = tail.filter(line => /^(error: |[\w.]*(Error|Exception|Interrupt)\b)/.test(line)).at(-1);
  if (said) return said.replace(/^error: /, '');
  if (exit?.signal === 'SIGKILL' || exit?.code === 137) {
    return l10n.t('The trainer was killed (signal 9). Often the machine ran out of memory: try a smaller training.microBatchSize.');
  }
  if (exit?.signal) return l10n.t`The trainer was ended by ${exit.signal}.`;
  if (exit?.code) return tail.at(-1) ?? l10n.t`The trainer ended with exit code ${exit.code} and printed nothing.`;
  return l10n.t('The trainer ended without saying why: it was killed, or the machine went down or ran out of memory.');
}
