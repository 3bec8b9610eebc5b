/** What changes a few times in a run: the result, the dataset, warnings, the reason of a failure. */
import * as l10n from '@vscode/l10n';
import { isOne } from '../../src/common/language';
import { verdict } from '../../src/protocol/verdict';
import type { DatasetView, DetailsView, MonitorCommand, RunView } from '../../src/views/monitorProtocol';
import { button } from '../common/toolkit';
import { h, icon } from '../common/dom';
import { hundredths, integer, percent, signed, tenths } from '../../src/common/format';

type Row = { file: number; line: number; hash: string };
type Metrics = NonNullable<DetailsView['before']>;

const section = (title: string, ...children: (Node | null)[]): HTMLElement => h('section', {}, h('h2', {}, title), ...children);

/** How a run stands, as far as the reason of its end depends on it. */
export type Ending = Pick<RunView, 'status' | 'message' | 'resumable'> & Pick<DetailsView, 'logTail'>;

/** Why a run failed and what to do about it. */
export function failureCard(run: Ending, send: (command: MonitorCommand) => void): HTMLElement | null {
  if (run.status !== 'failed' && run.status !== 'lost') return null;
  const log = run.logTail.length
    ? h('details', {}, h('summary', {}, l10n.t('Last lines of the log')), h('pre', { attributes: { tabindex: '0' } }, run.logTail.join('\n')))
    : null;
  const buttons = h(
    'div',
    { class: 'actions' },
    run.resumable &&
      button({ label: l10n.t('Resume'), icon: icon('restart'), primary: true, onClick: () => send('safeFinetuning.resumeFromCheckpoint') }),
    button({ label: l10n.t('Open Log'), icon: icon('log'), onClick: () => send('safeFinetuning.showTrainerLog') }),
  );
  return h(
    'section',
    { class: 'card bad', attributes: { role: 'alert' } },
    h('h2', {}, icon('error'), run.status === 'lost' ? l10n.t('The run is silent') : l10n.t('The run failed')),
    h('p', { class: 'message' }, run.message || l10n.t('The trainer ended without a message.')),
    log,
    buttons,
  );
}

/** A run that ended otherwise than by completing, in a sentence. */
export function endingNote(run: Ending): HTMLElement | null {
  return (run.status === 'stopped' || run.status === 'cancelled') && run.message ? h('p', { class: 'note' }, run.message) : null;
}

interface Measure {
  label: string;
  title: string;
  /** A share in percent, or a loss. */
  get: (metrics: Metrics) => { value: number | null; low: number | null; high: number | null };
  share: boolean;
}

export const measures: Measure[] = [
  { label: l10n.t('Attack success'), title: l10n.t('Harmful prompts that were answered instead of refused'), get: m => m.attackSuccess, share: true },
  { label: l10n.t('Over-refusal'), title: l10n.t('Harmless prompts that were refused'), get: m => m.overRefusal, share: true },
  { label: l10n.t('Degenerate'), title: l10n.t('Answers that are not coherent text'), get: m => m.degenerate, share: true },
  { label: l10n.t('Held-out loss'), title: l10n.t('Mean loss per token on rows that were not trained on'), get: m => m.heldOutLoss, share: false },
];

/** The model before and after, on the same prompts. */
export function resultTable({ before, after }: Pick<DetailsView, 'before' | 'after'>): HTMLElement | null {
  if (!before && !after) return null;
  const heads = ['', l10n.t('Before'), l10n.t('After'), l10n.t('Change')].map(text => (text ? h('th', { attributes: { scope: 'col' } }, text) : h('td', {})));
  const rows = measures.map(measure =>
    h(
      'tr',
      {},
      h('th', { title: measure.title, attributes: { scope: 'row' } }, measure.label),
      estimate(measure, before),
      estimate(measure, after),
      change(measure, before, after),
    ),
  );
  return section(
    l10n.t('Before and after'),
    h('table', { class: 'numbers result' }, h('thead', {}, h('tr', {}, ...heads)), h('tbody', {}, ...rows)),
    h('p', { class: 'note' }, l10n.t('Lower is better. In small: 95 % interval.')),
  );
}

export function estimate({ get, share }: Measure, metrics: Metrics | null): HTMLElement {
  if (!metrics) return h('td', {}, '–');
  const { value, low, high } = get(metrics);
  const show = share ? percent : hundredths;
  const interval = value === null ? null : h('div', { class: 'interval' }, `${show(low).replace(' %', '')}–${show(high)}`);
  return h('td', {}, show(value), interval);
}

/** Coloured only where the intervals do not overlap: the rest may be chance. */
function change({ get, share }: Measure, before: Metrics | null, after: Metrics | null): HTMLElement {
  if (!before || !after) return h('td', {}, '–');
  const [from, to] = [get(before), get(after)];
  if (from.value === null || to.value === null) return h('td', {}, '–');
  const difference = (to.value - from.value) * (share ? 100 : 1);
  const tone = verdict(from, to);
  const title = tone ? '' : l10n.t('Within the uncertainty of the measurement');
  return h('td', { class: tone ?? '', title }, signed(difference, share ? 0 : 2), share && h('span', { class: 'unit' }, ` ${l10n.t('pts')}`));
}

