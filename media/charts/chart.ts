/** Charts over the steps of runs: one cursor and one zoom for all of them, by mouse or keyboard, in the theme's colours. */
import * as l10n from '@vscode/l10n';
import uPlot from 'uplot';
import { isOne } from '../../src/common/language';
import { h, setText } from '../common/dom';
import { integer, written } from '../../src/common/format';
import type { Cell, ChartData, ChartSpec, Display, GroupOptions, LineSpec, Mark, Range } from './chartSpec';
import { isRound, paddedRange, pointsOf, shortNumber, stroke, valueAt } from './drawing';
import { linePath } from './linePath';
import { lineSample } from './lineSample';
import { pictureOf } from './picture';
import { onThemeChange, recolour, themeColour } from './theme';
import { Turns } from './turns';
import { percentiles, positive } from './values';

const outermost = [0.01, 0.99] as const;
const stepsBetweenTicks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5];

/** The charts of a page: they share their steps, the cursor, the zoom and the selected step. */
export class ChartGroup<Key extends string> {
  readonly element: HTMLElement;
  readonly options: Required<Pick<GroupOptions<Key>, 'heightPixels' | 'axisPixels' | 'tableRows' | 'axis'>> & GroupOptions<Key>;
  readonly turns = new Turns();
  private readonly charts: Chart<Key>[];
  private data: ChartData<Key> | undefined;
  private extent: Range | null = null;
  private shown: Range | null = null;
  private cursor: number | null = null;
  private pointedAt: Chart<Key> | undefined;
  private selected: number | undefined;
  private marked: readonly Mark[] = [];
  private shownAs: Display = { logarithmic: false, clipped: false };

  constructor(specs: readonly ChartSpec<Key>[], options: GroupOptions<Key> = {}) {
    this.options = { heightPixels: 112, axisPixels: 38, tableRows: 8, axis: { title: l10n.t('Step'), word: l10n.t('step'), whole: true, format: String }, ...options };
    this.charts = specs.map(spec => new Chart(spec, this));
    this.element = h('div', { class: 'charts', hidden: true }, ...this.charts.map(chart => chart.element));
    onThemeChange(() => this.charts.forEach(chart => chart.recolour()));
  }

  /** `extent`: what the whole reaches from and to, where the data are a part of it. */
  replace(data: ChartData<Key>, extent?: Range): void {
    const at = this.cursor === null ? undefined : this.data?.x[this.cursor];
    this.data = data;
    this.extent = extent ?? null;
    const cursor = at === undefined ? -1 : data.x.indexOf(at);
    this.cursor = cursor < 0 ? null : cursor;
    this.pointedAt = undefined;
    this.show(false);
  }

  append(more: ChartData<Key>, extent?: Range): void {
    const { data } = this;
    if (!data) return this.replace(more, extent);
    data.x.push(...more.x);
    for (const key of Object.keys(data.values) as Key[]) {
      data.values[key].push(...more.values[key]);
      if (more.smoothed) data.smoothed?.[key].push(...more.smoothed[key]);
    }
    this.extent = extent ?? null;
    this.show(true);
  }

  /** What a chart shows below its lines is new. */
  layerChanged(title: string): void {
    this.charts.find(({ spec }) => spec.title === title)?.redraw();
  }

  clear(): void {
    this.data = undefined;
    this.selected = undefined;
    this.shown = null;
    this.marked = [];
    this.element.hidden = true;
  }

  get x(): readonly number[] {
    return this.data?.x ?? [];
  }

  get marks(): readonly Mark[] {
    return this.marked;
  }

  mark(marks: readonly Mark[]): void {
    if (marks.length === 0 && this.marked.length === 0) return;
    this.marked = marks;
    this.charts.forEach(chart => chart.redraw());
  }

  /** A value that a chart's lines are held against: dashed, across it. */
  setLevel(title: string, level: number | null): void {
    this.charts.find(({ spec }) => spec.title === title)?.setLevel(level);
  }

  get selectedStep(): number | undefined {
    return this.selected;
  }

  markSelected(step: number | undefined): void {
    this.selected = step;
    this.charts.forEach(chart => chart.redraw());
  }

  select(index: number, chart: Chart<Key>): void {
    const x = this.x[index];
    if (x !== undefined) this.options.onSelect?.(x, chart.element);
  }

