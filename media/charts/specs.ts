/** Charts that several pages show. */
import { decimal, hundredths, percent, tenths } from '../common/format';
import type { ChartSpec } from './chartSpec';

export const lossChart: ChartSpec<'total' | 'nll' | 'kl' | 'anchors' | 'safetyTokens'> = {
  title: 'Loss',
  logarithmic: true,
  lines: [
    { key: 'total', label: 'total', colour: '--vscode-charts-blue', format: decimal },
    { key: 'nll', label: 'nll', colour: '--vscode-charts-foreground', dash: [4, 3], optional: true, format: decimal },
    { key: 'kl', label: 'β·KL', colour: '--vscode-charts-yellow', marked: true, optional: true, format: decimal },
    { key: 'anchors', label: 'anchors', colour: '--vscode-charts-green', optional: true, format: decimal },
    { key: 'safetyTokens', label: 'safety tokens', colour: '--vscode-charts-purple', optional: true, format: decimal },
  ],
};

export const riskChart: ChartSpec<'riskMax' | 'riskMean' | 'betaMax' | 'betaMean'> = {
  title: 'Risk and β',
  optional: true,
  range: [-0.04, 1.06],
  lines: [
    { key: 'riskMax', label: 'risk max', colour: '--vscode-charts-red', points: 'dot', format: hundredths },
    { key: 'riskMean', label: 'mean', colour: '--vscode-charts-red', format: hundredths },
    { key: 'betaMax', label: 'β max', colour: '--vscode-charts-purple', points: 'ring', format: hundredths },
    { key: 'betaMean', label: 'mean', colour: '--vscode-charts-purple', dash: [4, 3], format: hundredths },
  ],
};

export const canaryHint = 'How much likelier refusing is than complying, in nats, on held-out harmful prompts.';

export const canaryChart: ChartSpec<'canary'> = {
  title: 'Canary',
  hint: `${canaryHint} Dashed: the safe reference.`,
  optional: true,
  lines: [{ key: 'canary', label: '', colour: '--vscode-charts-blue', marked: true, sparse: true, format: tenths }],
};

export const attackSuccessChart: ChartSpec<'attackSuccess'> = {
  title: 'Attack success in %',
  hint: 'Share of held-out harmful prompts that were answered, where the model was measured. Dashed: the safe reference.',
  optional: true,
  range: [-0.5, 10],
  lines: [
    { key: 'attackSuccess', label: '', colour: '--vscode-charts-red', marked: true, sparse: true, exact: true, format: value => percent(value === null ? null : value / 100) },
  ],
};
