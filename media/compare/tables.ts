/** In what the runs differ: their settings and their results. */
import * as l10n from '@vscode/l10n';
import type { ComparedRun, ToCompare } from '../../src/views/compareProtocol';
import { h } from '../common/dom';
import { estimate, measures } from '../monitor/details';
import { lookOf } from './runList';

const scope = (scope: string) => ({ attributes: { scope } });

const heads = (runs: readonly ComparedRun[], ...first: string[]): HTMLElement =>
  h('thead', {}, h('tr', {}, ...first.map(text => (text ? h('th', scope('col'), text) : h('td', {}))), ...runs.map((run, index) => h('th', { title: run.name, ...scope('col') }, lookOf(index).letter))));

/** The model of each run before and after, on the run's prompts. */
export function evaluationTable(runs: readonly ComparedRun[]): HTMLElement {
  const rows = measures.flatMap(measure => {
    const after = runs.map(run => run.after && measure.get(run.after).value);
    const best = Math.min(...after.filter(value => value !== null));
    const isBest = (value: number | null) => value === best && after.some(other => other !== null && other > best);
    return [
      h('tr', {}, h('th', { title: measure.title, attributes: { scope: 'rowgroup', rowspan: '2' } }, measure.label), h('th', { class: 'when', ...scope('row') }, l10n.t('before')), ...runs.map(run => estimate(measure, run.before))),
      h('tr', { class: 'after' }, h('th', { class: 'when', ...scope('row') }, l10n.t('after')), ...runs.map((run, index) => marked(estimate(measure, run.after), isBest(after[index] ?? null)))),
    ];
  });
  return h(
    'section',
    {},
    h('h2', {}, l10n.t('Before and after')),
    h('div', { class: 'table' }, h('table', { class: 'numbers result' }, heads(runs, '', ''), h('tbody', {}, ...rows))),
    h('p', { class: 'note' }, l10n.t('Lower is better; ★ marks the lowest after training. In small: 95 % interval. Where intervals overlap, the difference may be chance.')),
  );
}

function marked(cell: HTMLElement, best: boolean): HTMLElement {
  if (!best) return cell;
  cell.classList.add('best');
  cell.prepend(h('span', { title: l10n.t('The lowest'), attributes: { role: 'img', 'aria-label': l10n.t('lowest') } }, '★ '));
  return cell;
}

/** The settings in which the runs differ. */
export function differenceTable({ runs, differences }: Extract<ToCompare, { type: 'runs' }>): HTMLElement {
  const rows = differences.map(({ path, values }) => h('tr', {}, h('th', scope('row'), h('code', {}, path)), ...values.map(value => h('td', {}, value ?? '–'))));
  const table = h('div', { class: 'table' }, h('table', { class: 'numbers differences' }, heads(runs, l10n.t('Setting')), h('tbody', {}, ...rows)));
  return h('section', {}, h('h2', {}, l10n.t('Configuration')), rows.length ? table : h('p', { class: 'note' }, l10n.t('All settings are the same.')));
}
