/** The last steps that a chart shows, as a table. */
import { h } from '../common/dom';
import type { ChartGroup } from './chartGroup';
import type { ChartData, ChartSpec, LineSpec } from './chartSpec';

export function stepsTable<Key extends string>(spec: ChartSpec<Key>, lines: readonly LineSpec<Key>[], data: ChartData<Key>, group: ChartGroup<Key>): HTMLElement {
  const { axis, tableRows } = group.options;
  const [first, last] = [group.firstIndex, group.lastIndex];
  const indices = Array.from({ length: Math.min(tableRows, last - first + 1) }, (_, index) => last - index);
  const head = h('tr', {}, ...[axis.title, ...lines.map(line => line.label || spec.title)].map(text => h('th', { attributes: { scope: 'col' } }, text)));
  const rows = indices.map(index =>
    h('tr', {}, h('td', {}, axis.format(data.x[index]!)), ...lines.map(line => h('td', {}, line.format(data.values[line.key][index] ?? null)))),
  );
  return h('table', { class: 'numbers' }, h('thead', {}, head), h('tbody', {}, ...rows));
}