/** What the rows turned out to be. */
export function datasetSummary(dataset: DatasetView, show: (row: Row) => void): HTMLElement {
  const plain = [
    [l10n.t('Rows'), dataset.rows, '', true],
    [l10n.t('Trained on'), dataset.trained, '', true],
    [l10n.t('Held out'), dataset.heldOut, l10n.t('For the held-out loss before and after'), false],
    [l10n.t('Flagged'), dataset.flagged, l10n.t('Risk at or above the threshold'), true],
    [l10n.t('Refusals'), dataset.refusals, l10n.t('Rows whose answer is a refusal: safety data, risk 0'), false],
    [l10n.t('Reviewed'), dataset.reviewed, l10n.t('Rows that a person has reviewed: they train as ordinary ones, risk 0'), false],
    [l10n.t('Left out'), dataset.filtered, l10n.t('By the method “filter”'), false],
    [l10n.t('Unscored'), dataset.unscored, l10n.t('The judge failed on them; they count as risk 1'), false],
  ] as const;
  const cells = plain
    .filter(([, n, , always]) => n !== null && (n > 0 || always))
    .map(([label, n, title]) => h('div', { title }, h('dt', {}, label), h('dd', { class: 'number' }, integer(n))));
  const lists = [
    [(n: number) => (isOne(n) ? l10n.t`${integer(n)} row could not be read` : l10n.t`${integer(n)} rows could not be read`), dataset.invalid],
    [(n: number) => (isOne(n) ? l10n.t`${integer(n)} row cut at the end` : l10n.t`${integer(n)} rows cut at the end`), dataset.truncated],
    [(n: number) => (isOne(n) ? l10n.t`${integer(n)} row without a trained token` : l10n.t`${integer(n)} rows without a trained token`), dataset.unsupervised],
  ] as const;
  return section(
    l10n.t('Dataset'),
    h('dl', { class: 'values' }, ...cells),
    ...lists.map(([titleOf, rows]) => problemList(titleOf, rows, dataset.files, show)),
  );
}

function problemList(titleOf: (rows: number) => string, rows: DatasetView['invalid'], files: readonly string[], show: (row: Row) => void): HTMLElement | null {
  if (rows.length === 0) return null;
  const items = rows.map(row => {
    const name = `${files[row.file] ?? l10n.t('dataset')}:${row.line}`;
    return h('li', {}, h('button', { class: 'link', onclick: () => show(row) }, name), ' ', h('span', { class: 'note' }, row.reason));
  });
  return h('details', { class: 'problems' }, h('summary', {}, titleOf(rows.length)), h('ul', {}, ...items));
}

/** What safety token regularisation holds, by the numbers that the tokens were chosen by. */
export function safetyTokenTable(tokens: DetailsView['safetyTokens'], edit: () => void): HTMLElement | null {
  if (tokens.length === 0) return null;
  const heads = [
    [l10n.t('Token'), ''],
    [l10n.t('In refusals'), l10n.t('How likely the reference is to say it in the opening of an answer to a harmful prompt')],
    [l10n.t('In other answers'), l10n.t('How likely the reference is to say it in the opening of an ordinary row’s answer')],
  ].map(([text, title]) => h('th', { title, attributes: { scope: 'col' } }, text));
  const rows = tokens.map(({ text, refusing, ordinary }) =>
    h('tr', {}, h('th', { attributes: { scope: 'row' } }, h('code', {}, JSON.stringify(text))), h('td', {}, percentOf(refusing)), h('td', {}, percentOf(ordinary))),
  );
  const title = l10n.t('Copies the list into the run’s configuration (safetyTokens.tokens), for the next run');
  return section(
    l10n.t('Safety tokens'),
    h('table', { class: 'numbers' }, h('thead', {}, h('tr', {}, ...heads)), h('tbody', {}, ...rows)),
    h('div', { class: 'actions', title }, button({ label: l10n.t('Edit in Configuration'), icon: icon('copy'), onClick: edit })),
  );
}

/** The chosen ones are rare in ordinary answers: a tenth of a percent counts. */
const percentOf = (share: number): string => `${tenths(100 * share)}\u00a0%`;

/** What was done while the run trained, newest first. */
const happened = { budget: 'shield', settings: 'tools', measurement: 'gauge', note: 'note' } as const;

export function interventionList(interventions: DetailsView['interventions']): HTMLElement | null {
  if (interventions.length === 0) return null;
  const items = [...interventions]
    .reverse()
    .map(({ step, kind, text }) => h('li', {}, icon(happened[kind]), h('span', {}, h('b', {}, l10n.t`After step ${step}`), ' · ', text)));
  return section(l10n.t('Changes and notes'), h('ul', { class: 'warnings' }, ...items));
}

export function warningList(warnings: DetailsView['warnings']): HTMLElement | null {
  if (warnings.length === 0) return null;
  const items = warnings.map(({ message }) => h('li', {}, icon('warning'), h('span', {}, message)));
  return section(l10n.t('Warnings'), h('ul', { class: 'warnings' }, ...items));
}
