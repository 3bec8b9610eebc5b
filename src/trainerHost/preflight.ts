/** What must hold before a run can begin: one line per check, each failure with what to do about it. */
import fs from 'node:fs';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { findNodeAtLocation, parseTree } from 'jsonc-parser';
import { errorText } from '../common/log';
import type { Check, RowProblem } from '../protocol/messages';
import { check } from '../protocol/validate';
import { checkPackages, EnvironmentError, findPython, versionText, type FindPythonOptions } from './environment';
import { runTrainer, type Trainer } from './trainerCommand';

const shownPackages = 3;

export type Fix = 'set-up-environment' | 'choose-interpreter' | 'open-file';

export interface PreflightCheck extends Omit<Check, 'id'> {
  id: Check['id'] | 'interpreter' | 'trainer';
  fix: Fix | null;
}

export interface Preflight {
  checks: PreflightCheck[];
  problems: RowProblem[];
  /** There when nothing stands against the run. */
  trainer: Trainer | undefined;
  /** Origin of the server that the run would send rows to, as the trainer reads the configuration. */
  endpoint: string | undefined;
  /** How many rows a judge is asked about. */
  judgedRows: number;
}

export interface EnvironmentOptions {
  python: FindPythonOptions;
  /** Folder of the extension's own trainer. */
  trainerFolder: string;
  secrets?: NodeJS.ProcessEnv;
}

export interface PreflightOptions extends EnvironmentOptions {
  config: string;
  /** Where the run's folder will be made: is there room? */
  runsFolder: string;
  signal?: AbortSignal;
  onCheck?: (check: PreflightCheck) => void;
}

/** Interpreter, then packages, then what the trainer itself checks; ends at the first part that fails. */
export async function preflight(options: PreflightOptions): Promise<Preflight> {
  const checks: PreflightCheck[] = [];
  const add = (entry: PreflightCheck): boolean => {
    checks.push(entry);
    options.onCheck?.(entry);
    return entry.status !== 'error';
  };
  const failed = (problems: RowProblem[] = []): Preflight => ({ checks, problems, trainer: undefined, endpoint: undefined, judgedRows: 0 });

  const environment = await checkEnvironment(options, add);
  if ('failed' in environment) return failed();
  const { trainer } = environment;
  const report = await trainerChecks(trainer, options);
  const ok = report.checks.map(add).every(Boolean);
  const { problems, endpoint, judgedRows } = report;
  return ok ? { checks, problems, trainer, endpoint, judgedRows } : failed(problems);
}

/** The trainer with an interpreter that has what it needs, or the check that failed; `add` is told each check. */
export async function checkEnvironment(
  { python, trainerFolder, secrets }: EnvironmentOptions,
  add: (check: PreflightCheck) => boolean,
): Promise<{ trainer: Trainer } | { failed: PreflightCheck }> {
  const interpreter = await checkInterpreter(python);
  if (!add(interpreter.check) || !interpreter.path) return { failed: interpreter.check };
  const trainer = { interpreter: interpreter.path, folder: trainerFolder, secrets };
  const packages = await checkTrainerPackages(trainer);
  return add(packages) ? { trainer } : { failed: packages };
}

async function checkInterpreter(options: FindPythonOptions): Promise<{ check: PreflightCheck; path?: string }> {
  try {
    const python = await findPython(options);
    return { path: python.path, check: line('interpreter', 'Python', 'ok', `${versionText(python)}, ${python.path}`) };
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    const fix = error.reason === 'python-unusable' ? 'choose-interpreter' : 'set-up-environment';
    return { check: line('interpreter', 'Python', 'error', `${error.message} ${error.nextStep}`, fix) };
  }
}

