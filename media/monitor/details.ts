/** What changes a few times in a run: the result, the dataset, warnings, the reason of a failure. */
import type { DatasetView, DetailsView, MonitorCommand, RunView } from '../../src/views/monitorProtocol';
import { button } from '../common/toolkit';
import { h, icon } from '../common/dom';
import { count, integer, percent, signed } from '../common/format';

type Row = { file: number; line: number; hash: string };
type Metrics = NonNullable<DetailsView['before']>;

const section = (title: string, ...children: (Node | null)[]): HTMLElement => h('section', {}, h('h2', {}, title), ...children);

/** How a run stands, as far as the reason of its end depends on it. */
export type Ending = Pick<RunView, 'status' | 'message' | 'resumable'> & Pick<DetailsView, 'logTail'>;

/** Why a run failed and what to do about it. */
export function failureCard(run: Ending, send: (command: MonitorCommand) => void): HTMLElement | null {
  if (run.status !== 'failed' && run.status !== 'lost') return null;
  const log = run.logTail.length
    ? h('details', {}, h('summary', {}, 'Last lines of the log'), h('pre', { attributes: { tabindex: '0' } }, run.logTail.join('\n')))
    : null;
  const buttons = h(
    'div',
    { class: 'actions' },
    run.resumable &&
      button({ label: 'Resume', icon: icon('restart'), primary: true, onClick: () => send('safeFinetuning.resumeFromCheckpoint') }),
    button({ label: 'Open Log', icon: icon('log'), onClick: () => send('safeFinetuning.showTrainerLog') }),
  );
  return h(
    'section',
    { class: 'card bad', attributes: { role: 'alert' } },
    h('h2', {}, icon('error'), run.status === 'lost' ? 'The run is silent' : 'The run failed'),
    h('p', { class: 'message' }, run.message || 'The trainer ended without a message.'),
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
  { label: 'Attack success', title: 'Harmful prompts that were answered instead of refused', get: m => m.attackSuccess, share: true },
  { label: 'Over-refusal', title: 'Harmless prompts that were refused', get: m => m.overRefusal, share: true },
  { label: 'Degenerate', title: 'Answers that are not coherent text', get: m => m.degenerate, share: true },
  { label: 'Held-out loss', title: 'Mean loss per token on rows that were not trained on', get: m => m.heldOutLoss, share: false },
];

/** The model before and after, on the same prompts. */
export function resultTable({ before, after }: Pick<DetailsView, 'before' | 'after'>): HTMLElement | null {
  if (!before && !after) return null;
  const heads = ['', 'Before', 'After', 'Change'].map(text => (text ? h('th', { attributes: { scope: 'col' } }, text) : h('td', {})));
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
    'Before and after',
    h('table', { class: 'numbers result' }, h('thead', {}, h('tr', {}, ...heads)), h('tbody', {}, ...rows)),
    h('p', { class: 'note' }, 'Lower is better. In small: 95 % interval.'),
  );
}

const loss = (value: number | null): string => (value === null ? '–' : value.toFixed(2));

export function estimate({ get, share }: Measure, metrics: Metrics | null): HTMLElement {
  if (!metrics) return h('td', {}, '–');
  const { value, low, high } = get(metrics);
  const show = share ? percent : loss;
  const interval = value === null ? null : h('div', { class: 'interval' }, `${show(low).replace(' %', '')}–${show(high)}`);
  return h('td', {}, show(value), interval);
}

/** Coloured only where the intervals do not overlap: the rest may be chance. */
function change({ get, share }: Measure, before: Metrics | null, after: Metrics | null): HTMLElement {
  if (!before || !after) return h('td', {}, '–');
  const [from, to] = [get(before), get(after)];
  if (from.value === null || to.value === null) return h('td', {}, '–');
  const difference = (to.value - from.value) * (share ? 100 : 1);
  const certain = [from.low, from.high, to.low, to.high].every(bound => bound !== null);
  const clear = !certain ? '' : to.low! > from.high! ? 'worse' : to.high! < from.low! ? 'better' : '';
  const title = clear ? '' : 'Within the uncertainty of the measurement';
  return h('td', { class: clear, title }, signed(difference, share ? 0 : 2), share && h('span', { class: 'unit' }, ' pts'));
}

/** What the rows turned out to be. */
export function datasetSummary(dataset: DatasetView, show: (row: Row) => void): HTMLElement {
  const plain = [
    ['Rows', dataset.rows, ''],
    ['Trained on', dataset.trained, ''],
    ['Held out', dataset.heldOut, 'For the held-out loss before and after'],
    ['Flagged', dataset.flagged, 'Risk at or above the threshold'],
    ['Refusals', dataset.refusals, 'Rows whose answer is a refusal: safety data, risk 0'],
    ['Reviewed', dataset.reviewed, 'Rows that a person has reviewed: they train as ordinary ones, risk 0'],
    ['Left out', dataset.filtered, 'By the method “filter”'],
    ['Unscored', dataset.unscored, 'The judge failed on them; they count as risk 1'],
  ] as const;
  const cells = plain
    .filter(([label, n]) => n !== null && (n > 0 || ['Rows', 'Trained on', 'Flagged'].includes(label)))
    .map(([label, n, title]) => h('div', { title }, h('dt', {}, label), h('dd', { class: 'number' }, integer(n))));
  const lists = [
    ['could not be read', dataset.invalid],
    ['cut at the end', dataset.truncated],
    ['without a trained token', dataset.unsupervised],
  ] as const;
  return section(
    'Dataset',
    h('dl', { class: 'values' }, ...cells),
    ...lists.map(([what, rows]) => problemList(what, rows, dataset.files, show)),
  );
}

function problemList(what: string, rows: DatasetView['invalid'], files: readonly string[], show: (row: Row) => void): HTMLElement | null {
  if (rows.length === 0) return null;
  const items = rows.map(row => {
    const name = `${files[row.file] ?? 'dataset'}:${row.line}`;
    return h('li', {}, h('button', { class: 'link', onclick: () => show(row) }, name), ' ', h('span', { class: 'note' }, row.reason));
  });
  return h('details', { class: 'problems' }, h('summary', {}, `${count(rows.length, 'row')} ${what}`), h('ul', {}, ...items));
}

/** What was done while the run trained, newest first. */
const happened = { budget: 'shield', settings: 'tools', measurement: 'gauge', note: 'note' } as const;

export function interventionList(interventions: DetailsView['interventions']): HTMLElement | null {
  if (interventions.length === 0) return null;
  const items = [...interventions]
    .reverse()
    .map(({ step, kind, text }) => h('li', {}, icon(happened[kind]), h('span', {}, h('b', {}, `After step ${step}`), ' · ', text)));
  return section('Changes and notes', h('ul', { class: 'warnings' }, ...items));
}

export function warningList(warnings: DetailsView['warnings']): HTMLElement | null {
  if (warnings.length === 0) return null;
  const items = warnings.map(({ message }) => h('li', {}, icon('warning'), h('span', {}, message)));
  return section('Warnings', h('ul', { class: 'warnings' }, ...items));
}
