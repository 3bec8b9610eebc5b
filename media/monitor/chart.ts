/** Charts over the optimiser steps: one cursor for all of them, by mouse or keyboard, in the theme's colours. */
import uPlot from 'uplot';
import type { RunView, SeriesColumns } from '../../src/views/monitorProtocol';
import { h, setText } from '../common/dom';

type SeriesKey = Exclude<keyof SeriesColumns, 'step'>;

export interface LineSpec {
  key: SeriesKey;
  label: string;
  /** Not named where no step has a value. */
  optional?: boolean;
  /** A colour of the theme. */
  colour: string;
  /** Lines differ by more than their colour. */
  dash?: number[];
  /** Only points: for values that jump from step to step. A ring can be seen around a dot. */
  points?: 'dot' | 'ring';
  /** Points besides the line, so that a value between gaps is seen. */
  marked?: boolean;
  /** Has a value at some steps only; the line goes through. */
  sparse?: boolean;
  /** Lines of another size have a scale of their own, without an axis. */
  ownScale?: boolean;
  format: (value: number | null) => string;
}

export interface ChartSpec {
  title: string;
  /** What the title does not say. */
  hint?: string;
  lines: LineSpec[];
  /** Not shown where no step has a value. */
  optional?: boolean;
  /** A value of the run that the lines are held against: dashed, across the chart. */
  level?: (view: RunView) => number | null;
  /** What the axis shows at least; otherwise the values decide. */
  range?: [number, number];
}

/** Something that was done at a step. */
export interface Mark {
  step: number;
  alarm: boolean;
}

const heightPixels = 112;
const tableRows = 8;

const themeColour = (name: string): string =>
  getComputedStyle(document.body).getPropertyValue(name).trim() ||
  getComputedStyle(document.body).getPropertyValue('--vscode-foreground').trim() ||
  'currentColor';

/** The charts of a run: they share their steps, the cursor and the selected step. */
export class ChartGroup {
  readonly element: HTMLElement;
  private columns: SeriesColumns | undefined;
  private readonly charts: Chart[];
  private cursor: number | null = null;
  private selected: number | undefined;
  private marked: readonly Mark[] = [];

  constructor(
    specs: readonly ChartSpec[],
    private readonly onSelect: (step: number, chart: HTMLElement) => void,
  ) {
    this.charts = specs.map(spec => new Chart(spec, this));
    this.element = h('div', { class: 'charts', hidden: true }, ...this.charts.map(chart => chart.element));
    const redraw = () => this.charts.forEach(chart => chart.redraw());
    // VS Code changes the body's classes and the root's variables when the theme changes.
    const observer = new MutationObserver(redraw);
    observer.observe(document.body, { attributes: true, attributeFilter: ['class'] });
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ['style'] });
  }

  replace(columns: SeriesColumns): void {
    this.columns = columns;
    this.moveCursor(null);
    this.show();
  }

  append(more: SeriesColumns): void {
    const columns = this.columns;
    if (!columns) return this.replace(more);
    for (const key of Object.keys(columns) as (keyof SeriesColumns)[]) columns[key].push(...more[key]);
    this.show();
  }

  clear(): void {
    this.columns = undefined;
    this.selected = undefined;
    this.marked = [];
    this.element.hidden = true;
  }

  get steps(): readonly (number | null)[] {
    return this.columns?.step ?? [];
  }

  get marks(): readonly Mark[] {
    return this.marked;
  }

  mark(marks: readonly Mark[]): void {
    if (marks.length === 0 && this.marked.length === 0) return;
    this.marked = marks;
    this.charts.forEach(chart => chart.redraw());
  }

  setLevels(view: RunView): void {
    this.charts.forEach(chart => chart.setLevel(view));
  }

  get selectedStep(): number | undefined {
    return this.selected;
  }

  markSelected(step: number | undefined): void {
    this.selected = step;
    this.charts.forEach(chart => chart.redraw());
  }

  select(index: number, chart: Chart): void {
    const step = this.steps[index];
    if (typeof step === 'number') this.onSelect(step, chart.element);
  }

  /** Moves the cursor of all charts to a point; null takes it away. */
  moveCursor(index: number | null, from?: Chart): void {
    this.cursor = index;
    for (const chart of this.charts) {
      if (chart !== from) chart.placeCursor(index);
      chart.describe(index ?? this.steps.length - 1);
    }
  }

  /** Which chart of the group an element is. */
  indexOf(element: HTMLElement): number {
    return this.charts.findIndex(chart => chart.element === element);
  }

  chartAt(index: number): HTMLElement | undefined {
    return this.charts[index]?.element;
  }

  focus(index: number): void {
    this.charts[index]?.plot.focus();
  }

  /** The point under the cursor, moved by some; from the selected step or the end when there is none. */
  step(by: number): void {
    const last = this.steps.length - 1;
    const start = this.cursor ?? (this.selected === undefined ? last : this.steps.indexOf(this.selected));
    this.moveCursor(Math.min(last, Math.max(0, start + by)));
  }

  get cursorIndex(): number | null {
    return this.cursor;
  }

  private show(): void {
    const columns = this.columns;
    this.element.hidden = !columns?.step.length;
    if (!columns?.step.length) return;
    for (const chart of this.charts) {
      chart.setData(columns);
      chart.describe(this.cursor ?? columns.step.length - 1, true);
    }
  }
}

