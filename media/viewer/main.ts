/** The dataset viewer's page. It holds no truth: it asks for rows and draws what it is told. */
import '../common/pageLanguage';
import '../common/base.css';
import './viewer.css';
import * as l10n from '@vscode/l10n';
import type { FileAbilities, FromViewer, RowAction, ShownRow, TableFilter, TableOrder, TableSummary, TableView, ToViewer } from '../../src/views/viewerProtocol';
import { isOne } from '../../src/common/language';
import { h, icon, setText } from '../common/dom';
import { integer, percent } from '../../src/common/format';
import { Place } from '../common/place';
import { button } from '../common/toolkit';
import { rowDetails, type DetailsView } from './details';
import { Histogram } from './histogram';
import { RowList } from './list';

/** What is kept while the page is hidden, which ends it. */
interface Kept {
  view: TableView;
  position: number;
}

declare function acquireVsCodeApi(): {
  postMessage(message: FromViewer): void;
  getState(): Kept | undefined;
  setState(state: Kept): void;
};

const FILTERS: [TableFilter, string][] = [
  ['all', l10n.t('All rows')],
  ['flagged', l10n.t('Flagged')],
  ['reviewed', l10n.t('Reviewed')],
  ['refusals', l10n.t('Refusals')],
  ['malformed', l10n.t('Malformed')],
  ['unjudged', l10n.t('Not judged')],
];
const ALWAYS_SHOWN: TableFilter[] = ['all', 'flagged'];
const NOTHING_IN: Record<TableFilter, string> = {
  all: l10n.t('This file has no rows.'),
  flagged: l10n.t('No row is at or above the threshold.'),
  reviewed: l10n.t('No row has been reviewed.'),
  refusals: l10n.t('No row is answered by a refusal.'),
  malformed: l10n.t('Every row can be read.'),
  unjudged: l10n.t('Every row has been judged.'),
};

const vscode = acquireVsCodeApi();
const send = (message: FromViewer): void => vscode.postMessage(message);

const kept = vscode.getState();
let view: TableView = kept?.view ?? { filter: 'all', order: 'file' };
let file: FileAbilities = { name: '', move: 'quarantine', text: false, lines: true };
let summary: TableSummary | undefined;
let stamp = '';
let whole: ShownRow | undefined;
let judgeName: string | undefined;

const filters = FILTERS.map(([filter, label]) => {
  const number = h('span', { class: 'number' });
  const element = h('button', { class: 'filter', attributes: { 'aria-pressed': 'false' }, onclick: () => change({ filter, order: filter === 'all' ? view.order : 'risk' }) }, `${label} `, number);
  return { filter, element, number };
});
const orders: Record<TableOrder, string> = { file: l10n.t('As in the file'), risk: l10n.t('Riskiest first') };
const order = h('select', { attributes: { 'aria-label': l10n.t('Order of the rows') } }, ...Object.entries(orders).map(([value, label]) => h('option', { attributes: { value } }, label)));
order.addEventListener('change', () => change({ ...view, order: order.value as TableOrder }));
const progress = h('p', { class: 'progress note', attributes: { role: 'status' } });
const problem = new Place<{ text: string; action?: 'tryAgain' | 'nameColumns' }>(({ text, action }) =>
  h(
    'p',
    { class: 'problem', attributes: { role: 'alert' } },
    icon('warning'),
    h('span', {}, text),
    action && button({ label: action === 'tryAgain' ? l10n.t('Try again') : l10n.t('Name its columns…'), onClick: () => send({ type: action }) }),
  ),
);
const otherJudge = new Place<{ judge: string }>(({ judge }) =>
  h('p', { class: 'problem' }, h('span', {}, l10n.t`Judged by ${judge}.`), button({ label: l10n.t('Use the bundled classifier'), onClick: () => send({ type: 'useClassifier' }) })),
);
const bulk = new Place<{ flagged: number }>(({ flagged }) => button({ label: flagged === 1 ? l10n.t('Move the flagged row to quarantine') : l10n.t`Move all ${integer(flagged)} to quarantine`, onClick: () => send({ type: 'quarantineFlagged' }) }));
const histogram = new Histogram(threshold => send({ type: 'threshold', threshold }));
const nothing = h('p', { class: 'nothing note', hidden: true });
const details = new Place<DetailsView>(shown => rowDetails(shown, act));

const list = new RowList({
  onNeed: (first, number) => send({ type: 'page', view, first, count: number }),
  onChoose: row => {
    keep();
    if (row) send({ type: 'row', record: row.record });
    else {
      whole = undefined;
      details.show(null);
    }
  },
  onOpen: () => details.element.querySelector<HTMLElement>('.details')?.focus(),
});
details.element.className = 'details-place';
details.element.addEventListener('keydown', event => {
  if (event.key === 'Escape') list.element.focus();
});