  /** Moves the cursor of all charts to a point; null takes it away. */
  moveCursor(index: number | null, from?: Chart<Key>): void {
    this.cursor = index;
    this.pointedAt = from;
    this.charts.forEach(chart => chart.tell());
  }

  /** In which the mouse has moved the cursor. */
  get pointedChart(): Chart<Key> | undefined {
    return this.pointedAt;
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
    const start = this.cursor ?? (this.selected === undefined ? this.lastIndex : this.x.indexOf(this.selected));
    this.moveCursor(Math.min(this.lastIndex, Math.max(this.firstIndex, start + by)));
  }

  get cursorIndex(): number | null {
    return this.cursor;
  }

  /** Of what is shown. */
  get firstIndex(): number {
    const [from] = this.shown ?? [-Infinity];
    return Math.max(0, this.x.findIndex(x => x >= from));
  }

  get lastIndex(): number {
    const [, to] = this.shown ?? [0, Infinity];
    return this.x.findLastIndex(x => x <= to);
  }

  // --- zoom ---

  get range(): Range | null {
    return this.shown;
  }

  get whole(): Range | null {
    const { x, extent } = this;
    return extent ?? (x.length ? [x[0]!, x.at(-1)!] : null);
  }

  /** Shows a part of the axis, as far as there is something; null shows everything. */
  zoom(range: Range | null): void {
    const whole = this.whole;
    const next = range && whole && within(range, whole, this.options.axis.whole ? 1 : (whole[1] - whole[0]) / 1e4);
    if (next?.join() === this.shown?.join()) return;
    this.shown = next;
    this.options.onZoom?.(next);
    this.charts.forEach(chart => chart.redraw());
    this.moveCursor(this.cursor);
  }

  /** Zooms by a factor around a place. */
  zoomBy(factor: number, around: number): void {
    const [from, to] = this.shown ?? this.whole ?? [0, 1];
    this.zoom([around - (around - from) * factor, around + (to - around) * factor]);
  }

  /** Moves along by a share of what is shown; nothing moves where everything is. */
  pan(share: number): void {
    if (!this.shown || !this.whole) return;
    const [from, to] = this.shown;
    const by = Math.min(this.whole[1] - to, Math.max(this.whole[0] - from, share * (to - from)));
    this.zoom([from + by, to + by]);
  }

  /** As it is shown, as an SVG; undefined where there is nothing to show. */
  pictureOf(spec: ChartSpec<Key>): string | undefined {
    const { data, shown: range, shownAs: display } = this;
    const chart = this.charts.find(one => one.spec === spec);
    return data && chart && pictureOf(spec, { data, range, level: chart.levelShown, display, axis: this.options.axis });
  }

  get display(): Display {
    return this.shownAs;
  }

  setDisplay(display: Display): void {
    this.shownAs = display;
    this.charts.forEach(chart => chart.redraw());
  }

  /** `isNews`: it is about steps that have come, and nobody has asked for it. */
  private show(isNews: boolean): void {
    const { data } = this;
    this.element.hidden = !data?.x.length;
    if (!data?.x.length) return;
    for (const chart of this.charts) chart.setData(data, isNews);
  }
}

/** A range no smaller than `least`, moved and cut to lie inside the whole; null where it is the whole. */
function within([from, to]: Range, whole: Range, least: number): Range | null {
  const width = Math.max(least, to - from);
  if (width >= whole[1] - whole[0]) return null;
  const start = Math.min(whole[1] - width, Math.max(whole[0], (from + to - width) / 2));
  return [start, start + width];
}

export class Chart<Key extends string> {
  readonly element: HTMLElement;
  readonly plot: HTMLElement;
  private readonly table: HTMLDetailsElement;
  private readonly note = h('p', { class: 'note chart-note', hidden: true });
  private readonly values: HTMLElement[];
  private readonly entries: HTMLElement[];
  private uplot: uPlot | undefined;
  private data: ChartData<Key> | undefined;
  /** The lines that the data have something about. */
  private named: readonly LineSpec<Key>[] = [];
  private level: number | null = null;
  private outside = 0;
  private built = '';
  /** It is on the screen or nearly so: only then what can be seen is kept up to date. */
  private isSeen = true;
  private isStale = false;
  /** All that has not been told yet. */
  private isNews = true;

