/** What a report is made of: plain values, so that it can be made without a run, an editor or a disk. */
import type { DatasetRead, EvaluationMetrics, RunRecord } from '../protocol/messages';
import type { NotableRows } from '../trainerHost/notableRows';
import type { SeriesName } from '../trainerHost/series';

export interface ReportInput {
  id: string;
  name: string;
  tags: readonly string[];
  /** File name of the configuration; empty where it is not known. */
  configuration: string;
  /** How the run stands, in words. */
  status: string;
  /** It goes on: the report is of a moment. */
  active: boolean;
  /** Why it ended as it did. */
  message: string;
  /** Milliseconds since the Unix epoch. */
  startedAt: number;
  lastEvent: number | undefined;
  madeAt: number;
  attempts: number;
  /** What run.json says; undefined where there is none. */
  record: Pick<RunRecord, 'config' | 'script' | 'datasets' | 'versions'> | undefined;
  dataset: DatasetRead | undefined;
  before: EvaluationMetrics | undefined;
  after: EvaluationMetrics | undefined;
  canary: { reference: number | null; prompts: number } | undefined;
  /** What was done while it trained, by step. */
  happened: readonly { step: number; kind: 'budget' | 'settings' | 'measurement' | 'note'; text: string }[];
  warnings: readonly string[];
  /** By step; null where there is no value, NaN where the canary's was none. Of a long run, some steps. */
  series: ReportSeries;
  totalSteps: number | undefined;
  /** Sum over all steps. */
  trainingSeconds: number;
  rows: NotableRows;
  /** Lines of events.jsonl that are no events. */
  badLines: number;
}

export type ReportSeries = Readonly<Record<(typeof reportedSeries)[number], readonly (number | null)[]>>;

export const reportedSeries = [
  'step',
  'total',
  'nll',
  'kl',
  'anchors',
  'safetyTokens',
  'riskMean',
  'riskMax',
  'betaMean',
  'betaMax',
  'canary',
  'gradNorm',
  'learningRate',
] as const satisfies readonly SeriesName[];
