/** The charts of a page: one cursor and one zoom for all of them. */
import * as l10n from '@vscode/l10n';
import { h } from '../common/dom';
import { Chart } from './chart';
import type { ChartData, ChartSpec, Display, GroupOptions, Mark, Range } from './chartSpec';
import { pictureOf } from './picture';
import { onThemeChange } from './theme';
import { Turns } from './turns';

/** They share their steps, the cursor, the zoom and the selected step. */
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
