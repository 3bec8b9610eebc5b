/** Everything that the extension and the monitor's page say to each other. */
import * as l10n from '@vscode/l10n';
import type { CommandId } from '../common/commands';
import type { EvaluationMetrics, RowProblem } from '../protocol/messages';
import type { StepRow } from '../trainerHost/batches';
import type { Fix, PreflightCheck } from '../trainerHost/preflight';
import type { RunStatus, SafetyToken } from '../trainerHost/runFolder';
import type { PhaseProgress } from '../trainerHost/runState';
import type { SeriesName } from '../trainerHost/series';
import type { SeriesMessage } from './chartProtocol';

/** How the run stands now; small, sent with every change. */
export interface RunView {
  id: string;
  name: string;
  /** Empty until run.json is there. */
  method: string;
  model: string;
  configuration: string;
  /** Of a training script of the user's: there is no risk, no β and no canary. */
  isScript: boolean;
  status: RunStatus;
  attempt: number;
  /** Why it ended as it did. */
  message: string;
  resumable: boolean;
  /** It has ended, and has saved what it trained. */
  trained: boolean;
  /** The share of a long history that has been read, until all of it has. */
  reading: number | null;
  elapsedSeconds: number;
  phase: PhaseProgress | null;
  current: CurrentValues | null;
  /** What the canary says of the reference. */
  canaryReference: number | null;
  /** Measured of the reference, in percent. */
  attackSuccessReference: number | null;
}

export type CurrentValues = Record<
  | 'step'
  | 'totalSteps'
  | 'epoch'
  | 'stepSeconds'
  | 'memoryBytes',
  number
> &
  Record<'total' | 'nll' | 'kl' | 'anchors' | 'safetyTokens' | 'gradNorm' | 'etaSeconds' | 'canary', number | null> &
  /** Null in a run of a training script; it may leave out its speed. */
  Record<'riskMean' | 'riskMax' | 'betaMean' | 'betaMax' | 'learningRate' | 'tokensPerSecond', number | null>;

/** What changes a few times in a run. */
export interface DetailsView {
  dataset: DatasetView | null;
  before: EvaluationMetrics | null;
  after: EvaluationMetrics | null;
  warnings: { code: string; message: string }[];
  interventions: InterventionView[];
  safetyTokens: readonly SafetyToken[];
  /** The log's last lines, of a run that failed. */
  logTail: string[];
}

/** What happened at a step beside the training itself. */
export interface InterventionView {
  step: number;
  /**
   * `budget`: the safety budget was exceeded; `settings`: the user changed some; `measurement`: what the model was like;
   * `note`: the user wrote one.
   */
  kind: 'budget' | 'settings' | 'measurement' | 'note';
  text: string;
}

export interface DatasetView {
  /** File names, by the index that rows name. */
  files: string[];
  rows: number;
  /** Null where a training script decides. */
  trained: number | null;
  heldOut: number;
  flagged: number;
  refusals: number;
  reviewed: number;
  unscored: number;
  filtered: number;
  invalid: RowProblem[];
  truncated: RowProblem[];
  unsupervised: RowProblem[];
}

/** A run beside the one that is shown, while it is active. */
export interface OtherRun {
  id: string;
  name: string;
  status: RunStatus;
  /** Where it is, in words. */
  progress: string;
  /** Of the present phase, where that is known. */
  share: number | null;
  loss: number | null;
  riskMax: number | null;
  /** The loss over the run, few of its steps; null where it is missing. */
  trend: (number | null)[];
}

/** The drawn series; `null` where a value is missing. */
export const drawnSeries = [
  'step',
  'nll',
  'kl',
  'anchors',
  'safetyTokens',
  'total',
  'riskMean',
  'riskMax',
  'betaMean',
  'betaMax',
  'learningRate',
  'gradNorm',
  'tokensPerSecond',
  'canary',
  'attackSuccess',
] as const satisfies readonly SeriesName[];

export type DrawnSeries = (typeof drawnSeries)[number];

export type BatchRow = StepRow;

/** What a check's button says. */
export const fixTitles: Record<Fix, string> = {
  'set-up-environment': l10n.t('Set Up Environment'),
  'choose-interpreter': l10n.t('Open Settings'),
  'open-file': l10n.t('Open File'),
};

export interface ChecksView {
  configuration: string;
  /** Still looking. */
  running: boolean;
  checks: PreflightCheck[];
}

/** What every page that follows a run is told of it. */
export type RunMessage<Name extends SeriesName> =
  | { type: 'run'; run: RunView }
  | { type: 'details'; details: DetailsView }
  | SeriesMessage<Name>;

export interface BatchMessage {
  type: 'rows';
  step: number;
  files: string[];
  threshold: number;
  /** Null where the step is no longer in the run. */
  rows: BatchRow[] | null;
}

/** A row that was risky when a step trained on it. */
export interface RiskyRow extends Pick<BatchRow, 'file' | 'line' | 'hash' | 'risk'> {
  step: number;
}

export interface RiskyRowsMessage {
  type: 'risky';
  files: string[];
  threshold: number;
  /** The newest step first, its riskiest row first; null where nothing has been trained on that has a risk. */
  rows: RiskyRow[] | null;
}

export type ToMonitor =
  /** Nothing to show: what can be done instead. */
  | { type: 'empty'; trusted: boolean }
  | RunMessage<DrawnSeries>
  /** Shows the rows of a step, as if it had been chosen. */
  | { type: 'select'; step: number }
  | BatchMessage
  | RiskyRowsMessage
  | { type: 'others'; runs: OtherRun[] }
  | { type: 'checks'; checks: ChecksView | null };

/** Commands that the page offers as buttons; none takes arguments. */
export const monitorCommands = [
  'safeFinetuning.setUpEnvironment',
  'safeFinetuning.newRun',
  'safeFinetuning.startRun',
  'safeFinetuning.pauseRun',
  'safeFinetuning.resumeRun',
  'safeFinetuning.stopRun',
  'safeFinetuning.cancelRun',
  'safeFinetuning.saveCheckpoint',
  'safeFinetuning.evaluateNow',
  'safeFinetuning.editNotes',
  'safeFinetuning.changeSettings',
  'safeFinetuning.resumeFromCheckpoint',
  'safeFinetuning.showTrainerLog',
  'safeFinetuning.revealRunFolder',
  'safeFinetuning.tryModel',
  'safeFinetuning.openRunPanel',
] as const satisfies readonly CommandId[];

export type MonitorCommand = (typeof monitorCommands)[number];

export type FromMonitor =
  /** The page is there and knows nothing. */
  | { type: 'ready' }
  | { type: 'command'; command: MonitorCommand }
  | { type: 'selectStep'; step: number }
  | { type: 'selectRun'; id: string }
  | { type: 'showRow'; row: { file: number; line: number; hash: string } }
  | { type: 'editSafetyTokens' }
  | { type: 'fix'; check: number }
  | { type: 'dismissChecks' }
  | { type: 'manageTrust' };