export class Chart {
  readonly element: HTMLElement;
  readonly plot: HTMLElement;
  private readonly table: HTMLDetailsElement;
  private readonly values: HTMLElement[];
  private readonly entries: HTMLElement[];
  private uplot: uPlot | undefined;
  private columns: SeriesColumns | undefined;
  private level: number | null = null;

  constructor(
    private readonly spec: ChartSpec,
    private readonly group: ChartGroup,
  ) {
    this.values = spec.lines.map(() => h('span', { class: 'number' }, '–'));
    this.entries = spec.lines.map((line, index) => this.legendEntry(line, index));
    this.plot = h('div', {
      class: 'plot',
      attributes: { tabindex: '0', role: 'slider', 'aria-label': `${spec.title} by step. Enter shows the step's rows.` },
    });
    this.plot.addEventListener('keydown', event => this.onKey(event));
    this.table = h('details', { class: 'as-table' }, h('summary', {}, `Last ${tableRows} steps as a table`));
    this.table.addEventListener('toggle', () => this.fillTable());
    this.element = h(
      'section',
      { class: 'chart' },
      h('div', { class: 'chart-head' }, h('h3', { title: spec.hint }, spec.title), h('div', { class: 'legend', attributes: { 'aria-hidden': 'true' } }, ...this.entries)),
      this.plot,
      this.table,
    );
    new ResizeObserver(([entry]) => this.resize(entry?.contentRect.width ?? 0)).observe(this.plot);
  }

  setData(columns: SeriesColumns): void {
    this.columns = columns;
    this.element.hidden = !!this.spec.optional && !this.spec.lines.some(line => this.hasValues(line));
    this.spec.lines.forEach((line, index) => ((this.entries[index] as HTMLElement).hidden = !this.isNamed(line)));
    this.uplot?.setData(this.data());
    if (!this.uplot) this.resize(this.plot.clientWidth);
    this.fillTable();
  }

  setLevel(view: RunView): void {
    const level = this.spec.level?.(view) ?? null;
    if (level === this.level) return;
    this.level = level;
    this.uplot?.setData(this.data());
  }

  redraw(): void {
    this.uplot?.redraw(false, true);
    this.element.querySelectorAll<HTMLElement>('[data-colour]').forEach(swatch => {
      swatch.style.color = themeColour(swatch.dataset['colour'] ?? '');
    });
  }

  placeCursor(index: number | null): void {
    const step = index === null ? null : this.group.steps[index];
    const left = typeof step === 'number' ? (this.uplot?.valToPos(step, 'x') ?? -10) : -10;
    this.uplot?.setCursor({ left, top: left < 0 ? -10 : 4 }, false);
  }