const heading = h('h1', { class: 'unseen' });
document.getElementById('viewer')?.append(
  h('header', {}, heading, h('div', { class: 'toolbar' }, h('div', { class: 'filters', attributes: { role: 'group', 'aria-label': l10n.t('Rows to show') } }, ...filters.map(({ element }) => element)), order, bulk.element), problem.element, otherJudge.element, progress, histogram.element),
  h('div', { class: 'body' }, h('div', { class: 'list-place' }, list.element, nothing), details.element),
);

function change(next: TableView): void {
  view = next;
  list.clear();
  keep();
  showView();
}

function keep(): void {
  vscode.setState({ view, position: list.position });
}

function act(action: RowAction): void {
  if (!whole) return;
  const { line, hash } = whole;
  send({ type: 'act', action, rows: [{ line, hash }] });
}

function showView(): void {
  order.value = view.order;
  for (const { filter, element, number } of filters) {
    element.setAttribute('aria-pressed', String(filter === view.filter));
    const rows = summary?.counts[filter] ?? 0;
    setText(number, integer(rows));
    element.hidden = !ALWAYS_SHOWN.includes(filter) && rows === 0 && filter !== view.filter;
  }
  const rows = summary?.counts[view.filter] ?? 0;
  nothing.hidden = !summary || summary.read < 1 || rows > 0;
  setText(nothing, NOTHING_IN[view.filter]);
}

function showSummary(next: TableSummary, unavailable: string | undefined, judge: string | undefined): void {
  summary = next;
  const { counts, read, broken, isDataset, failed } = next;
  const rows = counts.all - counts.malformed;
  const left = counts.unjudged - failed;
  if (read < 1) setText(progress, isOne(counts.all) ? l10n.t`Reading: ${percent(read)}, ${integer(counts.all)} row so far` : l10n.t`Reading: ${percent(read)}, ${integer(counts.all)} rows so far`);
  else if (left > 0 && !unavailable) {
    const judged = integer(rows - counts.unjudged);
    setText(progress, isOne(rows) ? l10n.t`Judging: ${judged} of ${integer(rows)} row. Those on the screen come first.` : l10n.t`Judging: ${judged} of ${integer(rows)} rows. Those on the screen come first.`);
  }
  else setText(progress, '');
  progress.hidden = progress.textContent === '';
  if (unavailable) problem.show({ text: l10n.t`Rows stay unscored. ${unavailable}`, action: 'tryAgain' });
  else if (broken) problem.show({ text: l10n.t`From line ${broken.place.line + 1} on the file cannot be read. ${broken.reason}` });
  else if (read === 1 && !isDataset && counts.all > 0) problem.show({ text: l10n.t('No row of this file is a conversation that could be trained on.'), action: 'nameColumns' });
  else problem.show(null);
  bulk.show(file.move === 'quarantine' && counts.flagged > 0 && read === 1 && left === 0 ? { flagged: counts.flagged } : null);
  otherJudge.show(judge === undefined ? null : { judge });
  if (whole) details.show({ row: whole, file, judge });
  judgeName = judge;
  histogram.update(next);
  showView();
  const now = JSON.stringify([counts, next.threshold, next.histogram, next.reading, read]);
  if (now !== stamp) list.refresh();
  stamp = now;
}

function receive(message: ToViewer): void {
  switch (message.type) {
    case 'file':
      file = message.file;
      document.title = file.name;
      setText(heading, file.name);
      return list.clear(kept?.position);
    case 'summary':
      return showSummary(message.summary, message.unavailable, message.otherJudge);
    case 'page':
      if (message.view.filter === view.filter && message.view.order === view.order) list.put(message.first, message.total, message.rows);
      return;
    case 'row':
      whole = message.row;
      return details.show({ row: message.row, file, judge: judgeName });
    case 'notes':
      list.refresh();
      if (whole) send({ type: 'row', record: whole.record });
      return;
    case 'found':
      if (message.position === undefined) return;
      view = { filter: 'all', order: 'file' };
      list.clear(message.position);
      keep();
      return showView();
    case 'failed':
      return problem.show({ text: message.reason });
    default: {
      const unknown: never = message;
      throw new Error(`unknown message ${JSON.stringify(unknown)}`);
    }
  }
}

window.addEventListener('message', (event: MessageEvent<ToViewer>) => receive(event.data));
showView();
send({ type: 'ready' });
