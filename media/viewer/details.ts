/** One row in full, with what can be done about it. */
import { h, icon } from '../common/dom';
import { hundredths, integer } from '../common/format';
import { button } from '../common/toolkit';
import type { FileAbilities, RowAction, ShownRow } from '../../src/views/viewerProtocol';

const ROLES: Record<ShownRow['turns'][number]['role'], string> = { system: 'System', user: 'User', assistant: 'Assistant', tool: 'Tool', text: 'Text' };

export interface DetailsView {
  row: ShownRow;
  file: FileAbilities;
  /** What judged the file's rows, where it was not the bundled classifier. */
  judge: string | undefined;
}

export function rowDetails({ row, file, judge }: DetailsView, act: (action: RowAction) => void): HTMLElement {
  const name = `${file.lines ? 'Line' : 'Row'} ${integer(row.line)}`;
  const actions = [
    file.move === 'quarantine' && row.state !== 'malformed' && button({ label: 'Move to quarantine', onClick: () => act('quarantineRow') }),
    file.move === 'restore' && button({ label: 'Restore', onClick: () => act('restoreRow') }),
    row.state === 'flagged' && button({ label: 'Mark as reviewed', onClick: () => act('markReviewed') }),
    row.state === 'reviewed' && button({ label: 'Flag again', onClick: () => act('unmarkReviewed') }),
    file.text && button({ label: 'Show in text editor', onClick: () => act('showText') }),
  ];
  return h(
    'article',
    { class: 'details', attributes: { tabindex: '-1', 'aria-label': name } },
    h('h2', {}, name),
    h('p', { class: `verdict ${row.state}` }, ...verdict(row, judge)),
    ...row.notes.map(note => h('p', { class: 'note' }, note)),
    h('div', { class: 'actions' }, ...actions),
    ...row.turns.map(({ role, content, worst }) =>
      h('section', { class: worst ? 'turn worst' : 'turn' }, h('h3', {}, ROLES[role], worst && h('span', { class: 'note' }, ' the risk is about this')), h('pre', {}, content)),
    ),
    row.raw !== undefined && h('section', { class: 'turn' }, h('h3', {}, 'In the file'), h('pre', {}, row.raw)),
  );
}

function verdict(row: ShownRow, judge = 'the classifier'): (Node | string)[] {
  const risk = row.risk === undefined ? '' : `Risk ${hundredths(row.risk)}`;
  switch (row.state) {
    case 'flagged':
      return [icon('warning'), `${risk}, as ${judge} sees it: triage, not a verdict.`];
    case 'reviewed':
      return [icon('check'), `${risk}, but reviewed: it trains as an ordinary row.`];
    case 'refusal':
      return [icon('shield'), 'The answer is a refusal: safety data, kept with risk 0.'];
    case 'malformed':
      return [icon('error'), row.problem?.reason ?? 'This is no row that could be trained on.'];
    case 'failed':
      return [icon('warning'), 'The classifier failed on this row. It counts as risky until it is judged.'];
    case 'ordinary':
      return [risk || 'Not judged yet.'];
  }
}