  /** Shows one point's values in the legend and to assistive technology, which is not told every new step. */
  describe(index: number, isNews = false): void {
    const columns = this.columns;
    if (!columns) return;
    const texts = this.spec.lines.map(line => line.format(valueAt(columns[line.key], index, line.sparse)));
    this.values.forEach((element, at) => setText(element, texts[at] ?? ''));
    if (isNews && document.activeElement === this.plot) return;
    const step = columns.step[index] ?? 0;
    const named = this.spec.lines.flatMap((line, at) => (this.isNamed(line) ? [`${line.label} ${texts[at]}`] : []));
    this.plot.setAttribute('aria-valuemin', String(columns.step[0] ?? 0));
    this.plot.setAttribute('aria-valuemax', String(columns.step.at(-1) ?? 0));
    this.plot.setAttribute('aria-valuenow', String(step));
    this.plot.setAttribute('aria-valuetext', `Step ${step}: ${named.join(', ')}`);
  }

  private legendEntry(line: LineSpec, index: number): HTMLElement {
    const swatch = h('span', { class: `swatch ${line.points ?? (line.dash ? 'dashed' : '')}`, attributes: { 'data-colour': line.colour } });
    swatch.style.color = themeColour(line.colour);
    return h('span', { class: 'legend-entry' }, swatch, line.label, this.values[index]);
  }

  private isNamed(line: LineSpec): boolean {
    return !line.optional || this.hasValues(line);
  }

  private hasValues({ key }: LineSpec): boolean {
    return this.columns?.[key].some(value => value !== null) ?? false;
  }

  private onKey(event: KeyboardEvent): void {
    const { group } = this;
    const moves: Record<string, () => void> = {
      ArrowLeft: () => group.step(-1),
      ArrowRight: () => group.step(1),
      PageUp: () => group.step(-10),
      PageDown: () => group.step(10),
      Home: () => group.moveCursor(0),
      End: () => group.moveCursor(group.steps.length - 1),
      Escape: () => group.moveCursor(null),
      Enter: () => group.select(group.cursorIndex ?? group.steps.length - 1, this),
      ' ': () => group.select(group.cursorIndex ?? group.steps.length - 1, this),
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  }

  private data(): uPlot.AlignedData {
    const columns = this.columns;
    if (!columns) return [[]];
    return [columns.step as number[], ...this.spec.lines.map(line => columns[line.key])];
  }

  private resize(width: number): void {
    if (width < 40 || !this.columns) return;
    if (this.uplot) this.uplot.setSize({ width, height: heightPixels });
    else this.uplot = this.create(width);
  }

  private create(width: number): uPlot {
    const { spec, group } = this;
    const axis = {
      stroke: () => themeColour('--vscode-descriptionForeground'),
      grid: { stroke: () => themeColour('--sft-grid'), width: 1 },
      ticks: { show: false },
      font: `10px ${themeColour('--vscode-font-family')}`,
    };
    const options: uPlot.Options = {
      width,
      height: heightPixels,
      padding: [6, 8, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, y: false, points: { size: 6 } },
      scales: {
        x: { time: false },
        y: { range: (_, low, high) => this.rangeOfValues(low, high) },
        own: { range: (_, low, high) => paddedRange(low, high) },
      },
      axes: [
        { ...axis, size: 20, gap: 4, space: 48, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5] },
        { ...axis, size: 38, gap: 4, space: 26, values: (_, ticks) => ticks.map(shortNumber) },
      ],
      series: [
        {},
        ...spec.lines.map(line => ({
          label: line.label,
          scale: line.ownScale ? 'own' : 'y',
          stroke: () => themeColour(line.colour),
          width: line.points ? 0 : 1.5,
          dash: line.dash,
          spanGaps: line.sparse ?? false,
          points: pointsOf(line),
        })),
      ],
      hooks: {
        setCursor: [
          plot => {
            // Only what the mouse does in this chart; the group tells the others.
            if (this.plot.matches(':hover')) group.moveCursor(plot.cursor.idx ?? null, this);
          },
        ],
        draw: [plot => this.drawLevel(plot), plot => this.drawMarks(plot), plot => this.drawSelection(plot)],
      },
    };
    const plot = new uPlot(options, this.data(), this.plot);
    plot.over.addEventListener('click', () => {
      if (typeof plot.cursor.idx === 'number') group.select(plot.cursor.idx, this);
    });
    plot.over.addEventListener('mouseleave', () => group.moveCursor(null));
    return plot;
  }

