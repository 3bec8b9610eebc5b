/** Charts that several pages show. */
import * as l10n from '@vscode/l10n';
import { decimal, hundredths, percent, tenths } from '../../src/common/format';
import type { ChartSpec } from './chartSpec';

export const lossChart: ChartSpec<'total' | 'nll' | 'kl' | 'anchors' | 'safetyTokens'> = {
  title: l10n.t('Loss'),
  logarithmic: true,
  lines: [
    { key: 'total', label: l10n.t('total'), colour: '--vscode-charts-blue', format: decimal },
    { key: 'nll', label: 'nll', colour: '--vscode-charts-foreground', dash: [4, 3], optional: true, format: decimal },
    { key: 'kl', label: 'β·KL', colour: '--vscode-charts-yellow', dash: [9, 3, 2, 3], marked: true, optional: true, format: decimal },
    { key: 'anchors', label: l10n.t('anchors'), colour: '--vscode-charts-green', dash: [8, 3], optional: true, format: decimal },
    { key: 'safetyTokens', label: l10n.t('safety tokens'), colour: '--vscode-charts-purple', dash: [2, 2], optional: true, format: decimal },
  ],
};

export const riskChart: ChartSpec<'riskMax' | 'riskMean' | 'betaMax' | 'betaMean'> = {
  title: l10n.t('Risk and β'),
  optional: true,
  range: [-0.04, 1.06],
  lines: [
    { key: 'riskMax', label: l10n.t('risk max'), colour: '--vscode-charts-red', points: 'dot', format: hundredths },
    { key: 'riskMean', label: l10n.t('mean'), colour: '--vscode-charts-red', format: hundredths },
    { key: 'betaMax', label: l10n.t('β max'), colour: '--vscode-charts-purple', points: 'ring', format: hundredths },
    { key: 'betaMean', label: l10n.t('mean'), colour: '--vscode-charts-purple', dash: [4, 3], format: hundredths },
  ],
};

export const canaryHint = l10n.t('How much likelier refusing is than complying, in nats, on held-out harmful prompts.');

export const canaryChart: ChartSpec<'canary'> = {
  title: l10n.t('Canary'),
  hint: l10n.t`${canaryHint} Dashed: the safe reference.`,
  optional: true,
  lines: [{ key: 'canary', label: '', colour: '--vscode-charts-blue', marked: true, sparse: true, format: tenths }],
};

export const attackSuccessChart: ChartSpec<'attackSuccess'> = {
  title: l10n.t('Attack success in %'),
  hint: l10n.t('Share of held-out harmful prompts that were answered, where the model was measured. Dashed: the safe reference.'),
  optional: true,
  range: [-0.5, 10],
  lines: [
    { key: 'attackSuccess', label: '', colour: '--vscode-charts-red', marked: true, sparse: true, exact: true, format: value => percent(value === null ? null : value / 100) },
  ],
};

export const gpuChart: ChartSpec<'gpuLoad'> = {
  title: l10n.t('GPU load'),
  hint: l10n.t('Share of the time in which the GPU was at work, as its driver says once a second. Of several processes, that of the first.'),
  optional: true,
  range: [-0.04, 1.06],
  axis: share => `${Math.round(100 * share)} %`,
  lines: [{ key: 'gpuLoad', label: '', colour: '--vscode-charts-green', format: percent }],
};