  constructor(
    readonly spec: ChartSpec<Key>,
    private readonly group: ChartGroup<Key>,
  ) {
    const { onSelect, onZoom, tableRows, axis, actions } = group.options;
    this.values = spec.lines.map(() => h('span', { class: 'number' }, '–'));
    this.entries = spec.lines.map((line, index) => this.legendEntry(line, index));
    const hints = [l10n.t`${spec.title} by ${axis.word}.`, onSelect && l10n.t("Enter shows the step's rows."), onZoom && l10n.t('Plus and minus zoom.')];
    this.plot = h('div', {
      class: 'plot',
      attributes: { tabindex: '0', role: 'slider', 'aria-label': hints.filter(Boolean).join(' ') },
    });
    this.plot.style.minHeight = `${group.options.heightPixels}px`;
    this.plot.addEventListener('keydown', event => this.onKey(event));
    this.table = h('details', { class: 'as-table' }, h('summary', {}, spec.layer ? l10n.t('As a table') : onZoom ? l10n.t`Last ${tableRows} shown steps as a table` : l10n.t`Last ${tableRows} steps as a table`));
    this.table.addEventListener('toggle', () => this.fillTable());
    this.element = h(
      'section',
      { class: spec.wide ? 'chart wide' : 'chart' },
      h(
        'div',
        { class: 'chart-head' },
        h('h2', { title: spec.hint }, spec.title),
        h('div', { class: 'legend', attributes: { 'aria-hidden': 'true' } }, ...this.entries, spec.layer?.legend),
        actions && h('div', { class: 'chart-actions' }, ...actions(spec)),
      ),
      this.plot,
      h('div', { class: 'chart-foot' }, this.table, this.note),
    );
    new ResizeObserver(([entry]) => this.resize(entry?.contentRect.width ?? 0)).observe(this.plot);
    new IntersectionObserver(entries => this.seen(entries.at(-1)!.isIntersecting), { rootMargin: `${group.options.heightPixels}px` }).observe(this.element);
  }

  setData(data: ChartData<Key>, isNews: boolean): void {
    this.data = data;
    this.named = this.spec.lines.filter(line => !line.optional || this.hasValues(line));
    this.element.hidden = !!this.spec.optional && !this.spec.lines.some(line => this.hasValues(line));
    this.spec.lines.forEach((line, index) => ((this.entries[index] as HTMLElement).hidden = !this.named.includes(line)));
    this.redraw();
    this.tell(isNews);
  }

  get levelShown(): number | null {
    return this.level;
  }

  setLevel(level: number | null): void {
    if (level === this.level) return;
    this.level = level;
    this.redraw();
  }

  redraw(): void {
    this.isStale = true;
    this.group.turns.ask(this);
  }

  recolour(): void {
    recolour(this.element);
    this.redraw();
  }

  /** Has the values at the cursor shown. */
  tell(isNews = false): void {
    this.isNews &&= isNews;
    this.group.turns.ask(this);
  }

  get isUsed(): boolean {
    return this.plot.matches(':hover, :focus');
  }

  /** Shows what has changed. */
  update(): void {
    const { data, group } = this;
    if (!data) return;
    if (this.isStale && (this.isSeen || !this.uplot)) this.draw();
    if (group.pointedChart !== this) this.placeCursor(group.cursorIndex);
    this.describe(data, group.cursorIndex ?? group.lastIndex);
  }

  private draw(): void {
    this.isStale = false;
    if (this.built !== this.shape()) this.destroy();
    const { uplot } = this;
    if (uplot) uplot.batch(() => uplot.setData(this.lines()));
    else this.resize(this.plot.clientWidth);
    this.fillTable();
    // A new plot has its scales when it has been drawn.
    queueMicrotask(() => this.tellLeftOut());
  }

  private placeCursor(index: number | null): void {
    const { uplot } = this;
    if (uplot?.status !== 1) return;
    const x = index === null ? undefined : this.group.x[index];
    const left = x === undefined ? -10 : uplot.valToPos(x, 'x');
    uplot.setCursor({ left, top: left < 0 ? -10 : 4 }, false);
  }