  private rangeOfValues(low: number | null, high: number | null): [number, number] {
    const { range } = this.spec;
    if (range) return [range[0], Math.max(range[1], 1.06 * Math.max(high ?? 0, this.level ?? 0))];
    const ends = [low, high, this.level].filter(value => value !== null);
    return ends.length ? paddedRange(Math.min(...ends), Math.max(...ends)) : paddedRange(null, null);
  }

  private drawLevel(plot: uPlot): void {
    if (this.level === null) return;
    const { left, width } = plot.bbox;
    const y = Math.round(plot.valToPos(this.level, 'y', true));
    stroke(plot, '--vscode-descriptionForeground', [4, 4], [left, y], [left + width, y]);
  }

  private drawMarks(plot: uPlot): void {
    for (const { step, alarm } of this.group.marks) {
      this.drawAtStep(plot, step, alarm ? '--vscode-charts-red' : '--vscode-charts-foreground', [2, 3]);
    }
  }

  private drawSelection(plot: uPlot): void {
    const step = this.group.selectedStep;
    if (step !== undefined) this.drawAtStep(plot, step, '--vscode-focusBorder', []);
  }

  private drawAtStep(plot: uPlot, step: number, colour: string, dash: number[]): void {
    const x = Math.round(plot.valToPos(step, 'x', true));
    const { left, top, width, height } = plot.bbox;
    if (x >= left && x <= left + width) stroke(plot, colour, dash, [x, top], [x, top + height]);
  }

  private fillTable(): void {
    const { columns } = this;
    if (!this.table.open || !columns) return;
    const lines = this.spec.lines.filter(line => this.isNamed(line));
    const last = columns.step.length;
    const indices = Array.from({ length: Math.min(tableRows, last) }, (_, index) => last - 1 - index);
    const head = h('tr', {}, ...['Step', ...lines.map(line => line.label)].map(text => h('th', { attributes: { scope: 'col' } }, text)));
    const rows = indices.map(index =>
      h('tr', {}, h('td', {}, String(columns.step[index])), ...lines.map(line => h('td', {}, line.format(columns[line.key][index] ?? null)))),
    );
    this.table.querySelector('table')?.remove();
    this.table.append(h('table', { class: 'numbers' }, h('thead', {}, head), h('tbody', {}, ...rows)));
  }
}

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

/** Of a sparse line, the newest value up to there. */
function valueAt(values: readonly (number | null)[], index: number, sparse = false): number | null {
  let at = index;
  while (sparse && at > 0 && values[at] === null) at -= 1;
  return values[at] ?? null;
}

function pointsOf({ points, marked, colour }: LineSpec): uPlot.Series.Points {
  const stroke = () => themeColour(colour);
  if (points === 'ring') return { show: true, size: 7, width: 1, stroke, fill: 'transparent' };
  if (points === 'dot') return { show: true, size: 3.5, width: 0, stroke, fill: stroke };
  return { show: marked ?? false, size: 3.5, width: 0, stroke, fill: stroke };
}

/** Some air above and below, also where all values are the same. */
function paddedRange(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0, 1];
  const air = (high - low || Math.abs(high) || 1) * 0.08;
  return [low >= 0 ? Math.max(0, low - air) : low - air, high + air];
}

function shortNumber(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 0.001) return value.toExponential(0);
  if (size >= 1000) return `${+(value / 1000).toFixed(1)}k`;
  return String(+value.toPrecision(3));
}
