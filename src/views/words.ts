/** How a run's status and phase are called, the same everywhere: in the editor and on the monitor's page. */
import type { RunStatus } from '../trainerHost/runFolder';
import type { PhaseProgress } from '../trainerHost/runState';

export const statusWord: Record<RunStatus, string> = {
  starting: 'starting',
  running: 'running',
  paused: 'paused',
  completed: 'completed',
  stopped: 'stopped and saved',
  cancelled: 'cancelled',
  failed: 'failed',
  lost: 'no sign of life',
};

export const phaseWord: Record<PhaseProgress['phase'], string> = {
  loading: 'Loading the model',
  scoring: 'Judging rows',
  'evaluating-before': 'Measuring the reference',
  anchors: 'Asking the reference for its answers',
  training: 'Training',
  evaluating: 'Measuring the model',
  saving: 'Saving',
  'evaluating-after': 'Measuring the result',
};

/** At the start of a line. */
export const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
