/** What uPlot is told about a chart: its scales, its axes and its lines. */
import type uPlot from 'uplot';
import { written } from '../../src/common/format';
import { isAveraged, type ChartSpec, type GroupOptions, type LineSpec } from './chartSpec';
import { isRound, paddedRange, pointsOf, shortNumbers } from './drawing';
import { linePath } from './linePath';
import { themeColour } from './theme';

const stepsBetweenTicks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5];

/** A chart as it is built: another one has to be made where this is another. */
export interface Build {
  isLogarithmic: boolean;
  isSmoothed: boolean;
}

export interface Ranges {
  x: () => [number, number];
  y: uPlot.Range.Function;
}

export const scalesOf = ({ isLogarithmic }: Build, { x, y }: Ranges): uPlot.Scales => ({
  x: { time: false, range: x },
  y: { ...(isLogarithmic && { distr: 3, log: 10 }), range: y },
  own: { range: (_, low, high) => paddedRange(low, high) },
});

export function axesOf<Key extends string>(spec: ChartSpec<Key>, { isLogarithmic }: Build, { axis, axisPixels }: Required<Pick<GroupOptions<Key>, 'axis' | 'axisPixels'>>): uPlot.Axis[] {
  const look = {
    stroke: () => themeColour('--vscode-descriptionForeground'),
    grid: { stroke: () => themeColour('--sft-grid'), width: 1 },
    ticks: { show: false },
    font: `10px ${themeColour('--vscode-font-family')}`,
  };
  const isNamed = (tick: number | null): tick is number => tick !== null && (!isLogarithmic || isRound(tick));
  const textsOf = (ticks: readonly (number | null)[]): string[] => {
    const named = ticks.filter(isNamed);
    const texts = spec.axis ? named.map(spec.axis) : shortNumbers(named);
    return ticks.map(tick => (isNamed(tick) ? texts[named.indexOf(tick)]! : ''));
  };
  return [
    { ...look, size: 20, gap: 4, space: 48, ...(axis.whole && { incrs: stepsBetweenTicks }), values: (_, ticks) => ticks.map(axis.tick ?? (tick => written(String(tick)))) },
    { ...look, size: axisPixels, gap: 4, space: 26, values: (_, ticks) => textsOf(ticks) },
  ];
}

/** In the order of the values: as they are, and before them what is smoothed. */
export const seriesOf = <Key extends string>({ lines }: ChartSpec<Key>, { isSmoothed }: Build): uPlot.Series[] => [
  {},
  ...lines.map(line => (isSmoothed && isAveraged(line) ? { ...seriesOfLine({ ...line, dash: undefined }, 1), alpha: 0.35 } : seriesOfLine(line, line.thin ? 1 : 1.5))),
  ...(isSmoothed ? lines.filter(isAveraged).map(line => seriesOfLine(line, line.thin ? 1 : 2)) : []),
];

const seriesOfLine = (line: LineSpec<string>, width: number): uPlot.Series => ({
  label: line.label,
  scale: line.ownScale ? 'own' : 'y',
  stroke: () => themeColour(line.colour),
  ...(line.points ? { width: 0 } : { width, paths: linePath(width, line.dash) }),
  points: pointsOf(line),
});