async function checkTrainerPackages({ interpreter, folder }: Trainer): Promise<PreflightCheck> {
  const packages = await checkPackages(interpreter, folder);
  const wrong = packages.filter(({ ok }) => !ok);
  if (wrong.length) {
    const names = wrong.map(({ name, needed, installed }) =>
      installed ? l10n.t`${name} ${installed} is older than ${needed}` : l10n.t`${name} is missing`,
    );
    const [shown, more] = [names.slice(0, shownPackages).join(', '), names.length - shownPackages];
    const message =
      more > 0
        ? l10n.t`${shown} and ${more} more in ${interpreter}. "Set Up Environment" installs what the trainer needs.`
        : l10n.t`${shown} in ${interpreter}. "Set Up Environment" installs what the trainer needs.`;
    return line('packages', l10n.t('Packages'), 'error', message, 'set-up-environment');
  }
  const shown = packages.filter(({ name }) => ['torch', 'transformers', 'peft'].includes(name));
  return line('packages', l10n.t('Packages'), 'ok', shown.map(({ name, installed }) => `${name} ${installed}`).join(', '));
}

async function trainerChecks(
  trainer: Trainer,
  { config, runsFolder, signal }: PreflightOptions,
): Promise<Omit<Preflight, 'trainer'>> {
  const { code, stdout, stderr } = await runTrainer(
    trainer,
    ['preflight', config, '--runs-folder', runsFolder, '--format', 'json'],
    path.dirname(config),
    signal,
  );
  signal?.throwIfAborted();
  const report = parseReport(stdout);
  if ('reason' in report) {
    const said = stderr.trim().split('\n').at(-1) || report.reason;
    return { checks: [line('trainer', l10n.t('Trainer'), 'error', l10n.t`It ended with exit code ${String(code)}: ${said ?? ''}`)], problems: [], endpoint: undefined, judgedRows: 0 };
  }
  const checks = report.value.checks
    // The packages have been looked at already, where even the trainer could not start without them.
    .filter(entry => entry.id !== 'packages' || entry.status !== 'ok')
    .map(entry => placed(entry, config))
    .map(entry => ({ ...entry, fix: fixFor(entry) }));
  const { problems, endpoint, judgedRows } = report.value;
  return { checks, problems, endpoint: endpoint ?? undefined, judgedRows };
}

/** The fields of a configuration that a check is about. */
const fieldsOf: Partial<Record<Check['id'], string[][]>> = {
  model: [['model']],
  device: [['device']],
  trackers: [['training', 'reportTo']],
  dataset: [
    ['dataset', 'heldOutPath'],
    ['evaluation', 'harmfulPrompts'],
    ['evaluation', 'benignPrompts'],
    ['dataset', 'path'],
  ],
};

/** A failure without a place is put where the configuration names what is wrong. */
function placed(entry: Check, config: string): Check {
  const fields = fieldsOf[entry.id];
  if (entry.status === 'ok' || entry.file || !fields) return entry;
  const text = fs.readFileSync(config, 'utf8');
  const tree = parseTree(text);
  const nodes = fields.map(field => tree && findNodeAtLocation(tree, field)).filter(node => node !== undefined);
  const node = nodes.find(({ value }) => entry.message.includes(String(value))) ?? nodes.at(-1);
  if (!node) return entry;
  const before = text.slice(0, node.offset).split('\n');
  return { ...entry, file: config, line: before.length, column: (before.at(-1) ?? '').length + 1 };
}

function fixFor(entry: Check): Fix | null {
  if (entry.status === 'ok') return null;
  if (entry.file) return 'open-file';
  return entry.id === 'packages' ? 'set-up-environment' : null;
}

function parseReport(stdout: string) {
  try {
    const checked = check('PreflightReport', JSON.parse(stdout));
    return checked.ok ? { value: checked.value } : { reason: l10n.t`its report is not what was expected: ${checked.reason}` };
  } catch (error) {
    return { reason: l10n.t`its report is not JSON: ${errorText(error)}` };
  }
}

function line(
  id: PreflightCheck['id'],
  title: string,
  status: PreflightCheck['status'],
  message: string,
  fix: Fix | null = null,
): PreflightCheck {
  return { id, title, status, message, fix, file: null, line: null, column: null };
}
