/** The rows of the selected step, riskiest first; each leads to its line in the editor. */
import * as l10n from '@vscode/l10n';
import { isOne } from '../../src/common/language';
import type { BatchRow, ToMonitor } from '../../src/views/monitorProtocol';
import { button } from '../common/toolkit';
import { h, icon } from '../common/dom';
import { hundredths, integer } from '../../src/common/format';

type BatchView = Extract<ToMonitor, { type: 'rows' }>;

export class BatchRows {
  readonly element = h('section', { class: 'rows', hidden: true, attributes: { 'aria-label': l10n.t('Rows of the selected step') } });

  constructor(
    private readonly show: (row: BatchRow) => void,
    /** The focus was in the rows or not: it has to go somewhere else. */
    private readonly close: (hadFocus: boolean) => void,
  ) {}

  update({ step, files, threshold, rows }: BatchView): void {
    const dismiss = button({ label: l10n.t('Close'), icon: icon('close'), iconOnly: true, onClick: () => this.hide() });
    const heading = h('div', { class: 'section-head' }, h('h2', {}, headingText(step, rows?.length ?? 0)), dismiss);
    const body = rows?.length ? this.table(files, threshold, rows) : h('p', { class: 'note' }, whyNone(rows));
    this.element.replaceChildren(heading, body);
    this.element.hidden = false;
    this.element.scrollIntoView({ block: 'nearest' });
  }

  hide(): void {
    if (this.element.hidden) return;
    const hadFocus = this.element.contains(document.activeElement);
    this.element.hidden = true;
    this.close(hadFocus);
  }

  private table(files: readonly string[], threshold: number, rows: readonly BatchRow[]): HTMLElement {
    const columns = [
      [l10n.t('Row'), ''],
      [l10n.t('Risk'), l10n.t('Risk of the row')],
      ['β', l10n.t('Strength of the pull towards the safe reference')],
      ['NLL', l10n.t('Mean negative log-likelihood of the row’s trained tokens')],
      ['KL', l10n.t('Mean KL(reference ‖ model); only where β > 0')],
    ] as const;
    const head = columns.map(([text, title], index) =>
      h('th', { title, class: index > 2 ? 'wide-only' : '', attributes: { scope: 'col' } }, text),
    );
    return h('table', { class: 'numbers' }, h('thead', {}, h('tr', {}, ...head)), h('tbody', {}, ...rows.map(row => this.row(files, threshold, row))));
  }

  private row(files: readonly string[], threshold: number, row: BatchRow): HTMLElement {
    return h(
      'tr',
      { class: row.risk === null || row.risk >= threshold ? 'risky' : '', onclick: () => this.show(row) },
      h('td', { class: 'where' }, rowLink(files, row)),
      h('td', {}, riskBar(row.risk)),
      h('td', {}, hundredths(row.beta)),
      h('td', { class: 'wide-only' }, hundredths(row.nll)),
      h('td', { class: 'wide-only' }, hundredths(row.kl)),
    );
  }
}

const whyNone = (rows: BatchView['rows']): string =>
  rows ? l10n.t('A training script does not say which rows a step has trained on.') : l10n.t('This step is no longer in the run: a later attempt began before it.');

/** What is clicked is the whole line of its table. */
export function rowLink(files: readonly string[], { file, line }: Pick<BatchRow, 'file' | 'line'>): HTMLElement {
  const name = files[file] ?? l10n.t('dataset');
  return h('button', { class: 'link', title: l10n.t`Show ${name}:${line}` }, h('span', { class: 'file' }, name), `:${line}`);
}

export function riskBar(risk: number | null): HTMLElement {
  const fill = h('div', {});
  fill.style.width = `${100 * (risk ?? 1)}%`;
  return h('div', { class: 'risk' }, h('div', { class: 'risk-bar', attributes: { 'aria-hidden': 'true' } }, fill), risk === null ? l10n.t('unscored') : hundredths(risk));
}

function headingText(step: number, rows: number): string {
  if (rows === 0) return l10n.t`Step ${step}`;
  return isOne(rows) ? l10n.t`Step ${step}: ${integer(rows)} row` : l10n.t`Step ${step}: ${integer(rows)} rows`;
}

/** The rows that are shown, to be said aloud. */
export function spokenRows({ step, rows }: BatchView): string {
  const shown = rows?.length ?? 0;
  return isOne(shown) ? l10n.t`Step ${step}: ${integer(shown)} row, listed below the chart` : l10n.t`Step ${step}: ${integer(shown)} rows, listed below the chart`;
}
