/** One row in full, with what can be done about it. */
import * as l10n from '@vscode/l10n';
import { h, icon } from '../common/dom';
import { hundredths, integer } from '../../src/common/format';
import { button } from '../common/toolkit';
import type { FileAbilities, RowAction, ShownRow } from '../../src/views/viewerProtocol';

const ROLES: Record<ShownRow['turns'][number]['role'], string> = { system: l10n.t('System'), user: l10n.t('User'), assistant: l10n.t('Assistant'), tool: l10n.t('Tool'), text: l10n.t('Text') };

export interface DetailsView {
  row: ShownRow;
  file: FileAbilities;
  /** What judged the file's rows, where it was not the bundled classifier. */
  judge: string | undefined;
}

export function rowDetails({ row, file, judge }: DetailsView, act: (action: RowAction) => void): HTMLElement {
  const name = file.lines ? l10n.t`Line ${integer(row.line)}` : l10n.t`Row ${integer(row.line)}`;
  const actions = [
    file.move === 'quarantine' && row.state !== 'malformed' && button({ label: l10n.t('Move to quarantine'), onClick: () => act('quarantineRow') }),
    file.move === 'restore' && button({ label: l10n.t('Restore'), onClick: () => act('restoreRow') }),
    row.state === 'flagged' && button({ label: l10n.t('Mark as reviewed'), onClick: () => act('markReviewed') }),
    row.state === 'reviewed' && button({ label: l10n.t('Flag again'), onClick: () => act('unmarkReviewed') }),
    file.text && button({ label: l10n.t('Show in text editor'), onClick: () => act('showText') }),
  ];
  return h(
    'article',
    { class: 'details', attributes: { tabindex: '-1', 'aria-label': name } },
    h('h2', {}, name),
    h('p', { class: `verdict ${row.state}` }, ...verdict(row, judge)),
    ...row.notes.map(note => h('p', { class: 'note' }, note)),
    h('div', { class: 'actions' }, ...actions),
    ...row.turns.map(({ role, content, worst }) =>
      h('section', { class: worst ? 'turn worst' : 'turn' }, h('h3', {}, ROLES[role], worst && h('span', { class: 'note' }, ` ${l10n.t('the risk is about this')}`)), h('pre', {}, content)),
    ),
    row.raw !== undefined && h('section', { class: 'turn' }, h('h3', {}, l10n.t('In the file')), h('pre', {}, row.raw)),
  );
}

function verdict(row: ShownRow, judge = l10n.t('the classifier')): (Node | string)[] {
  const risk = hundredths(row.risk);
  switch (row.state) {
    case 'flagged':
      return [icon('warning'), l10n.t`Risk ${risk}, as ${judge} sees it: triage, not a verdict.`];
    case 'reviewed':
      return [icon('check'), l10n.t`Risk ${risk}, but reviewed: it trains as an ordinary row.`];
    case 'refusal':
      return [icon('shield'), l10n.t('The answer is a refusal: safety data, kept with risk 0.')];
    case 'malformed':
      return [icon('error'), row.problem?.reason ?? l10n.t('This is no row that could be trained on.')];
    case 'failed':
      return [icon('warning'), l10n.t('The classifier failed on this row. It counts as risky until it is judged.')];
    case 'ordinary':
      return [row.risk === undefined ? l10n.t('Not judged yet.') : l10n.t`Risk ${risk}`];
  }
}
