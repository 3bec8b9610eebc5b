/** Everything that the extension and the monitor's page say to each other. */
import type { CommandId } from '../common/commands';
import type { EvaluationMetrics, RowProblem } from '../protocol/messages';
import type { Fix, PreflightCheck } from '../trainerHost/preflight';
import type { RunStatus } from '../trainerHost/runFolder';
import type { PhaseProgress, SeriesName } from '../trainerHost/runState';

/** How the run stands now; small, sent with every change. */
export interface RunView {
  id: string;
  name: string;
  /** Empty until run.json is there. */
  method: string;
  model: string;
  configuration: string;
  status: RunStatus;
  attempt: number;
  /** Why it ended as it did. */
  message: string;
  resumable: boolean;
  /** The share of a long history that has been read, until all of it has. */
  reading: number | null;
  elapsedSeconds: number;
  phase: PhaseProgress | null;
  current: CurrentValues | null;
  /** What the canary says of the reference. */
  canaryReference: number | null;
}

export type CurrentValues = Record<
  | 'step'
  | 'totalSteps'
  | 'epoch'
  | 'riskMean'
  | 'riskMax'
  | 'betaMean'
  | 'betaMax'
  | 'learningRate'
  | 'tokensPerSecond'
  | 'memoryBytes',
  number
> &
  Record<'total' | 'nll' | 'kl' | 'anchors' | 'safetyTokens' | 'gradNorm' | 'etaSeconds' | 'canary', number | null>;

/** What changes a few times in a run. */
export interface DetailsView {
  dataset: DatasetView | null;
  before: EvaluationMetrics | null;
  after: EvaluationMetrics | null;
  warnings: { code: string; message: string }[];
  interventions: InterventionView[];
  /** The log's last lines, of a run that failed. */
  logTail: string[];
}

/** What was done to the run at a step, in words. */
/** What happened at a step beside the training itself. */
export interface InterventionView {
  step: number;
  /** `budget`: the safety budget was exceeded; `settings`: the user changed some; `note`: the user wrote one. */
  kind: 'budget' | 'settings' | 'note';
  text: string;
}

export interface DatasetView {
  /** File names, by the index that rows name. */
  files: string[];
  rows: number;
  trained: number;
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
] as const satisfies readonly SeriesName[];

export type SeriesColumns = Record<(typeof drawnSeries)[number], (number | null)[]>;

/** A row of one batch. Its text is never here. */
export interface BatchRow {
  /** Index into `files`. */
  file: number;
  line: number;
  hash: string;
  risk: number | null;
  beta: number;
  nll: number | null;
  kl: number | null;
}

/** What a check's button says. */
export const fixTitles: Record<Fix, string> = {
  'set-up-environment': 'Set Up Environment',
  'choose-interpreter': 'Open Settings',
  'open-file': 'Open File',
};

export interface ChecksView {
  configuration: string;
  /** Still looking. */
  running: boolean;
  checks: PreflightCheck[];
}

export type ToMonitor =
  /** Nothing to show: what can be done instead. */
  | { type: 'empty'; trusted: boolean }
  | { type: 'run'; run: RunView }
  | { type: 'details'; details: DetailsView }
  | { type: 'series'; replace: boolean; columns: SeriesColumns }
  | { type: 'rows'; step: number; files: string[]; threshold: number; rows: BatchRow[] }
  | { type: 'checks'; checks: ChecksView | null };

/** Commands that the page offers as buttons; none takes arguments. */
export const monitorCommands = [
  'safeFinetuning.setUpEnvironment',
  'safeFinetuning.createConfiguration',
  'safeFinetuning.startRun',
  'safeFinetuning.pauseRun',
  'safeFinetuning.resumeRun',
  'safeFinetuning.stopRun',
  'safeFinetuning.cancelRun',
  'safeFinetuning.saveCheckpoint',
  'safeFinetuning.editNotes',
  'safeFinetuning.changeSettings',
  'safeFinetuning.resumeFromCheckpoint',
  'safeFinetuning.showTrainerLog',
  'safeFinetuning.revealRunFolder',
] as const satisfies readonly CommandId[];

export type MonitorCommand = (typeof monitorCommands)[number];

export type FromMonitor =
  /** The page is there and knows nothing. */
  | { type: 'ready' }
  | { type: 'command'; command: MonitorCommand }
  | { type: 'selectStep'; step: number }
  | { type: 'showRow'; row: { file: number; line: number; hash: string } }
  | { type: 'fix'; check: number }
  | { type: 'dismissChecks' }
  | { type: 'manageTrust' };
