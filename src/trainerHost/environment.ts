/** The Python environment in which the trainer runs: found, checked, made. Also used by `npm start`. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { promisify } from 'node:util';
import * as l10n from '@vscode/l10n';
import { fixed } from '../common/format';
import { endTree, spawnTree } from './processTree';

/** The build that the trainer is tested with; users choose the index, and so the device, not the version. */
const torchVersion = '2.13.0';
const oldestPython = [3, 11] as const;
const stampName = '.safe-finetuning.json';
const probeMilliseconds = 20_000;

/** What went wrong with the environment, and what the user can do about it. */
export class EnvironmentError extends Error {
  constructor(
    readonly reason: 'no-python' | 'python-unusable' | 'no-venv-module' | 'broken-venv' | 'install-failed' | 'cancelled',
    message: string,
    readonly nextStep: string,
    /** The last lines of the tool that failed. */
    readonly detail = '',
  ) {
    super(message);
    this.name = 'EnvironmentError';
  }
}

export interface Python {
  /** Absolute path of the interpreter. */
  path: string;
  version: [major: number, minor: number, patch: number];
  /** `sys.prefix`: the environment's folder. */
  prefix: string;
  isVenv: boolean;
  /** `venv` and `ensurepip` are there (Debian ships them in a package of their own). */
  canMakeVenv: boolean;
}

export const versionText = (python: Python): string => python.version.join('.');

export function venvPython(venv: string): string {
  return process.platform === 'win32' ? path.join(venv, 'Scripts', 'python.exe') : path.join(venv, 'bin', 'python');
}

const probeScript = `
import importlib.util as u, json, os, sys
print(json.dumps(dict(
  path=sys.executable, version=list(sys.version_info[:3]), prefix=sys.prefix,
  isVenv=sys.prefix != sys.base_prefix,
  canMakeVenv=bool(u.find_spec("venv") and u.find_spec("ensurepip")))))`;

/** Asks an interpreter what it is, in one short process. Throws where it does not run. */
export async function probePython(command: string, args: readonly string[] = []): Promise<Python> {
  const output = await runShort(command, [...args, '-I', '-c', probeScript]);
  return JSON.parse(output) as Python;
}

export interface FindPythonOptions {
  /** A path that the user has set: it is used, or the reason why not is told. */
  given?: string;
  /** A folder whose `.venv` comes first. */
  folder?: string;
  /** The interpreter chosen in the Python extension. */
  active?: string;
  /** Only interpreters that can make a virtual environment. */
  forVenv?: boolean;
}

/** The first Python ≥ 3.11: the given one, the folder's `.venv`, the active one, then `PATH`. */
export async function findPython(options: FindPythonOptions): Promise<Python> {
  if (options.given) {
    const python = await usable(options.given, [], options.forVenv);
    if ('why' in python) {
      throw new EnvironmentError(
        'python-unusable',
        l10n.t`The interpreter in the settings cannot be used: ${python.text}`,
        l10n.t('Change or clear the setting safeFinetuning.python.interpreter.'),
      );
    }
    return python;
  }
  const venv = options.folder && path.join(options.folder, '.venv');
  if (venv && fs.existsSync(venv)) {
    const python = await usable(venvPython(venv), [], options.forVenv);
    if ('why' in python) {
      throw new EnvironmentError(
        'broken-venv',
        l10n.t`The environment ${venv} is broken: ${python.text}`,
        l10n.t('Run "Set Up Environment" to make it again.'),
      );
    }
    return python;
  }
  const unusable: Unusable[] = [];
  for (const [command, ...args] of [...(options.active ? [[options.active]] : []), ...pathCandidates()]) {
    if (command) {
      const python = await usable(command, args, options.forVenv);
      if (!('why' in python)) {
        return python;
      }
      unusable.push(python);
    }
  }
  const found = unusable.filter(({ why }) => why !== 'not-found');
  const lacksVenv = found.find(({ why }) => why === 'no-venv-module');
  if (lacksVenv) {
    throw new EnvironmentError(
      'no-venv-module',
      l10n.t`This Python cannot make a virtual environment: ${lacksVenv.text}`,
      l10n.t('Install its venv module (on Debian and Ubuntu: sudo apt install python3-venv), then try again.'),
    );
  }
  const oldest = oldestPython.join('.');
  throw new EnvironmentError(
    'no-python',
    found.length
      ? l10n.t`No Python ${oldest} or newer was found (${found.map(({ text }) => text).join('; ')}).`
      : l10n.t`No Python ${oldest} or newer was found.`,
    l10n.t("Install Python from python.org or your system's packages, or set safeFinetuning.python.interpreter."),
  );
}

