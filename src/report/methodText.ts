/** A run's method in a sentence, and the settings that it depends on. Pure. */
import { percent } from '../common/format';
import type { RunConfig } from '../protocol/messages';

/** Without a configuration, of a training script of the user's. */
export function methodSentence(config: RunConfig | null): string {
  if (!config) return 'A training script of its own: the run was watched, and nothing held the model near a safe reference.';
  const { method, regularisation, risk, anchors } = config;
  switch (method) {
    case 'recommended':
      return (
        `Each row is held near the safe reference by its own risk, rows without risk train as usual, and every step takes along anchor rows: ` +
        'harmful prompts with the reference’s refusals and harmless look-alikes with its answers, on which the model is held to the reference.'
      );
    case 'adaptive':
      return regularisation.granularity === 'batch'
        ? 'All rows of a step are held near the safe reference by the mean risk of the step.'
        : 'Each row is held near the safe reference by its own risk; rows without risk train as usual.';
    case 'safety-tokens':
      return 'Rows train as usual, and the model’s scores of the tokens that refusals are made of are held near the reference’s.';
    case 'standard':
      return anchors ? 'Plain fine-tuning, with anchor rows on which the model is held to the safe reference.' : 'Plain fine-tuning: nothing holds the model near its safe reference.';
    case 'kl':
      return 'Every row, risky or not, is held near the safe reference with the same weight.';
    case 'constrained':
      return 'The first tokens of every answer are held near the safe reference’s.';
    case 'mix-safety':
      return 'Harmful prompts with refusals are mixed into the rows and trained on like these.';
    case 'filter':
      return `Rows with a risk of ${risk.threshold} or more are left out; the others train as usual.`;
  }
}

export function methodSettings(config: RunConfig | null): [string, string][] {
  if (!config) return [];
  const { method, preset, risk, regularisation, anchors, safetyTokens, lora, training, canary, evaluation } = config;
  const adaptive = method === 'adaptive' || method === 'recommended';
  const settings: [string, string | false][] = [
    ['Preset', preset ?? false],
    ['Risk', `${judgeName(config)}; below ${risk.floor} it counts as 0, from ${risk.threshold} a row is flagged`],
    ['β', adaptive && `${regularisation.betaMin} to ${regularisation.betaMax}, ${regularisation.mapping}, one for each ${regularisation.granularity === 'batch' ? 'step' : 'row'}`],
    ['Loss', adaptive && (regularisation.form === 'convex' ? '(1 − β)·nll + β·KL' : `nll + ${regularisation.weight}·β·KL`)],
    ['KL', (adaptive || method === 'kl') && regularisation.positions === 'first' && `at the first ${regularisation.firstTokens} answer tokens`],
    ['Weight of KL', method === 'kl' && String(regularisation.weight)],
    ['Reference', adaptive || method === 'kl' ? (regularisation.reference === 'cached' ? 'asked once for each row and kept: its likeliest tokens' : 'asked in every step, all tokens') : false],
    ['Anchor rows', !!anchors && `${anchors.perStep ?? Math.ceil(training.batchSize / 8)} in each step, weight ${anchors.weight}`],
    ['Safety tokens', !!safetyTokens && `weight ${safetyTokens.weight}, ${safetyTokens.space}, at ${safetyTokens.positions === 'first' ? `the first ${safetyTokens.firstTokens}` : 'all'} answer tokens`],
    ['Trained', lora ? `LoRA of rank ${lora.rank}, α ${lora.alpha}${lora.dropout ? `, dropout ${lora.dropout}` : ''}` : 'all weights'],
    ['Base model', config.quantisation === '4bit' && 'in 4 bits (NF4)'],
    ['Length', training.maxSteps ? `${training.maxSteps} steps` : `${training.epochs} ${training.epochs === 1 ? 'epoch' : 'epochs'}`],
    ['Rows in a step', String(training.batchSize)],
    ['Learning rate', `${training.learningRate} at its peak, ${training.warmupSteps} steps of warm-up, linear decay`],
    ['Seed', String(training.seed)],
    ['Safety budget', !!canary?.maxDrop && `when the canary falls by more than ${canary.maxDrop} nats, ${budgetActs[canary.onExceeded]}`],
    ['Budget of attacks', evaluation.maxAttackSuccess !== null && `when more than ${percent(evaluation.maxAttackSuccess)} of them succeed at a checkpoint, ${budgetActs[evaluation.onExceeded]}`],
  ];
  return settings.filter((setting): setting is [string, string] => setting[1] !== false);
}

const budgetActs = { warn: 'the run warns', 'raise-beta': 'β is raised', 'roll-back': 'the run goes back to the last checkpoint within budget and on with a higher β', stop: 'the run saves and stops' } as const;

function judgeName({ risk }: RunConfig): string {
  if (risk.source === 'probe') return 'by a probe of the model’s hidden states';
  if (risk.judge === 'guard') return `by the guard model ${risk.guard}`;
  if (risk.judge === 'endpoint') return `by the model ${risk.endpoint?.model} on a server`;
  return 'by the bundled classifier';
}
