/** The runs that are active beside the one that is shown: where each is, and how its loss goes. One of them is a click away. */
import * as l10n from '@vscode/l10n';
import type { OtherRun } from '../../src/views/monitorProtocol';
import { capitalised, statusWord } from '../../src/trainerHost/words';
import { h, icon, setText } from '../common/dom';
import { decimal, hundredths } from '../../src/common/format';
import { statusLook } from './header';

const [trendWidth, trendHeight] = [60, 18];
const svgNamespace = 'http://www.w3.org/2000/svg';

export class OtherRuns {
  readonly element: HTMLElement;
  private readonly list = h('ul');
  private readonly entries = new Map<string, Entry>();

  constructor(private readonly select: (id: string) => void) {
    this.element = h('nav', { class: 'others', hidden: true, attributes: { 'aria-label': l10n.t('Other active runs') } }, h('h2', {}, l10n.t('Also active')), this.list);
  }

  /** Each keeps its place in the page while it is there, and the focus with it. */
  update(runs: readonly OtherRun[]): void {
    const ids = new Set(runs.map(({ id }) => id));
    for (const [id, entry] of this.entries) {
      if (ids.has(id)) continue;
      entry.element.remove();
      this.entries.delete(id);
    }
    runs.forEach((run, index) => {
      const entry = this.entries.get(run.id) ?? new Entry(() => this.select(run.id));
      this.entries.set(run.id, entry);
      entry.update(run);
      const there = this.list.children[index] ?? null;
      if (there !== entry.element) this.list.insertBefore(entry.element, there);
    });
    this.element.hidden = runs.length === 0;
  }
}

class Entry {
  readonly element: HTMLElement;
  private readonly sign = h('span', { class: 'sign' });
  private readonly name = h('span', { class: 'name' });
  private readonly progress = h('span', { class: 'note' });
  private readonly numbers = h('span', { class: 'number note' });
  private readonly fill = h('div');
  private readonly bar = h('div', { class: 'bar', attributes: { 'aria-hidden': 'true' } }, this.fill); // said in words beside it
  private readonly line = document.createElementNS(svgNamespace, 'path');
  private status = '';

  constructor(select: () => void) {
    const trend = document.createElementNS(svgNamespace, 'svg');
    trend.setAttribute('class', 'trend');
    trend.setAttribute('viewBox', `0 0 ${trendWidth} ${trendHeight}`);
    trend.setAttribute('preserveAspectRatio', 'none');
    trend.setAttribute('aria-hidden', 'true');
    trend.append(this.line);
    const button = h('button', { class: 'other', onclick: select }, this.sign, this.name, trend, this.progress, this.numbers, this.bar);
    this.element = h('li', {}, button);
  }

  update({ name, status, progress, share, loss, riskMax, trend }: OtherRun): void {
    if (status !== this.status) {
      this.status = status;
      const look = statusLook[status];
      this.sign.className = `sign tone-${look.tone}`;
      this.sign.title = capitalised(statusWord(status));
      this.sign.replaceChildren(icon(look.icon));
    }
    setText(this.name, name);
    this.name.title = name;
    setText(this.progress, progress);
    setText(this.numbers, [loss === null ? '' : l10n.t`Loss ${decimal(loss)}`, riskMax === null ? '' : l10n.t`Risk ${hundredths(riskMax)}`].filter(Boolean).join(' · '));
    this.bar.classList.toggle('paused', status === 'paused');
    this.fill.style.width = `${100 * (share ?? 0)}%`;
    this.line.setAttribute('d', pathOf(trend));
  }
}

/** A line over the whole box, with gaps where a value is missing. */
function pathOf(values: readonly (number | null)[]): string {
  const known = values.filter(value => value !== null);
  const [lowest, highest] = [Math.min(...known), Math.max(...known)];
  const x = (index: number): number => (index * trendWidth) / Math.max(1, values.length - 1);
  const y = (value: number): number => 1 + ((highest - value) / (highest - lowest || 1)) * (trendHeight - 2);
  let path = '';
  values.forEach((value, index) => {
    if (value === null) return;
    const begins = index === 0 || values[index - 1] === null;
    path += `${begins ? 'M' : 'L'}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
  });
  return path;
}