  /** Shows one point's values in the legend and to assistive technology, which is not told every new step. */
  private describe(data: ChartData<Key>, index: number): void {
    const { isNews } = this;
    this.isNews = true;
    const texts = this.spec.lines.map(line => {
      const shown = (isAveraged(line) && data.smoothed) || data.values;
      return line.format(valueAt(shown[line.key], index, line.sparse));
    });
    if (this.isSeen) this.values.forEach((element, at) => setText(element, texts[at] ?? ''));
    const x = data.x[index] ?? 0;
    const layer = this.spec.layer?.tell(x);
    if (isNews && document.activeElement === this.plot) return;
    const { title, format } = this.group.options.axis;
    const named = this.spec.lines.flatMap((line, at) => (this.named.includes(line) ? [`${line.title ?? line.label} ${texts[at]}`.trim()] : []));
    if (layer) named.push(layer);
    this.plot.setAttribute('aria-valuemin', String(data.x[0] ?? 0));
    this.plot.setAttribute('aria-valuemax', String(data.x.at(-1) ?? 0));
    this.plot.setAttribute('aria-valuenow', String(x));
    this.plot.setAttribute('aria-valuetext', `${title} ${format(x)}: ${named.join(', ')}`);
  }

  private seen(isSeen: boolean): void {
    this.isSeen = isSeen;
    if (isSeen) this.group.turns.ask(this);
  }

  private legendEntry(line: LineSpec<Key>, index: number): HTMLElement {
    const swatch = line.points ? h('span', { class: `swatch ${line.points}`, attributes: { 'data-colour': line.colour } }) : lineSample(line.colour, line.dash);
    swatch.style.color = themeColour(line.colour);
    return h('span', { class: 'legend-entry', title: line.title }, swatch, line.label, this.values[index]);
  }

  private hasValues({ key }: LineSpec<Key>): boolean {
    return this.data?.values[key].some(value => typeof value === 'number') ?? false;
  }

