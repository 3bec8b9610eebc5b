/** What keys and the mouse do in a chart. */
import type uPlot from 'uplot';
import type { ChartGroup } from './chartGroup';

/** `select`: chooses the point of an index. */
export function onKey<Key extends string>(event: KeyboardEvent, group: ChartGroup<Key>, select: (index: number) => void): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const moves: Record<string, () => void> = {
    ArrowLeft: () => group.step(-1),
    ArrowRight: () => group.step(1),
    PageUp: () => group.step(-10),
    PageDown: () => group.step(10),
    Home: () => group.moveCursor(group.firstIndex),
    End: () => group.moveCursor(group.lastIndex),
    Escape: () => (group.range ? group.zoom(null) : group.moveCursor(null)),
    Enter: () => select(group.cursorIndex ?? group.lastIndex),
    ' ': () => select(group.cursorIndex ?? group.lastIndex),
  };
  const zooms: Record<string, () => void> = {
    '+': () => group.zoomBy(0.5, middle(group)),
    '=': () => group.zoomBy(0.5, middle(group)),
    '-': () => group.zoomBy(2, middle(group)),
    '0': () => group.zoom(null),
    ...(event.shiftKey && { ArrowLeft: () => group.pan(-0.2), ArrowRight: () => group.pan(0.2) }),
  };
  const move = (group.options.onZoom && zooms[event.key]) ?? moves[event.key];
  if (!move) return;
  event.preventDefault();
  move();
}

/** Where the keyboard zooms: at the cursor, if it is to be seen. */
function middle<Key extends string>(group: ChartGroup<Key>): number {
  const [from, to] = group.range ?? group.whole ?? [0, 1];
  const x = group.cursorIndex === null ? undefined : group.x[group.cursorIndex];
  return x !== undefined && x >= from && x <= to ? x : (from + to) / 2;
}

/** Dragging over a part shows it; with Shift it moves along; a double click shows everything. */
export const dragging = <Key extends string>(group: ChartGroup<Key>): Pick<uPlot.Cursor, 'drag' | 'bind'> => {
  const { onZoom } = group.options;
  return {
    drag: { x: !!onZoom, y: false, dist: 5, setScale: false },
    bind: {
      mousedown: (plot, _, handler) => event => {
        if (onZoom && event.shiftKey) dragAlong(plot, event, group);
        else handler(event);
        return null;
      },
      dblclick: () => () => {
        if (onZoom) group.zoom(null);
        return null;
      },
    },
  };
};

function dragAlong<Key extends string>(plot: uPlot, down: MouseEvent, group: ChartGroup<Key>): void {
  const width = plot.over.clientWidth;
  let last = down.clientX;
  const move = (event: MouseEvent) => {
    group.pan((last - event.clientX) / width);
    last = event.clientX;
  };
  document.addEventListener('mousemove', move);
  document.addEventListener('mouseup', () => document.removeEventListener('mousemove', move), { once: true });
}

/** What was dragged over. */
export function showSelected<Key extends string>(plot: uPlot, group: ChartGroup<Key>): void {
  const { left, width } = plot.select;
  if (!group.options.onZoom || width <= 0) return;
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  group.zoom([plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x')]);
}

/** Clicks choose, wheels zoom and move along; no mouse, no cursor. */
export function followMouse<Key extends string>(plot: uPlot, group: ChartGroup<Key>, select: (index: number) => void): void {
  plot.over.addEventListener('click', event => {
    if (typeof plot.cursor.idx === 'number' && !event.shiftKey) select(plot.cursor.idx);
  });
  plot.over.addEventListener('mouseleave', () => group.moveCursor(null));
  if (group.options.onZoom) plot.over.addEventListener('wheel', event => onWheel(plot, event, group), { passive: false });
}

/** The page scrolls by the wheel alone; with a key it is the chart that is meant. */
function onWheel<Key extends string>(plot: uPlot, event: WheelEvent, group: ChartGroup<Key>): void {
  if (!event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  const turned = Math.sign(event.deltaY || event.deltaX);
  if (event.ctrlKey) group.zoomBy(turned > 0 ? 1.25 : 0.8, plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, 'x'));
  else group.pan(0.1 * turned);
}