function pathCandidates(): string[][] {
  const versioned = process.platform === 'win32' ? [] : ['python3.14', 'python3.13', 'python3.12', 'python3.11'];
  return [...[...versioned, 'python3', 'python'].map(name => [name]), ...(process.platform === 'win32' ? [['py', '-3']] : [])];
}

/** Why an interpreter cannot be used, and that in one line. */
interface Unusable {
  why: 'not-found' | 'does-not-run' | 'too-old' | 'no-venv-module';
  text: string;
}

async function usable(command: string, args: readonly string[], forVenv = false): Promise<Python | Unusable> {
  let python: Python;
  try {
    python = await probePython(command, args);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? { why: 'not-found', text: l10n.t`${command}: not found` }
      : { why: 'does-not-run', text: l10n.t`${command}: does not run` };
  }
  const [major, minor] = python.version;
  if (major < oldestPython[0] || (major === oldestPython[0] && minor < oldestPython[1])) {
    return { why: 'too-old', text: l10n.t`${command} is version ${versionText(python)}, older than ${oldestPython.join('.')}` };
  }
  if (forVenv && !python.canMakeVenv) {
    return { why: 'no-venv-module', text: l10n.t`${command} has no venv module` };
  }
  return python;
}

export interface PackageCheck {
  name: string;
  /** Oldest version that the trainer works with. */
  needed: string;
  installed: string | null;
  ok: boolean;
}

// eslint-disable-next-line no-restricted-syntax -- Python
const packagesScript = `
import importlib.metadata as m, json, re, sys, tomllib
release = lambda v: tuple(int(n) for n in re.match(r"\\d+(?:\\.\\d+)*", v).group().split("."))
rows = []
for need in tomllib.load(open(sys.argv[1], "rb"))["project"]["dependencies"]:
    name, version = need.split(">=")
    try: found = m.version(name)
    except m.PackageNotFoundError: found = None
    rows.append(dict(name=name, needed=version, installed=found, ok=bool(found and release(found) >= release(version))))
print(json.dumps(rows))`;

/** Which of the trainer's packages an interpreter has, without importing them. */
export async function checkPackages(python: string, trainer: string): Promise<PackageCheck[]> {
  const output = await runShort(python, ['-I', '-c', packagesScript, path.join(trainer, 'pyproject.toml')]);
  return JSON.parse(output) as PackageCheck[];
}

export interface SetUpProgress {
  step: number;
  steps: number;
  message: string;
}

export interface SetUpOptions {
  /** Interpreter that makes the environment. */
  python: Python;
  /** Folder of the virtual environment. */
  venv: string;
  /** File with the pinned packages. */
  requirements: string;
  /** Folder of the trainer package. */
  trainer: string;
  /** Package index for PyTorch; empty: pip's default. */
  torchIndexUrl?: string;
  onProgress?: (progress: SetUpProgress) => void;
  /** Every line that the tools print, for a log. */
  onOutput?: (line: string) => void;
  signal?: AbortSignal;
}

interface Stamp {
  packages: string;
  trainer: string;
}

