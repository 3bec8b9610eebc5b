/** Everything that the extension and the page that compares runs say to each other. */
import type { EvaluationMetrics } from '../protocol/messages';
import type { RunStatus } from '../trainerHost/runFolder';
import type { SeriesName } from '../trainerHost/series';
import type { Look, SeriesMessage } from './chartProtocol';
import type { Difference } from './configDifference';

export type { Difference };

export const mostRuns = 6;

/** The series that are laid over each other, and what they are laid out by. */
export const comparedSeries = ['step', 'epoch', 'time', 'total', 'nll', 'riskMean', 'betaMean', 'canary', 'learningRate'] as const satisfies readonly SeriesName[];

export type ComparedSeries = (typeof comparedSeries)[number];

export interface ComparedRun {
  folder: string;
  id: string;
  name: string;
  /** Null where it is gone. */
  status: RunStatus | null;
  before: EvaluationMetrics | null;
  after: EvaluationMetrics | null;
}

/** What a window that is loaded anew needs to open the page again. */
export interface CompareState {
  folders: string[];
}

export type ToCompare =
  | { type: 'runs'; runs: ComparedRun[]; differences: Difference[] }
  | (SeriesMessage<ComparedSeries> & { run: number });

export type FromCompare =
  /** The page is there and knows nothing. */
  | { type: 'ready'; look: Look }
  | { type: 'look'; look: Look }
  | { type: 'openPanel'; run: number }
  | { type: 'export'; title: string; name: ComparedSeries; look: Look }
  /** A chart as it is shown. */
  | { type: 'picture'; title: string; svg: string };
