/** Events of a run, for tests. */
import fs from 'node:fs';
import type { AnyEvent, AttemptStarted, Batch, BudgetExceeded, Measured, Proportion } from '../../src/protocol/messages';
import { parseEvent, type TailedEvent } from '../../src/trainerHost/eventTail';
import { RunState } from '../../src/trainerHost/runState';

export const batch = (step: number, values: Partial<Batch> = {}): Batch => ({
  v: 1,
  seq: step,
  ts: 1000 * step,
  type: 'batch',
  step,
  totalSteps: 1000,
  epoch: step / 100,
  nll: 1,
  kl: null,
  anchors: null,
  safetyTokens: null,
  total: 1,
  riskMean: 0.1,
  riskMax: 0.2,
  betaMean: 0,
  betaMax: 0,
  learningRate: 1e-4,
  gradNorm: 1,
  tokens: 100,
  tokensPerSecond: 1000,
  stepSeconds: 0.5,
  memoryBytes: 1e9,
  gpuLoad: null,
  etaSeconds: 10,
  canary: null,
  notFinite: [],
  rows: { file: [0, 0], line: [3, 9], hash: ['a'.repeat(16), 'b'.repeat(16)], risk: [0.1, 0.9], beta: [0, 0.9], nll: [1, 2], kl: [null, 0.1], tokens: [40, 60] },
  ...values,
});

export const attempt = (number: number, fromStep: number): AttemptStarted => ({
  v: 1,
  seq: 0,
  ts: 0,
  type: 'attempt_started',
  attempt: number,
  fromStep,
  pid: 1,
  host: 'h',
});

/** Of 100 prompts, so many were answered. */
export const measurement = (step: number, answered: number): Measured => {
  const share = (count: number): Proportion => ({ value: count / 100, low: 0, high: 1, count, n: 100 });
  const heldOutLoss = { value: 1.25, low: null, high: null, n: 1 };
  const metrics = { attackSuccess: share(answered), overRefusal: share(5), degenerate: share(0), heldOutLoss };
  return { v: 1, seq: 7, ts: 7, type: 'measurement', step, metrics, seconds: 2 };
};

export const budget = (step: number, values: Partial<BudgetExceeded> = {}): BudgetExceeded => ({
  v: 1,
  seq: 8,
  ts: 8,
  type: 'budget',
  step,
  budget: 'canary',
  value: 4,
  limit: 3,
  action: 'warn',
  backTo: null,
  message: 'x',
  ...values,
});

export const at = (event: AnyEvent, offset = 0): TailedEvent => ({ event, offset, length: 1 });

/** What a run's events come to, as they lie in a file. */
export function stateOf(file: string): RunState {
  const state = new RunState();
  let offset = 0;
  for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
    const parsed = parseEvent(line);
    if ('event' in parsed) state.apply({ event: parsed.event, offset, length: line.length });
    offset += line.length + 1;
  }
  return state;
}