/** Makes the environment, or what is missing of it. With nothing to do it returns within a second. */
export async function setUpEnvironment(options: SetUpOptions): Promise<{ python: string; changed: boolean }> {
  const { venv, requirements, trainer, signal } = options;
  const interpreter = venvPython(venv);
  const tell = (step: number, message: string) => options.onProgress?.({ step, steps: 5, message });

  tell(1, l10n.t('Looking at the environment'));
  const wanted: Stamp = {
    packages: digest([torchVersion, options.torchIndexUrl ?? '', fs.readFileSync(requirements, 'utf8')]),
    trainer: digestOfFolder(trainer),
  };
  const works = !('why' in (await usable(interpreter, [])));
  const stamp = works ? readStamp(venv) : {};
  if (stamp.packages === wanted.packages && stamp.trainer === wanted.trainer) {
    return { python: interpreter, changed: false };
  }

  if (!works) {
    tell(1, l10n.t`Making the environment with Python ${versionText(options.python)}`);
    await makeVenv(options);
  }
  const pip = (step: number, title: string, args: string[]) =>
    run(interpreter, ['-m', 'pip', 'install', ...args], l10n.t`Installing ${title}`, options, line => {
      const message = pipMessage(line);
      if (message) tell(step, `${title}: ${message}`);
    });
  if (stamp.packages !== wanted.packages) {
    tell(2, 'pip');
    await pip(2, 'pip', ['pip>=24.1']); // tells how far a download is
    const index = options.torchIndexUrl ? ['--index-url', options.torchIndexUrl] : [];
    const progress = ['--progress-bar', 'raw'];
    tell(3, `PyTorch ${torchVersion}`);
    await pip(3, 'PyTorch', [`torch==${torchVersion}`, ...index, ...progress]);
    tell(4, l10n.t('Packages'));
    await pip(4, l10n.t('Packages'), ['-r', requirements, ...progress]);
  }
  tell(5, l10n.t('Trainer'));
  await pip(5, l10n.t('Trainer'), ['--no-deps', '--force-reinstall', trainer]);
  signal?.throwIfAborted();
  fs.writeFileSync(path.join(venv, stampName), JSON.stringify(wanted));
  return { python: interpreter, changed: true };
}

/** Is there an environment that somebody else made, into which packages would be installed? */
export function isForeignVenv(venv: string): boolean {
  return fs.existsSync(path.join(venv, 'pyvenv.cfg')) && !fs.existsSync(path.join(venv, stampName));
}

/**
 * A broken environment is put aside until the new one stands: an environment works only where it was made.
 * One that somebody else made stays there.
 */
async function makeVenv(options: SetUpOptions): Promise<void> {
  const { venv, python } = options;
  const aside = `${venv}.broken-${Date.now()}`;
  const broken = fs.existsSync(venv);
  const foreign = isForeignVenv(venv);
  if (broken) fs.renameSync(venv, aside);
  try {
    await run(python.path, ['-m', 'venv', venv], l10n.t('Making the virtual environment'), options);
  } catch (error) {
    fs.rmSync(venv, { recursive: true, force: true });
    if (broken) fs.renameSync(aside, venv);
    throw error;
  }
  if (!foreign) fs.rmSync(aside, { recursive: true, force: true });
}

function readStamp(venv: string): Partial<Stamp> {
  try {
    return JSON.parse(fs.readFileSync(path.join(venv, stampName), 'utf8')) as Partial<Stamp>;
  } catch {
    return {}; // not made by us, or an installation that was cut off
  }
}

const digest = (parts: readonly (string | Buffer)[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
};

const MAX_HASHED_BYTES = 1_000_000;

function digestOfFolder(trainer: string): string {
  const packageFolder = path.join(trainer, 'safe_finetuning');
  const files = fs
    .readdirSync(packageFolder, { recursive: true, encoding: 'utf8' })
    .filter(name => !name.includes('__pycache__'))
    .map(name => path.join(packageFolder, name))
    .sort();
  const parts = [path.join(trainer, 'pyproject.toml'), ...files].flatMap(file => {
    const stat = fs.statSync(file);
    if (!stat.isFile()) return [];
    // Weights by their size: reading them would block the extension host, and they change only with code.
    return [path.relative(trainer, file), stat.size > MAX_HASHED_BYTES ? `${stat.size} bytes` : fs.readFileSync(file)];
  });
  return digest(parts);
}

/** One line of pip's output as a person reads it; undefined for lines that say nothing about progress. */
export function pipMessage(line: string): string | undefined {
  const progress = /^Progress (\d+) of (\d+)/.exec(line);
  if (progress) {
    const [done, total] = [Number(progress[1]), Number(progress[2])];
    return total > 1e6 ? l10n.t`downloading, ${fixed(done / 1e6, 0)} of ${fixed(total / 1e6, 0)} MB` : undefined;
  }
  const collecting = /^\s*Collecting ([\w.-]+)/.exec(line);
  if (collecting) return l10n.t`looking for ${collecting[1]!}`;
  const downloading = /^\s*(?:Downloading|Using cached) (?:\S*\/)?([\w.]+)-\S+ \(([^)]+)\)/.exec(line);
  if (downloading) return l10n.t`downloading ${downloading[1]!} (${downloading[2]!})`;
  const installing = /^Installing collected packages: (.*)/.exec(line)?.[1]?.split(',').length;
  if (installing) return installing === 1 ? l10n.t('installing') : l10n.t`unpacking ${installing} packages (this can take minutes)`;
  return undefined;
}

