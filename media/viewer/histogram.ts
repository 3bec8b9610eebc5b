/** How many rows have which risk, with the threshold as a handle. */
import * as l10n from '@vscode/l10n';
import { isOne } from '../../src/common/language';
import { h, setText } from '../common/dom';
import { hundredths, integer } from '../../src/common/format';
import type { TableSummary } from '../../src/views/viewerProtocol';

const PAUSE_MS = 300;

export class Histogram {
  readonly element: HTMLElement;
  private readonly bars: HTMLElement[] = [];
  private readonly plot = h('div', { class: 'bars', attributes: { role: 'img' } });
  private readonly mark = h('div', { class: 'mark' });
  private readonly handle = h('input', {
    attributes: { type: 'range', min: '0', max: '1', step: '0.01', 'aria-label': l10n.t('Threshold: rows at or above this risk are flagged') },
  });
  private readonly label = h('output');
  private dragging = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** What was asked for, until it holds. */
  private asked: number | undefined;

  constructor(onThreshold: (threshold: number) => void) {
    this.element = h(
      'section',
      { class: 'histogram', attributes: { 'aria-label': l10n.t('Rows by risk') } },
      h('div', { class: 'plot' }, this.plot, this.mark, this.handle),
      h('div', { class: 'axis note', attributes: { 'aria-hidden': 'true' } }, ...['0', l10n.t('risk'), '1'].map(text => h('span', {}, text))),
      this.label,
    );
    this.handle.addEventListener('input', () => {
      this.dragging = true;
      this.place(Number(this.handle.value));
      setText(this.label, l10n.t`Threshold ${hundredths(Number(this.handle.value))}`);
    });
    this.handle.addEventListener('change', () => {
      clearTimeout(this.timer);
      const threshold = Number(this.handle.value);
      // Keys move the handle step by step: only where it comes to rest is written down.
      this.timer = setTimeout(() => {
        this.asked = threshold;
        this.dragging = false;
        onThreshold(threshold);
      }, PAUSE_MS);
    });
  }

  update({ histogram, threshold, counts }: TableSummary): void {
    while (this.bars.length < histogram.length) this.bars.push(this.plot.appendChild(h('div')));
    const most = Math.max(1, ...histogram);
    histogram.forEach((rows, bin) => {
      const bar = this.bars[bin]!;
      // By the square root: a few risky rows among thousands are to be seen.
      bar.style.height = `${100 * Math.sqrt(rows / most)}%`;
      const [from, to] = [hundredths(bin / histogram.length), hundredths((bin + 1) / histogram.length)];
      bar.title = isOne(rows) ? l10n.t`${integer(rows)} row of risk ${from} to ${to}` : l10n.t`${integer(rows)} rows of risk ${from} to ${to}`;
      bar.classList.toggle('risky', (bin + 0.5) / histogram.length >= threshold);
    });
    const bins = histogram.flatMap((rows, bin) => (rows > 0 ? [`${hundredths(bin / histogram.length)}: ${rows}`] : []));
    this.plot.setAttribute('aria-label', bins.length ? l10n.t`Rows by risk: ${bins.join(', ')}` : l10n.t('Rows by risk: none judged yet'));
    if (this.asked === threshold) this.asked = undefined;
    if (this.dragging || this.asked !== undefined) return;
    this.handle.value = String(threshold);
    this.place(threshold);
    const { flagged } = counts;
    setText(this.label, isOne(flagged) ? l10n.t`${integer(flagged)} row at or above ${hundredths(threshold)}` : l10n.t`${integer(flagged)} rows at or above ${hundredths(threshold)}`);
  }

  private place(threshold: number): void {
    this.mark.style.left = `calc(8px + ${threshold} * (100% - 16px))`; // where the handle's middle is
  }
}
