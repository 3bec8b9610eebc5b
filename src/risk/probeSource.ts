/** What others than the worker thread know of an exported probe. */
import { patternsId } from './refusal';

/** Where it lies, and the name that the trainer gives to its risks. */
export interface ProbeSource {
  folder: string;
  judgeId: string;
}

/** Names its scores exactly, as the worker gives them; those that older versions kept lack the turns. */
export const scoresOf = ({ judgeId }: ProbeSource): string => `${judgeId}+${patternsId}+turns`;

/** A message before the answer that is judged. */
export interface Turn {
  role: string;
  content: string;
}

/** It is missing, damaged, another one, or judges otherwise here than in the trainer. */
export class ProbeUnavailable extends Error {
  override readonly name = 'ProbeUnavailable';
}
