/** How lines, points and numbers are drawn. */
import type uPlot from 'uplot';
import { short, written } from '../../src/common/format';
import type { LineSpec } from './chartSpec';
import { themeColour } from './theme';
import type { Cell } from './values';

/** A straight line between two points of the canvas, in device pixels. */
function stroke({ ctx }: uPlot, colour: string, dash: number[], from: [number, number], to: [number, number]): void {
  ctx.save();
  ctx.setLineDash(dash.map(length => length * devicePixelRatio));
  ctx.strokeStyle = themeColour(colour);
  ctx.lineWidth = Math.max(1, devicePixelRatio);
  ctx.beginPath();
  ctx.moveTo(...from);
  ctx.lineTo(...to);
  ctx.stroke();
  ctx.restore();
}

/** A line at a value, from one side to the other. */
export function drawAcross(plot: uPlot, value: number, colour: string, dash: number[]): void {
  const { left, width } = plot.bbox;
  const y = Math.round(plot.valToPos(value, 'y', true));
  stroke(plot, colour, dash, [left, y], [left + width, y]);
}

/** A line at a step, from top to bottom. */
export function drawAtStep(plot: uPlot, step: number, colour: string, dash: number[]): void {
  const x = Math.round(plot.valToPos(step, 'x', true));
  const { left, top, width, height } = plot.bbox;
  if (x >= left && x <= left + width) stroke(plot, colour, dash, [x, top], [x, top + height]);
}

/** Where a line has no point, the value of its point before. */
export function valueAt(values: readonly Cell[], index: number): number | null {
  let at = index;
  while (at > 0 && values[at] === undefined) at -= 1;
  return values[at] ?? null;
}

export function pointsOf({ points, marked, sparse, colour }: LineSpec<string>): uPlot.Series.Points {
  const stroke = () => themeColour(colour);
  if (points === 'ring') return { show: true, size: 7, width: 1, stroke, fill: 'transparent' };
  // There are many of them: a ring without a middle is drawn in a third of a disc's time.
  if (points === 'dot') return { show: true, size: 3, width: 1, stroke, fill: 'transparent' };
  const dot = { size: 3.5, width: 0, stroke, fill: stroke };
  if (!marked) return { ...dot, show: false };
  return { ...dot, show: true, filter: (plot, series) => (sparse ? fewValues : loneValues)(plot.data[series] as Cell[]) };
}

const mostDots = 60;

/** All of them, while a line does not say as much. */
const fewValues = (values: readonly Cell[]): number[] => {
  const indices = values.flatMap((value, index) => (typeof value === 'number' ? [index] : []));
  return indices.length <= mostDots ? indices : [];
};

const loneValues = (values: readonly Cell[]): number[] =>
  values.flatMap((value, index) => (typeof value === 'number' && typeof values[index - 1] !== 'number' && typeof values[index + 1] !== 'number' ? [index] : []));

/** Some air above and below, also where all values are the same. */
export function paddedRange(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0, 1];
  const air = (high - low || Math.abs(high) || 1) * 0.08;
  return [low >= 0 ? Math.max(0, low - air) : low - air, high + air];
}

/** A logarithmic axis begins where the scale does. */
export const isRound = (value: number): boolean => {
  const digit = value / 10 ** Math.floor(Math.log10(value) + 1e-9);
  return [1, 2, 5].some(round => Math.abs(digit - round) < 1e-6);
};

/** As few digits as tell them apart. */
export function shortNumbers(values: readonly number[]): string[] {
  let texts: string[] = [];
  for (let digits = 3; digits <= 8; digits++) {
    texts = values.map(value => shortNumber(value, digits));
    if (new Set(texts).size === new Set(values).size) break;
  }
  return texts;
}

function shortNumber(value: number, digits: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 0.001) return value.toExponential(digits - 3);
  if (size >= 1000) return `${short(value / 1000, digits - 2)}k`;
  return written(String(+value.toPrecision(digits)));
}
