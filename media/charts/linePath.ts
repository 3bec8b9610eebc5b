/** The path of a line: few points however many values it has, and none far off the canvas. */
import type uPlot from 'uplot';
import type { Cell } from './values';

/** Up and down over the whole plot: where an eye can no longer follow a line. */
const mostCrossings = 40;

/** Of a line so wide; where it is a thicket, one pixel wide and without dashes, which nobody could see: without a GPU anything else takes a hundred times as long to draw. */
export const linePath =
  (width: number, dash: number[] = []): uPlot.Series.PathBuilder =>
  (plot, at, from, to) => {
    const { left, width: across, height } = plot.bbox;
    const series = plot.series[at]!;
    const [steps, values] = [plot.data[0], plot.data[at] as Cell[]];
    const stroke = new Path2D();
    const travelled = trace(stroke, {
      ...{ from, to, ends: [left, left + across] },
      x: index => plot.valToPos(steps[index]!, 'x', true),
      y: index => {
        const value = values[index];
        return typeof value === 'number' ? plot.valToPos(value, series.scale!, true) : value;
      },
    });
    const isThicket = travelled > mostCrossings * height;
    [series.width, series.dash] = isThicket ? [Math.min(width, 1 / devicePixelRatio), []] : [width, dash];
    return { stroke };
  };

export interface Line {
  /** The first and the last point, which may lie outside. */
  from: number;
  to: number;
  /** Between which pixels the line can be seen. */
  ends: [number, number];
  x: (index: number) => number;
  y: (index: number) => Cell;
}

type Pen = Pick<CanvasPath, 'moveTo' | 'lineTo'>;

/** Draws the line as far as it can be seen; says how many pixels it went up and down. */
export function trace(pen: Pen, { from, to, ends: [left, right], x, y }: Line): number {
  const columns = new Columns(pen);
  let before: Point | undefined;
  for (let index = from; index <= to; index++) {
    const value = y(index);
    if (value === undefined) continue;
    if (value === null) {
      columns.lift();
      before = undefined;
      continue;
    }
    const point = { x: x(index), y: value };
    if (before && before.x < left && point.x >= left) columns.add(left, heightAt(left, before, point));
    if (point.x >= left && point.x <= right) columns.add(point.x, point.y);
    if (before && before.x <= right && point.x > right) columns.add(right, heightAt(right, before, point));
    before = point;
  }
  columns.lift();
  return columns.travelled;
}

interface Point {
  x: number;
  y: number;
}

const heightAt = (x: number, a: Point, b: Point): number => a.y + ((b.y - a.y) * (x - a.x)) / (b.x - a.x);

/** Of all that falls into a column of pixels, draws where the line comes in, how far it goes either way, and where it goes out. */
class Columns {
  travelled = 0;
  private isDown = false;
  private x = NaN;
  private ys: [first: number, least: number, most: number, last: number] | undefined;
  private drawn: Point = { x: NaN, y: NaN };

  constructor(private readonly pen: Pen) {}

  add(x: number, y: number): void {
    const [column, row] = [Math.round(x), Math.round(y)];
    if (column !== this.x) this.draw();
    this.x = column;
    const [first, least, most] = this.ys ?? [row, row, row];
    this.ys = [first, Math.min(least, row), Math.max(most, row), row];
  }

  lift(): void {
    this.draw();
    this.isDown = false;
  }

  private draw(): void {
    if (!this.ys) return;
    const [first, least, most, last] = this.ys;
    this.ys = undefined;
    const between = first < last ? [least, most] : [most, least];
    for (const y of [first, ...between, last]) this.go(y);
  }

  private go(y: number): void {
    const { x, drawn } = this;
    if (!this.isDown) this.pen.moveTo(x, y);
    else if (x !== drawn.x || y !== drawn.y) this.pen.lineTo(x, y);
    if (this.isDown) this.travelled += Math.abs(y - drawn.y);
    this.isDown = true;
    this.drawn = { x, y };
  }
}
