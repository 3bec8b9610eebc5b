/** The rows of a range of steps, those that added most to the loss first; each leads to its line in the editor. */
import * as l10n from '@vscode/l10n';
import type { RangeMessage, RangeRow } from '../../src/views/panelProtocol';
import { isOne } from '../../src/common/language';
import { h, icon } from '../common/dom';
import { decimal, hundredths, integer } from '../../src/common/format';
import { button, spinner } from '../common/toolkit';
import { riskBar } from '../monitor/rows';

const columns = [
  [l10n.t('Row'), ''],
  [l10n.t('Seen'), l10n.t('How many of the steps had the row in their batch')],
  [l10n.t('Risk'), l10n.t('Highest risk of the row')],
  ['NLL', l10n.t('Mean negative log-likelihood a token, over the steps')],
  ['Σ β·KL', l10n.t('What the pull towards the safe reference added to the loss, over the steps')],
  [l10n.t('Added to the loss'), l10n.t('The row’s part of the loss of each step, by its tokens: weighed likelihood and β·KL, added up over the steps')],
] as const;

export class RangeRows {
  readonly element = h('section', { class: 'rows range-rows', hidden: true, attributes: { 'aria-label': l10n.t('Rows of the steps shown') } });

  constructor(
    private readonly show: (row: RangeRow) => void,
    /** The focus was in the list: it has to go somewhere else. */
    private readonly leave: () => void,
  ) {}

  /** Until they have been read. */
  wait(from: number, to: number): void {
    this.element.replaceChildren(this.heading(l10n.t`Rows of steps ${integer(from)} to ${integer(to)}`), h('p', { class: 'note reading' }, spinner(), l10n.t('Reading …')));
    this.open();
  }

  update({ from, to, steps, stepsRead, files, threshold, rows, others }: RangeMessage): void {
    const all = rows.length + others;
    const about = [
      l10n.t('Those that added most to the loss first.'),
      others && l10n.t`The first ${integer(rows.length)} are listed, ${integer(others)} more are not.`,
      stepsRead < steps && l10n.t`${integer(stepsRead)} of the ${integer(steps)} steps were read, evenly among them.`,
    ];
    this.element.replaceChildren(
      this.heading(isOne(all) ? l10n.t`Steps ${integer(from)} to ${integer(to)}: ${integer(all)} row` : l10n.t`Steps ${integer(from)} to ${integer(to)}: ${integer(all)} rows`),
      h('p', { class: 'note' }, about.filter(Boolean).join(' ')),
      h('div', { class: 'list' }, this.table(files, threshold, rows)),
    );
    this.open();
  }

  private open(): void {
    this.element.hidden = false;
    this.element.scrollIntoView({ block: 'nearest' });
  }

  private heading(text: string): HTMLElement {
    return h('div', { class: 'section-head' }, h('h2', {}, text), button({ label: l10n.t('Close'), icon: icon('close'), iconOnly: true, onClick: () => this.hide() }));
  }

  private hide(): void {
    const hadFocus = this.element.contains(document.activeElement);
    this.element.hidden = true;
    if (hadFocus) this.leave();
  }

  private table(files: readonly string[], threshold: number, rows: readonly RangeRow[]): HTMLElement {
    const most = Math.max(...rows.map(({ contribution }) => contribution), 0);
    const heads = columns.map(([text, title]) => h('th', { title, attributes: { scope: 'col' } }, text));
    return h('table', { class: 'numbers' }, h('thead', {}, h('tr', {}, ...heads)), h('tbody', {}, ...rows.map(row => this.row(files, threshold, row, most))));
  }

  private row(files: readonly string[], threshold: number, row: RangeRow, most: number): HTMLElement {
    const file = files[row.file] ?? l10n.t('dataset');
    const share = h('div', {});
    share.style.width = `${most > 0 ? 100 * Math.max(0, row.contribution / most) : 0}%`;
    return h(
      'tr',
      { class: row.riskMax === null || row.riskMax >= threshold ? 'risky' : '', onclick: () => this.show(row) },
      h('td', { class: 'where' }, h('button', { class: 'link', title: l10n.t`Show ${file}:${row.line}` }, h('span', { class: 'file' }, file), `:${row.line}`)),
      h('td', {}, `${integer(row.times)}×`),
      h('td', {}, riskBar(row.riskMax)),
      h('td', {}, hundredths(row.nllMean)),
      h('td', {}, decimal(row.pull)),
      h('td', {}, h('div', { class: 'risk added' }, h('div', { class: 'risk-bar', attributes: { 'aria-hidden': 'true' } }, share), decimal(row.contribution))),
    );
  }
}
