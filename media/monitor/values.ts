/** The numbers of the latest step. */
import * as l10n from '@vscode/l10n';
import type { RunView } from '../../src/views/monitorProtocol';
import { h, setText } from '../common/dom';
import { bytes, decimal, duration, exponent, hundredths, integer, tenths } from '../../src/common/format';

type Current = NonNullable<RunView['current']>;

interface ValueSpec {
  label: string;
  title: string;
  /** `null` where the run's method has no such value: nothing is shown then. */
  text: (current: Current) => string | null;
}

/** Nothing regularises what a training script trains. */
const isRegularised = (c: Current): boolean => c.riskMean !== null;

const values: ValueSpec[] = [
  { label: l10n.t('Step'), title: l10n.t('Optimiser steps'), text: c => `${integer(c.step)} / ${integer(c.totalSteps)}` },
  { label: l10n.t('Epoch'), title: l10n.t('Passes over the dataset'), text: c => hundredths(c.epoch) },
  { label: l10n.t('Loss'), title: l10n.t('What was minimised: the method’s terms added up'), text: c => decimal(c.total) },
  { label: 'NLL', title: l10n.t('Mean negative log-likelihood per trained token'), text: c => isRegularised(c) ? decimal(c.nll) : null },
  { label: 'β·KL', title: l10n.t('Pull towards the safe reference; none when no row of the step was risky'), text: c => isRegularised(c) ? decimal(c.kl) : null },
  { label: l10n.t('Anchors'), title: l10n.t('What the anchor rows add to the loss'), text: c => c.anchors === null ? null : decimal(c.anchors) },
  { label: l10n.t('Safety tokens'), title: l10n.t('What safety token regularisation adds to the loss'), text: c => c.safetyTokens === null ? null : decimal(c.safetyTokens) },
  { label: l10n.t('Risk'), title: l10n.t('Mean and highest risk of the step’s rows'), text: c => isRegularised(c) ? `${hundredths(c.riskMean)} · ${hundredths(c.riskMax)}` : null },
  { label: 'β', title: l10n.t('Mean and highest strength of the pull'), text: c => isRegularised(c) ? `${hundredths(c.betaMean)} · ${hundredths(c.betaMax)}` : null },
  { label: l10n.t('Canary'), title: l10n.t('How much likelier refusing is than complying, in nats, on held-out harmful prompts'), text: c => c.canary === null ? null : tenths(c.canary) },
  { label: l10n.t('Learning rate'), title: l10n.t('Learning rate of the step'), text: c => exponent(c.learningRate) },
  { label: l10n.t('Gradient norm'), title: l10n.t('Before clipping'), text: c => decimal(c.gradNorm) },
  { label: l10n.t('Tokens/s'), title: l10n.t('All tokens but padding'), text: c => c.tokensPerSecond === null ? null : integer(c.tokensPerSecond) },
  { label: l10n.t('Step time'), title: l10n.t('Where tokens are not counted'), text: c => c.tokensPerSecond === null ? `${decimal(c.stepSeconds)} s` : null },
  { label: l10n.t('Memory'), title: l10n.t('GPU: highest so far. Otherwise the process’s resident memory'), text: c => bytes(c.memoryBytes) },
];

export class Values {
  readonly element = h('dl', { class: 'values' });
  private readonly cells = values.map(() => h('dd', { class: 'number' }));
  private readonly elapsed = h('dd', { class: 'number' });
  private clock = { seconds: 0, at: 0, ticking: false };

  constructor() {
    values.forEach(({ label, title }, index) => this.element.append(h('div', { title }, h('dt', {}, label), this.cells[index])));
    this.element.append(h('div', { title: l10n.t('Since the run was started') }, h('dt', {}, l10n.t('Elapsed')), this.elapsed));
    setInterval(() => this.tick(), 1000);
  }

  update({ current, elapsedSeconds, status }: RunView): void {
    const active = status === 'starting' || status === 'running' || status === 'paused';
    this.clock = { seconds: elapsedSeconds, at: performance.now(), ticking: active };
    this.tick();
    this.element.hidden = !current;
    if (!current) return;
    values.forEach(({ text }, index) => {
      const cell = this.cells[index] as HTMLElement;
      const shown = text(current);
      (cell.parentElement as HTMLElement).hidden = shown === null;
      setText(cell, shown ?? '');
    });
  }

  private tick(): void {
    const { seconds, at, ticking } = this.clock;
    setText(this.elapsed, duration(seconds + (ticking ? (performance.now() - at) / 1000 : 0)));
  }
}
