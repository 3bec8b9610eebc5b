/** The numbers of the latest step. */
import type { RunView } from '../../src/views/monitorProtocol';
import { h, setText } from '../common/dom';
import { bytes, decimal, duration, exponent, hundredths, integer, tenths } from '../common/format';

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
  { label: 'Step', title: 'Optimiser steps', text: c => `${integer(c.step)} / ${integer(c.totalSteps)}` },
  { label: 'Epoch', title: 'Passes over the dataset', text: c => c.epoch.toFixed(2) },
  { label: 'Loss', title: 'What was minimised: the method’s terms added up', text: c => decimal(c.total) },
  { label: 'NLL', title: 'Mean negative log-likelihood per trained token', text: c => isRegularised(c) ? decimal(c.nll) : null },
  { label: 'β·KL', title: 'Pull towards the safe reference; none when no row of the step was risky', text: c => isRegularised(c) ? decimal(c.kl) : null },
  { label: 'Anchors', title: 'What the anchor rows add to the loss', text: c => c.anchors === null ? null : decimal(c.anchors) },
  { label: 'Safety tokens', title: 'What safety token regularisation adds to the loss', text: c => c.safetyTokens === null ? null : decimal(c.safetyTokens) },
  { label: 'Risk', title: 'Mean and highest risk of the step’s rows', text: c => isRegularised(c) ? `${hundredths(c.riskMean)} · ${hundredths(c.riskMax)}` : null },
  { label: 'β', title: 'Mean and highest strength of the pull', text: c => isRegularised(c) ? `${hundredths(c.betaMean)} · ${hundredths(c.betaMax)}` : null },
  { label: 'Canary', title: 'How much likelier refusing is than complying, in nats, on held-out harmful prompts', text: c => c.canary === null ? null : tenths(c.canary) },
  { label: 'Learning rate', title: 'Learning rate of the step', text: c => exponent(c.learningRate) },
  { label: 'Gradient norm', title: 'Before clipping', text: c => decimal(c.gradNorm) },
  { label: 'Tokens/s', title: 'All tokens but padding', text: c => c.tokensPerSecond === null ? null : integer(c.tokensPerSecond) },
  { label: 'Step time', title: 'Where tokens are not counted', text: c => c.tokensPerSecond === null ? `${decimal(c.stepSeconds)} s` : null },
  { label: 'Memory', title: 'GPU: highest so far. Otherwise the process’s resident memory', text: c => bytes(c.memoryBytes) },
];

export class Values {
  readonly element = h('dl', { class: 'values' });
  private readonly cells = values.map(() => h('dd', { class: 'number' }));
  private readonly elapsed = h('dd', { class: 'number' });
  private clock = { seconds: 0, at: 0, ticking: false };

  constructor() {
    values.forEach(({ label, title }, index) => this.element.append(h('div', { title }, h('dt', {}, label), this.cells[index])));
    this.element.append(h('div', { title: 'Since the run was started' }, h('dt', {}, 'Elapsed'), this.elapsed));
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