/** What pip's last words mean and what to do. */
function pipAdvice(output: string): string {
  if (/No space left|Errno 28/.test(output)) return l10n.t('The disk is full: make room, then run "Set Up Environment" again.');
  if (/name resolution|NewConnectionError|ConnectTimeout|ReadTimeout|getaddrinfo|ProxyError|Network is unreachable/.test(output)) {
    return l10n.t('The package index cannot be reached: look at the network and proxy, then run "Set Up Environment" again.');
  }
  if (/No matching distribution|Could not find a version/.test(output)) {
    return l10n.t('There is no build for this Python and system: choose another Python, or another index in safeFinetuning.python.torchIndexUrl.');
  }
  if (/Permission denied|Errno 13/.test(output)) return l10n.t('The folder cannot be written: change its permissions, then try again.');
  return l10n.t('See the log for what the tool printed, then run "Set Up Environment" again.');
}

/** Runs a tool to its end. Cancelling ends it with everything it started. */
async function run(
  command: string,
  args: string[],
  title: string,
  options: Pick<SetUpOptions, 'signal' | 'onOutput'>,
  onLine?: (line: string) => void,
): Promise<void> {
  const { signal, onOutput } = options;
  const cancelled = () =>
    new EnvironmentError('cancelled', l10n.t`${title} was cancelled.`, l10n.t('Run "Set Up Environment" again to go on.'));
  if (signal?.aborted) throw cancelled();

  const child = spawnTree(command, args, { env: toolEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
  const tail: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    readline.createInterface({ input: stream! }).on('line', line => {
      onLine?.(line);
      if (line.startsWith('Progress ')) return;
      onOutput?.(line);
      tail.push(line);
      if (tail.length > 20) tail.shift();
    });
  }
  const end = () => child.pid && void endTree(child.pid, 'SIGKILL');
  signal?.addEventListener('abort', end);
  try {
    const code = await new Promise<number | string>(resolve => {
      child.once('error', error => resolve(error.message));
      child.once('close', (exit, killedBy) => resolve(exit ?? killedBy ?? 'unknown'));
    });
    if (signal?.aborted) throw cancelled();
    if (code !== 0) {
      const output = tail.join('\n');
      const last = tail.filter(line => /^ERROR|Error:/.test(line)).at(-1) ?? tail.at(-1) ?? l10n.t`exit ${code}`;
      throw new EnvironmentError('install-failed', l10n.t`${title} failed: ${last.trim()}`, pipAdvice(output), output);
    }
  } finally {
    signal?.removeEventListener('abort', end);
  }
}

/** Settings of the shell that started us must not lead the tools to other packages. */
function toolEnvironment(): NodeJS.ProcessEnv {
  const { PYTHONHOME: _home, PYTHONPATH: _path, VIRTUAL_ENV: _venv, ...rest } = process.env;
  return { ...rest, PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_NO_INPUT: '1', PYTHONUTF8: '1', PYTHONUNBUFFERED: '1' };
}

async function runShort(command: string, args: string[]): Promise<string> {
  const options = { timeout: probeMilliseconds, windowsHide: true, env: toolEnvironment() };
  return (await promisify(execFile)(command, args, options)).stdout;
}
