/** What the trainer says of a configuration before it runs: its tokens, its steps, its cost. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { errorText } from '../common/log';
import type { PreviewReport } from '../protocol/messages';
import { check } from '../protocol/validate';
import { checkEnvironment, type EnvironmentOptions, type PreflightCheck } from './preflight';
import { failureOf, runTrainer } from './trainerCommand';

export interface PreviewOptions extends EnvironmentOptions {
  config: string;
  /** Whether steps are timed, which loads the model. */
  measure: boolean;
  signal: AbortSignal;
  /** How far a measurement is. */
  onMessage: (line: string) => void;
}

export type Preview =
  | { report: PreviewReport }
  /** There is no environment to ask. */
  | { missing: PreflightCheck };

/** Rejects where the trainer does not answer as it should. */
export async function preview(options: PreviewOptions): Promise<Preview> {
  const { config, measure, signal, onMessage } = options;
  const environment = await checkEnvironment(options, ({ status }) => status !== 'error');
  signal.throwIfAborted();
  if ('failed' in environment) return { missing: environment.failed };
  const ended = await runTrainer(environment.trainer, ['preview', config, ...(measure ? ['--measure'] : [])], path.dirname(config), signal, onMessage);
  signal.throwIfAborted();
  const report = parse(ended.stdout);
  if ('reason' in report) throw new Error(ended.code === 0 ? report.reason : failureOf(ended));
  return report;
}

function parse(stdout: string): { report: PreviewReport } | { reason: string } {
  try {
    const checked = check('PreviewReport', JSON.parse(stdout));
    return checked.ok ? { report: checked.value } : { reason: l10n.t`The trainer's preview is not what was expected: ${checked.reason}` };
  } catch (error) {
    return { reason: l10n.t`The trainer's preview is not JSON: ${errorText(error)}` };
  }
}
