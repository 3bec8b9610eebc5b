/** The rows of several steps, each once, by what they added to the loss. Pure. */
import type { RowColumns, RunConfig } from '../protocol/messages';

/** A row over the steps that saw it. Its text is never here. */
export interface RangeRow {
  /** Index into the run's files. */
  file: number;
  line: number;
  hash: string;
  times: number;
  /** Null where it was unscored. */
  riskMax: number | null;
  nllMean: number | null;
  /** Of each step's loss, its part in β·KL: the sum over the steps. */
  pull: number;
  /** Of each step's loss, its part in α·nll + β·KL: the sum over the steps. */
  contribution: number;
}

interface Sum extends Omit<RangeRow, 'nllMean'> {
  nll: number;
  measured: number;
}

/** What the likelihood of a row weighs beside its β: the convex form takes from it what it gives to the pull. */
export const likelihoodWeight = (config: Pick<RunConfig, 'method' | 'regularisation'> | null | undefined): ((beta: number) => number) => {
  const held = config?.method === 'adaptive' || config?.method === 'recommended';
  return held && config.regularisation.form === 'convex' ? beta => 1 - beta : () => 1;
};

/** The rows of the steps, those that added most to the loss first. */
export function aggregateRows(steps: readonly RowColumns[], alpha: (beta: number) => number): RangeRow[] {
  const sums = new Map<string, Sum>();
  for (const rows of steps) {
    const shares = sharesOf(rows);
    rows.hash.forEach((hash, index) => {
      const file = rows.file[index] ?? 0;
      const sum = sums.get(`${file}:${hash}`) ?? { file, line: rows.line[index] ?? 1, hash, times: 0, riskMax: 0, nll: 0, measured: 0, pull: 0, contribution: 0 };
      add(sum, { risk: rows.risk[index] ?? null, beta: rows.beta[index] ?? 0, nll: rows.nll[index] ?? null, kl: rows.kl[index] ?? 0, share: shares[index]! }, alpha);
      sums.set(`${file}:${hash}`, sum);
    });
  }
  return [...sums.values()]
    .map(({ nll, measured, ...row }) => ({ ...row, nllMean: measured ? nll / measured : null }))
    .sort((a, b) => b.contribution - a.contribution || a.file - b.file || a.line - b.line);
}

/** What each row's means weigh in the loss of its step, which is a mean over tokens; where an earlier trainer has not told them, rows count alike. */
function sharesOf({ hash, tokens }: RowColumns): number[] {
  const weights = tokens.length === hash.length ? tokens : hash.map(() => 1);
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map(weight => (all > 0 ? weight / all : 0));
}

function add(sum: Sum, { risk, beta, nll, kl, share }: { risk: number | null; beta: number; nll: number | null; kl: number; share: number }, alpha: (beta: number) => number): void {
  sum.times++;
  sum.riskMax = risk === null || sum.riskMax === null ? null : Math.max(sum.riskMax, risk);
  sum.pull += share * beta * kl;
  sum.contribution += share * (beta * kl + alpha(beta) * (nll ?? 0));
  if (nll === null) return;
  sum.nll += nll;
  sum.measured++;
}