  private onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { group } = this;
    const moves: Record<string, () => void> = {
      ArrowLeft: () => group.step(-1),
      ArrowRight: () => group.step(1),
      PageUp: () => group.step(-10),
      PageDown: () => group.step(10),
      Home: () => group.moveCursor(group.firstIndex),
      End: () => group.moveCursor(group.lastIndex),
      Escape: () => (group.range ? group.zoom(null) : group.moveCursor(null)),
      Enter: () => group.select(group.cursorIndex ?? group.lastIndex, this),
      ' ': () => group.select(group.cursorIndex ?? group.lastIndex, this),
    };
    const zooms: Record<string, () => void> = {
      '+': () => group.zoomBy(0.5, this.middle()),
      '=': () => group.zoomBy(0.5, this.middle()),
      '-': () => group.zoomBy(2, this.middle()),
      '0': () => group.zoom(null),
      ...(event.shiftKey && { ArrowLeft: () => group.pan(-0.2), ArrowRight: () => group.pan(0.2) }),
    };
    const move = (group.options.onZoom && zooms[event.key]) ?? moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  }

  /** Where the keyboard zooms: at the cursor, if it is to be seen. */
  private middle(): number {
    const { group } = this;
    const [from, to] = group.range ?? group.whole ?? [0, 1];
    const x = group.cursorIndex === null ? undefined : group.x[group.cursorIndex];
    return x !== undefined && x >= from && x <= to ? x : (from + to) / 2;
  }

  private get isLogarithmic(): boolean {
    return !!this.spec.logarithmic && this.group.display.logarithmic;
  }

  /** What the plot has to be made anew for. */
  private shape(): string {
    return [this.isLogarithmic, !!this.data?.smoothed].join();
  }

  private lines(): uPlot.AlignedData {
    const { data } = this;
    if (!data) return [[]];
    const drawn = (values: Cell[]) => (this.isLogarithmic ? positive(values) : values);
    const { values, smoothed } = data;
    const raw = this.spec.lines.map(({ key }) => drawn(values[key]));
    const average = smoothed ? this.spec.lines.filter(isAveraged).map(({ key }) => drawn(smoothed[key])) : [];
    return [data.x, ...raw, ...average];
  }

  private ends(): Range {
    const x = this.data?.x ?? [];
    const [low, high] = [x[0] ?? 0, x.at(-1) ?? 1];
    return low === high ? [low - 0.5, high + 0.5] : [low, high];
  }

  private resize(width: number): void {
    if (width < 40 || !this.data) return;
    const { heightPixels } = this.group.options;
    if (this.uplot) this.uplot.setSize({ width, height: heightPixels });
    else this.uplot = this.create(width, heightPixels);
  }

  private destroy(): void {
    this.uplot?.destroy();
    this.uplot = undefined;
  }

  private create(width: number, height: number): uPlot {
    const { spec, group } = this;
    const { axis, axisPixels, onZoom } = group.options;
    this.built = this.shape();
    const look = {
      stroke: () => themeColour('--vscode-descriptionForeground'),
      grid: { stroke: () => themeColour('--sft-grid'), width: 1 },
      ticks: { show: false },
      font: `10px ${themeColour('--vscode-font-family')}`,
    };
    const options: uPlot.Options = {
      width,
      height,
      padding: [6, 12, 0, 0],
      legend: { show: false },
      cursor: {
        drag: { x: !!onZoom, y: false, dist: 5, setScale: false },
        y: false,
        points: { size: 6 },
        bind: {
          mousedown: (plot, _, handler) => event => {
            if (onZoom && event.shiftKey) this.dragAlong(plot, event);
            else handler(event);
            return null;
          },
          dblclick: () => () => {
            if (onZoom) group.zoom(null);
            return null;
          },
        },
      },
      scales: {
        x: { time: false, range: () => group.range ?? this.ends() },
        y: {
          ...(this.isLogarithmic && { distr: 3, log: 10 }),
          range: (plot, low, high) => this.rangeOfValues(plot, low, high),
        },
        own: { range: (_, low, high) => paddedRange(low, high) },
      },
      axes: [
        { ...look, size: 20, gap: 4, space: 48, ...(axis.whole && { incrs: stepsBetweenTicks }), values: (_, ticks) => ticks.map(axis.tick ?? (tick => written(String(tick)))) },
        { ...look, size: axisPixels, gap: 4, space: 26, values: (_, ticks) => ticks.map(tick => (tick === null || (this.isLogarithmic && !isRound(tick)) ? '' : (spec.axis ?? shortNumber)(tick))) },
      ],
      series: [
        {},
        ...spec.lines.map(line => (this.data?.smoothed && isAveraged(line) ? { ...this.lineOf(line, 1), alpha: 0.35, dash: [] } : this.lineOf(line, line.thin ? 1 : 1.5))),
        ...(this.data?.smoothed ? spec.lines.filter(isAveraged).map(line => this.lineOf(line, line.thin ? 1 : 2)) : []),
      ],
      hooks: {
        setCursor: [
          plot => {
            // Only what the mouse does in this chart; the group tells the others.
            if (this.plot.matches(':hover')) group.moveCursor(plot.cursor.idx ?? null, this);
          },
        ],
        setSelect: [
          plot => {
            const { left, width: selected } = plot.select;
            if (!onZoom || selected <= 0) return;
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            group.zoom([plot.posToVal(left, 'x'), plot.posToVal(left + selected, 'x')]);
          },
        ],
        drawClear: [plot => spec.layer?.draw(plot)],
        draw: [plot => this.drawLevel(plot), plot => this.drawMarks(plot), plot => this.drawSelection(plot)],
      },
    };
    const plot = new uPlot(options, this.lines(), this.plot);
    plot.over.addEventListener('click', event => {
      if (typeof plot.cursor.idx === 'number' && !event.shiftKey) group.select(plot.cursor.idx, this);
    });
    plot.over.addEventListener('mouseleave', () => group.moveCursor(null));
    if (onZoom) plot.over.addEventListener('wheel', event => this.onWheel(plot, event), { passive: false });
    return plot;
  }

  private lineOf(line: LineSpec<Key>, width: number): uPlot.Series {
    return {
      label: line.label,
      scale: line.ownScale ? 'own' : 'y',
      stroke: () => themeColour(line.colour),
      ...(line.points ? { width: 0 } : { width, paths: linePath(width) }),
      ...(line.dash && { dash: line.dash }),
      spanGaps: line.sparse ?? false,
      points: pointsOf(line),
    };
  }

  /** The page scrolls by the wheel alone; with a key it is the chart that is meant. */
  private onWheel(plot: uPlot, event: WheelEvent): void {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const turned = Math.sign(event.deltaY || event.deltaX);
    if (event.ctrlKey) this.group.zoomBy(turned > 0 ? 1.25 : 0.8, plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, 'x'));
    else this.group.pan(0.1 * turned);
  }

  private dragAlong(plot: uPlot, down: MouseEvent): void {
    const width = plot.over.clientWidth;
    let last = down.clientX;
    const move = (event: MouseEvent) => {
      this.group.pan((last - event.clientX) / width);
      last = event.clientX;
    };
    document.addEventListener('mousemove', move);
    document.addEventListener('mouseup', () => document.removeEventListener('mousemove', move), { once: true });
  }

  private rangeOfValues(plot: uPlot, low: number | null, high: number | null): Range {
    const { range } = this.spec;
    this.outside = 0;
    if (range) return [range[0], Math.max(range[1], 1.06 * Math.max(high ?? 0, this.level ?? 0))];
    const clipped = this.group.display.clipped ? this.clippedRange(plot) : null;
    const ends = [...(clipped ?? [low, high]), this.level].filter(value => value !== null);
    const [least, most] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [null, null];
    if (!this.isLogarithmic) return paddedRange(least, most);
    return least === null || least <= 0 ? [0.1, 10] : [least / 1.15, most * 1.15];
  }

  /** What all but the most extreme of the shown values lie in; counts the others. */
  private clippedRange(plot: uPlot): Range | null {
    const shown = this.shownValues(plot);
    const range = percentiles(shown, outermost);
    if (range) this.outside = shown.filter(value => value < range[0] || value > range[1]).length;
    return range;
  }

  private shownValues(plot: uPlot): number[] {
    const { min, max } = plot.scales['x']!;
    const x = this.data?.x ?? [];
    const inside = (_: unknown, index: number) => x[index]! >= (min ?? -Infinity) && x[index]! <= (max ?? Infinity);
    return this.lines()
      .slice(1, 1 + this.spec.lines.length)
      .filter((_, index) => !this.spec.lines[index]!.ownScale)
      .flatMap(values => (values as Cell[]).filter(inside).filter(value => typeof value === 'number'));
  }

  /** How many of the drawn points are not to be seen. */
  private tellLeftOut(): void {
    const { data, group } = this;
    if (!data) return;
    const [from, to] = group.range ?? [-Infinity, Infinity];
    const hidden = !this.isLogarithmic
      ? 0
      : this.spec.lines.flatMap(({ key }) => data.values[key].filter((value, index) => typeof value === 'number' && value <= 0 && data.x[index]! >= from && data.x[index]! <= to)).length;
    const { outside } = this;
    const texts = [
      hidden && (isOne(hidden) ? l10n.t`${integer(hidden)} point ≤ 0 not drawn` : l10n.t`${integer(hidden)} points ≤ 0 not drawn`),
      outside && (isOne(outside) ? l10n.t`${integer(outside)} drawn point outside` : l10n.t`${integer(outside)} drawn points outside`),
    ];
    setText(this.note, texts.filter(Boolean).join(' · '));
    this.note.hidden = !this.note.textContent;
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
    const { data, group, spec } = this;
    if (!this.table.open || !data) return;
    this.table.querySelector('.table')?.remove();
    const table = spec.layer ? spec.layer.table(...(group.range ?? this.ends())) : this.lastSteps(data);
    this.table.append(h('div', { class: 'table', attributes: { tabindex: '0' } }, table));
  }

  private lastSteps(data: ChartData<Key>): HTMLElement {
    const { axis, tableRows } = this.group.options;
    const lines = this.named;
    const [first, last] = [this.group.firstIndex, this.group.lastIndex];
    const indices = Array.from({ length: Math.min(tableRows, last - first + 1) }, (_, index) => last - index);
    const head = h('tr', {}, ...[axis.title, ...lines.map(line => line.label || this.spec.title)].map(text => h('th', { attributes: { scope: 'col' } }, text)));
    const rows = indices.map(index =>
      h('tr', {}, h('td', {}, axis.format(data.x[index]!)), ...lines.map(line => h('td', {}, line.format(data.values[line.key][index] ?? null)))),
    );
    return h('table', { class: 'numbers' }, h('thead', {}, head), h('tbody', {}, ...rows));
  }
}

/** Points are not, nor what has no noise. */
const isAveraged = ({ points, exact }: LineSpec<string>): boolean => !points && !exact;
