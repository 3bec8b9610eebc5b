/** What a report is made of, for tests. */
import type { RunConfig } from '../../src/protocol/messages';
import type { ReportInput, ReportSeries } from '../../src/report/reportInput';

export const config: RunConfig = {
  $schema: null,
  model: 'example',
  dataset: { path: 'support.jsonl', heldOutPath: 'support.heldout.jsonl', heldOutShare: 0.05, invalidRows: 'error' },
  method: 'recommended',
  preset: null,
  risk: { source: 'critic', judge: 'classifier', guard: null, endpoint: null, probe: null, features: 'reference', floor: 0.1, threshold: 0.5 },
  regularisation: { granularity: 'sample', mapping: 'linear', betaMin: 0, betaMax: 1, form: 'convex', weight: 5, movingAverage: 0, reference: 'cached', positions: 'all', firstTokens: 8 },
  anchors: { perStep: null, weight: 1, prompts: null },
  safetyTokens: null,
  lora: { rank: 16, alpha: 32, dropout: 0, targetModules: 'all-linear' },
  quantisation: 'none',
  training: { epochs: 2, maxSteps: 60, batchSize: 8, microBatchSize: null, learningRate: 2e-4, warmupSteps: 5, weightDecay: 0, maxGradNorm: 1, maxLength: 1024, seed: 1, reportTo: [] },
  checkpoints: { everyMinutes: 10, atLeast: 5, keep: 2 },
  canary: { everySteps: 5, maxDrop: 2, onExceeded: 'raise-beta' },
  evaluation: { enabled: true, harmfulPrompts: null, benignPrompts: null, maxNewTokens: 64, batchSize: 32, atCheckpoints: false, maxAttackSuccess: null, onExceeded: 'warn' },
  processes: 1,
  accelerateConfig: null,
  device: 'auto',
};

const proportion = (count: number, n: number, low: number, high: number) => ({ value: count / n, low, high, count, n });

export const before = { attackSuccess: proportion(2, 64, 0.009, 0.107), overRefusal: proportion(9, 64, 0.076, 0.246), degenerate: proportion(0, 128, 0, 0.029), heldOutLoss: { value: 4.935, low: 4.71, high: 5.16, n: 48 } };
export const after = { attackSuccess: proportion(3, 64, 0.016, 0.129), overRefusal: proportion(8, 64, 0.065, 0.228), degenerate: proportion(1, 128, 0.001, 0.043), heldOutLoss: { value: 3.549, low: 3.38, high: 3.72, n: 48 } };

const steps = Array.from({ length: 60 }, (_, index) => index + 1);
/** Looks like noise and is the same each time. */
const noise = (step: number, salt: number) => Math.sin(step * 12.9898 + salt * 78.233) * 0.5;

export const series: ReportSeries = {
  step: steps,
  total: steps.map(step => 1.6 + 3.2 * Math.exp(-step / 14) + 0.25 * noise(step, 1)),
  nll: steps.map(step => 1.7 + 3.3 * Math.exp(-step / 14) + 0.3 * noise(step, 2)),
  kl: steps.map(step => (step % 3 === 0 ? 0.08 + 0.05 * noise(step, 3) : null)),
  anchors: steps.map(step => 0.05 + 0.002 * step + 0.02 * noise(step, 4)),
  safetyTokens: steps.map(() => null),
  riskMean: steps.map(step => 0.08 + (step % 3 === 0 ? 0.1 : 0)),
  riskMax: steps.map(step => (step % 3 === 0 ? 0.97 : 0.06)),
  betaMean: steps.map(step => (step % 3 === 0 ? 0.12 : 0)),
  betaMax: steps.map(step => (step % 3 === 0 ? 0.97 : 0)),
  canary: steps.map(step => (step % 5 === 0 ? 9.1 - 2.6 * (1 - Math.exp(-step / 20)) + 0.3 * noise(step, 5) : null)),
  gradNorm: steps.map(step => 0.9 + 2 * Math.exp(-step / 6) + 0.3 * noise(step, 6)),
  learningRate: steps.map(step => 2e-4 * (step <= 5 ? step / 5 : 1 - (step - 5) / 55)),
};

const row = (line: number, risk: number | null, kl: number | null) => ({ file: 0, line, hash: line.toString(16).padStart(16, 'a'), risk, beta: risk ?? 1, kl, timesMedian: kl === null ? null : kl / 0.11 });

export const reportOf = (values: Partial<ReportInput> = {}): ReportInput => ({
  id: '20261130-150000-recommended-x7',
  name: 'support · recommended',
  tags: ['candidate'],
  configuration: 'support.finetune.json',
  status: 'completed',
  active: false,
  message: '60 steps.',
  startedAt: Date.UTC(2026, 10, 30, 15),
  lastEvent: Date.UTC(2026, 10, 30, 15, 9, 12),
  madeAt: Date.UTC(2026, 10, 30, 16, 30),
  attempts: 1,
  record: {
    config,
    script: null,
    datasets: [
      { path: '/home/someone/data/support.jsonl', sha256: 'c0ffee'.padEnd(64, '0'), rows: 310, names: null, reviewed: ['a'.repeat(16)] },
      { path: '/home/someone/data/support.heldout.jsonl', sha256: 'decade'.padEnd(64, '0'), rows: 48, names: null, reviewed: [] },
    ],
    versions: { 'safe-finetuning': '0.1.0', python: '3.11.2', torch: '2.13.0', transformers: '5.1.0', peft: '0.18.0' },
  },
  dataset: { v: 1, seq: 3, ts: 0, type: 'dataset', rows: 310, trained: 309, heldOut: 48, flagged: 24, refusals: 6, reviewed: 1, unscored: 1, filtered: 0, invalid: [{ file: 0, line: 9, hash: 'b'.repeat(16), reason: 'not JSON' }], truncated: [], unsupervised: [], totalSteps: 60 },
  before,
  after,
  canary: { reference: 9.1, prompts: 16 },
  happened: [
    { step: 25, kind: 'budget', text: 'The canary fell 2.1 nats below the reference, the budget is 2: β now begins at 0.5.' },
    { step: 40, kind: 'note', text: 'Looks settled.' },
  ],
  warnings: ['One row could not be judged and counts as risk 1.'],
  series,
  totalSteps: 60,
  trainingSeconds: 184,
  rows: { riskiest: [row(17, null, 0.4), row(204, 0.98, 0.62), row(3, 0.91, 0.2), row(88, 0.55, null)], hardest: [row(204, 0.98, 0.62), row(17, null, 0.4), row(3, 0.91, 0.2)] },
  badLines: 0,
  ...values,
});

/** Nothing but a folder. */
export const bareReport = (values: Partial<ReportInput> = {}): ReportInput =>
  reportOf({
    ...{ configuration: '', status: 'failed', message: '', startedAt: 0, lastEvent: undefined, tags: [], record: undefined, dataset: undefined, before: undefined, after: undefined },
    ...{ canary: undefined, happened: [], warnings: [], series: Object.fromEntries(Object.keys(series).map(name => [name, []])) as unknown as ReportSeries },
    ...{ totalSteps: undefined, trainingSeconds: 0, rows: { riskiest: [], hardest: [] } },
    ...values,
  });
