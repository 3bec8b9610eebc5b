/** How runs are told in words and icons, the same in the tree, the status bar and notifications. Pure. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { fixed } from '../common/format';
import type { Run } from '../trainerHost/run';
import { isActive, type RunStatus } from '../trainerHost/runFolder';
import { capitalised, phaseWord, statusWord } from '../trainerHost/words';

export { statusWord };

export const statusIcon: Record<RunStatus, string> = {
  starting: 'loading~spin',
  running: 'sync~spin',
  paused: 'debug-pause',
  completed: 'pass',
  stopped: 'debug-stop',
  cancelled: 'circle-slash',
  failed: 'error',
  lost: 'debug-disconnect',
};

/** Or, of a training script of the user's, what it calls the run. */
export function configurationName(run: Run): string {
  return run.configPath ? path.basename(run.configPath).replace(/\.finetune\.json$/, '') : (run.record?.script?.name ?? run.id);
}

/** Empty until run.json is there. */
export const methodOf = ({ record }: Run): string => record?.config?.method ?? (record?.script ? 'script' : '');

/** What a run is called in lists: as its user named it, or by configuration and method. */
export function runLabel(run: Run, { named } = { named: true }): string {
  const usual = [configurationName(run), methodOf(run)].filter(Boolean).join(' · ');
  return (named && run.meta.name) || usual;
}

/** Where the run is, in a few words: "Training 45 %". */
export function progressText(run: Run): string {
  const { phase } = run.state;
  if (run.status === 'starting' || !phase) return capitalised(statusWord(run.status));
  const share = phase.total ? ` ${Math.floor((100 * (phase.done ?? 0)) / phase.total)} %` : '';
  const text = `${phaseWord[phase.phase]}${share}`;
  return run.status === 'paused' ? l10n.t`Paused: ${text}` : text;
}

/** What a run has come to, in one sentence. */
export function outcomeText(run: Run): string {
  const { before, after } = run.state;
  const percent = (value: number) => `${fixed(100 * value, 0)} %`;
  const measured =
    before &&
    after &&
    l10n.t`Attack success ${percent(before.metrics.attackSuccess.value)} → ${percent(after.metrics.attackSuccess.value)}, over-refusal ${percent(before.metrics.overRefusal.value)} → ${percent(after.metrics.overRefusal.value)}.`;
  const said = !isActive(run.status) && run.status !== 'completed' && run.message;
  return [l10n.t`Run ${configurationName(run)} ${statusWord(run.status)}.`, said, measured].filter(Boolean).join(' ');
}
