/** How the charts are drawn, and which part of them is. */
import * as l10n from '@vscode/l10n';
import { h, icon, setText } from '../common/dom';
import { hundredths } from '../../src/common/format';
import { button, checkbox } from '../common/toolkit';
import type { Display } from './chartSpec';

export interface Drawing extends Display {
  smoothing: number;
}

export const plainDrawing: Drawing = { smoothing: 0, logarithmic: false, clipped: false };

export interface ToolbarOptions {
  drawing: Drawing;
  onChange: (drawing: Drawing) => void;
  onReset: () => void;
  /** More about the charts, before the rest. */
  before?: HTMLElement[];
  /** What can be done with a part that is shown. */
  ofRange?: HTMLElement[];
}

export class Toolbar {
  readonly element: HTMLElement;
  private drawing: Drawing;
  private readonly text = h('span', { class: 'number' });
  private readonly spoken = h('span', { class: 'unseen', attributes: { role: 'status' } });
  private readonly smoothing = h('output', { class: 'number' });
  private readonly range: HTMLElement;
  private readonly hint = h('span', { class: 'note' }, l10n.t('Drag over a chart to zoom'));

  constructor({ drawing, onChange, onReset, before = [], ofRange = [] }: ToolbarOptions) {
    this.drawing = drawing;
    const change = (part: Partial<Drawing>) => {
      this.drawing = { ...this.drawing, ...part };
      setText(this.smoothing, hundredths(this.drawing.smoothing));
      onChange(this.drawing);
    };
    const slider = h('input', { attributes: { type: 'range', min: '0', max: '0.99', step: '0.01', 'aria-label': l10n.t('Smoothing: what the steps before weigh') } });
    slider.value = String(drawing.smoothing);
    slider.addEventListener('input', () => change({ smoothing: Number(slider.value) }));
    setText(this.smoothing, hundredths(drawing.smoothing));
    const explain = l10n.t('Exponential moving average: what the steps before weigh. The values themselves are drawn behind.');
    this.range = h('div', { class: 'toolbar-range', hidden: true }, this.text, ...ofRange, button({ label: l10n.t('Reset Zoom'), icon: icon('restart'), onClick: onReset }));
    const titled = (element: HTMLElement, title: string) => {
      element.title = title;
      return element;
    };
    this.element = h(
      'div',
      { class: 'toolbar', attributes: { role: 'toolbar', 'aria-label': l10n.t('Charts') } },
      ...before,
      h('label', { class: 'smoothing', title: explain }, l10n.t('Smoothing'), slider, this.smoothing),
      titled(checkbox(l10n.t('Log scale'), drawing.logarithmic, logarithmic => change({ logarithmic })), l10n.t('Losses, KL, gradient norm and learning rate on a logarithmic scale')),
      titled(checkbox(l10n.t('Clip outliers'), drawing.clipped, clipped => change({ clipped })), l10n.t('Axes reach from the 1st to the 99th percentile of what is drawn')),
      h('div', { class: 'toolbar-end' }, this.hint, this.range, this.spoken),
    );
    this.hint.title = l10n.t('Shift and drag, or Shift and the wheel, moves along; Control and the wheel zooms. With the keyboard, in a chart: + and − zoom, Shift and arrows move along, 0 or Escape shows everything.');
  }

  /** What is shown, in words; null for everything. News of the run, which nobody asked for, are not announced. */
  showRange(text: string | null, isNews = false): void {
    this.range.hidden = text === null;
    this.hint.hidden = text !== null;
    setText(this.text, text ?? '');
    if (!isNews) setText(this.spoken, text ?? '');
  }
}
