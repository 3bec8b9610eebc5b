/** Everything that the extension and the page of a run's panel say to each other. */
import { riskBins, type SeriesName } from '../trainerHost/series';
import type { Look } from './chartProtocol';
import type { BatchMessage, MonitorCommand, RunMessage } from './monitorProtocol';
import type { RangeRow } from './rangeRows';
import { riskyFrom, type RiskMap } from './riskMap';

export type { RangeRow, RiskMap };

/** The series that the panel draws. */
export const panelSeries = [
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
  'regularisedShare',
  'klMean',
  'learningRate',
  'gradNorm',
  'tokensPerSecond',
  'stepSeconds',
  'memoryBytes',
  'gpuLoad',
  'canary',
  'attackSuccess',
] as const satisfies readonly SeriesName[];

export type PanelSeries = (typeof panelSeries)[number];

export { riskBins, riskyFrom };

/** What a window that is loaded anew needs to open the panel again. */
export interface PanelState {
  /** The run's folder. */
  folder: string;
}

/** The rows of a range of steps. */
export interface RangeMessage {
  type: 'rangeRows';
  from: number;
  to: number;
  /** Steps in the range, and how many of them were read, evenly among them. */
  steps: number;
  stepsRead: number;
  files: string[];
  threshold: number;
  /** Those that added most to the loss. */
  rows: RangeRow[];
  /** How many more there are. */
  others: number;
}

export type ToPanel =
  /** Which run the panel is about. */
  | { type: 'panel'; folder: string }
  /** There is no run in that folder, or no more. */
  | { type: 'gone'; folder: string }
  | RunMessage<PanelSeries>
  | { type: 'risks'; map: RiskMap; threshold: number }
  | BatchMessage
  | RangeMessage;

/** What of a chart is exported. */
export type ExportedColumns = { kind: 'series'; names: Exclude<PanelSeries, 'step'>[] } | { kind: 'risks' };

export type FromPanel =
  /** The page is there and knows nothing. */
  | { type: 'ready'; look: Look }
  | { type: 'look'; look: Look }
  | { type: 'command'; command: MonitorCommand }
  | { type: 'selectStep'; step: number }
  | { type: 'selectRange'; from: number; to: number }
  | { type: 'showRow'; row: { file: number; line: number; hash: string } }
  | { type: 'editSafetyTokens' }
  /** `range`: from and to, in steps; null is everything. */
  | { type: 'export'; title: string; columns: ExportedColumns; range: [number, number] | null }
  /** A chart as it is shown. */
  | { type: 'picture'; title: string; svg: string };
