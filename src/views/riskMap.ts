/** How many rows of which risk there were over the steps, few enough columns to draw. Pure. */
import { riskBins } from '../trainerHost/series';

export interface RiskMap {
  /** The first and the last step of each column. */
  first: number[];
  last: number[];
  /** Column by column, rows per bin, from the lowest risk to the highest. */
  counts: number[];
}

/** The lowest bin that counts as risky: whole bins are counted, from the edge that is nearest to the threshold. */
export const riskyFrom = (threshold: number): number => Math.min(riskBins - 1, Math.max(0, Math.ceil(threshold * riskBins - 0.5)));
