/** The last rows at or above the threshold; each leads to its line in the editor. */
import * as l10n from '@vscode/l10n';
import { hundredths, integer } from '../../src/common/format';
import type { RiskyRow, RiskyRowsMessage } from '../../src/views/monitorProtocol';
import { h } from '../common/dom';
import { riskBar, rowLink } from './rows';

const title = l10n.t('Last risky rows');

/** It stands still while somebody is about to choose a row, and never speaks of itself. */
export class LastRiskyRows {
  readonly element = h('section', { class: 'rows', hidden: true, attributes: { 'aria-label': title } });
  private waiting: RiskyRowsMessage | undefined;

  constructor(private readonly show: (row: RiskyRow) => void) {
    this.element.addEventListener('mouseleave', () => this.catchUp());
    this.element.addEventListener('focusout', ({ relatedTarget }) => {
      if (!this.element.contains(relatedTarget as Node | null)) this.catchUp();
    });
  }

  update(view: RiskyRowsMessage): void {
    this.waiting = view;
    if (!this.element.matches(':hover, :focus-within')) this.catchUp();
  }

  /** Another run is shown. */
  clear(): void {
    this.waiting = undefined;
    this.element.hidden = true;
  }

  private catchUp(): void {
    const view = this.waiting;
    this.waiting = undefined;
    if (!view) return;
    const { rows, files, threshold } = view;
    this.element.hidden = rows === null;
    if (!rows) return;
    const body = rows.length ? this.table(files, rows) : h('p', { class: 'note' }, l10n.t`None so far: no row of risk ${hundredths(threshold)} or more has been trained on.`);
    this.element.replaceChildren(h('h2', {}, title), body);
  }

  private table(files: readonly string[], rows: readonly RiskyRow[]): HTMLElement {
    const heads = [
      [l10n.t('Row'), ''],
      [l10n.t('Risk'), l10n.t('Risk of the row')],
      [l10n.t('Step'), l10n.t('The step that trained on it')],
    ].map(([text, hint]) => h('th', { title: hint, attributes: { scope: 'col' } }, text));
    const lines = rows.map(row =>
      h(
        'tr',
        { class: 'risky', onclick: () => this.show(row) },
        h('td', { class: 'where' }, rowLink(files, row)),
        h('td', {}, riskBar(row.risk)),
        h('td', {}, integer(row.step)),
      ),
    );
    return h('table', { class: 'numbers' }, h('thead', {}, h('tr', {}, ...heads)), h('tbody', {}, ...lines));
  }
}
