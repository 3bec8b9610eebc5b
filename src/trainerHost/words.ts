/** How a run's status and phase are called, the same everywhere: in the editor and on the monitor's page. */
import * as l10n from '@vscode/l10n';
import type { RunStatus } from './runFolder';
import type { PhaseProgress } from './runState';

export function statusWord(status: RunStatus): string {
  switch (status) {
    case 'starting':
      return l10n.t('starting');
    case 'running':
      return l10n.t('running');
    case 'paused':
      return l10n.t('paused');
    case 'completed':
      return l10n.t('completed');
    case 'stopped':
      return l10n.t('stopped and saved');
    case 'cancelled':
      return l10n.t('cancelled');
    case 'failed':
      return l10n.t('failed');
    case 'lost':
      return l10n.t('no sign of life');
  }
}

export const phaseWord: Record<PhaseProgress['phase'], string> = {
  loading: l10n.t('Loading the model'),
  scoring: l10n.t('Judging rows'),
  'evaluating-before': l10n.t('Measuring the reference'),
  anchors: l10n.t('Asking the reference for its answers'),
  training: l10n.t('Training'),
  evaluating: l10n.t('Measuring the model'),
  saving: l10n.t('Saving'),
  'evaluating-after': l10n.t('Measuring the result'),
};

/** How a run stands, to be said aloud. */
export const spokenStatus = (status: RunStatus, phase: PhaseProgress | null): string =>
  phase ? l10n.t`Run ${statusWord(status)}, ${phaseWord[phase.phase]}` : l10n.t`Run ${statusWord(status)}`;

/** At the start of a line. */
export const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
