/** A chart as it is shown, as a picture of its own: an SVG. */
import * as l10n from '@vscode/l10n';
import { svgChart, type ChartColour } from '../../src/report/svgChart';
import type { ChartData, ChartSpec, Display, GroupOptions, Range } from './chartSpec';

export interface Shown<Key extends string> {
  data: ChartData<Key>;
  /** Null is everything. */
  range: Range | null;
  level: number | null;
  display: Display;
  axis: NonNullable<GroupOptions<Key>['axis']>;
}

export function pictureOf<Key extends string>(spec: ChartSpec<Key>, { data, range, level, display, axis }: Shown<Key>): string {
  const [from, to] = range ?? [-Infinity, Infinity];
  const indices = data.x.flatMap((x, index) => (x >= from && x <= to ? [index] : []));
  const unit = axis.unit ?? { title: axis.title, size: 1 };
  const lines = spec.lines
    .map(line => ({ line, values: (line.exact ? null : data.smoothed?.[line.key]) ?? data.values[line.key] }))
    .filter(({ line, values }) => !line.optional || values.some(value => typeof value === 'number'))
    .map(({ line, values }) => ({
      label: line.title ?? (line.label || spec.title),
      values: indices.map(index => (line.sparse && values[index] === null ? NaN : (values[index] ?? null))),
      colour: line.colour.replace('--vscode-charts-', '') as ChartColour,
      ...(line.dash && { dash: line.dash }),
      ...(line.points && { points: line.points }),
      ...(line.sparse && { sparse: true }),
      ...(line.ownScale && { axis: 'right' as const }),
    }));
  const layer = spec.layer?.picture(from, to);
  return svgChart({
    title: spec.title,
    description: [spec.hint, layer?.description].filter(Boolean).join(' '),
    ...(layer && { cells: layer.cells }),
    x: indices.map(index => data.x[index]! / unit.size),
    xLabel: unit.title,
    lines,
    left: { ...(spec.logarithmic && display.logarithmic && { scale: 'log' }), ...(spec.range && !lines.some(({ values }) => values.some(value => value! > spec.range![1])) && { range: spec.range }) },
    ...(level !== null && { level: { value: level, label: l10n.t('reference') } }),
  });
}
