/** A chart over the steps of runs, by mouse or keyboard, in the theme's colours. */
import * as l10n from '@vscode/l10n';
import uPlot from 'uplot';
import { isOne } from '../../src/common/language';
import { h, setText } from '../common/dom';
import { integer } from '../../src/common/format';
import type { ChartGroup } from './chartGroup';
import { hasValues, isAveraged, isShown, type Cell, type ChartData, type ChartSpec, type LineSpec, type Range } from './chartSpec';
import { drawAcross, drawAtStep, valueAt } from './drawing';
import { dragging, followMouse, onKey, showSelected } from './gestures';
import { lineSample } from './lineSample';
import { axesOf, scalesOf, seriesOf, type Build } from './plotOptions';
import { stepsTable } from './stepsTable';
import { recolour, themeColour } from './theme';
import { positive } from './values';
import { valueScale } from './valueScale';

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
  private built: Build = { isLogarithmic: false, isSmoothed: false };
  /** It is on the screen or nearly so: only then what can be seen is kept up to date. */
  private isSeen = true;
  /** Of each line, its value as the legend is to show it. */
  private texts: string[] = [];
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
    this.plot.addEventListener('keydown', event => onKey(event, group, this.select));
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
    this.named = this.spec.lines.filter(line => !line.optional || hasValues(line, data));
    this.element.hidden = !isShown(this.spec, data);
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
    const { built, wanted } = this;
    if (built.isLogarithmic !== wanted.isLogarithmic || built.isSmoothed !== wanted.isSmoothed) this.destroy();
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
    const texts = (this.texts = this.spec.lines.map(line => {
      const shown = (isAveraged(line) && data.smoothed) || data.values;
      return line.format(valueAt(shown[line.key], index));
    }));
    if (this.isSeen) this.fillLegend();
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
    if (!isSeen) return;
    this.fillLegend();
    this.group.turns.ask(this);
  }

  private fillLegend(): void {
    this.texts.forEach((text, line) => setText(this.values[line]!, text));
  }

  private legendEntry(line: LineSpec<Key>, index: number): HTMLElement {
    const swatch = line.points ? h('span', { class: `swatch ${line.points}`, attributes: { 'data-colour': line.colour } }) : lineSample(line.colour, line.dash);
    swatch.style.color = themeColour(line.colour);
    return h('span', { class: 'legend-entry', title: line.title }, swatch, line.label, this.values[index]);
  }

  private get isLogarithmic(): boolean {
    return !!this.spec.logarithmic && this.group.display.logarithmic;
  }

  /** What the plot has to be made anew for. */
  private get wanted(): Build {
    return { isLogarithmic: this.isLogarithmic, isSmoothed: !!this.data?.smoothed };
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
    const { spec, group, wanted } = this;
    this.built = wanted;
    const plot = new uPlot(
      {
        width,
        height,
        padding: [6, 12, 0, 0],
        legend: { show: false },
        cursor: { ...dragging(group), y: false, points: { size: 6 } },
        scales: scalesOf(wanted, { x: () => group.range ?? this.ends(), y: (plot, low, high) => this.rangeOfValues(plot, low, high) }),
        axes: axesOf(spec, wanted, group.options),
        series: seriesOf(spec, wanted),
        hooks: {
          // Only what the mouse does in this chart; the group tells the others.
          setCursor: [({ cursor }) => this.plot.matches(':hover') && group.moveCursor(cursor.idx ?? null, this)],
          setSelect: [plot => showSelected(plot, group)],
          drawClear: [plot => spec.layer?.draw(plot)],
          draw: [plot => this.drawOver(plot)],
        },
      },
      this.lines(),
      this.plot,
    );
    followMouse(plot, group, this.select);
    return plot;
  }

  private readonly select = (index: number): void => this.group.select(index, this);

  /** Level, marks and the selected step. */
  private drawOver(plot: uPlot): void {
    const { level, group } = this;
    if (level !== null) drawAcross(plot, level, '--vscode-descriptionForeground', [4, 4]);
    for (const { step, alarm } of group.marks) drawAtStep(plot, step, alarm ? '--vscode-charts-red' : '--vscode-charts-foreground', [2, 3]);
    if (group.selectedStep !== undefined) drawAtStep(plot, group.selectedStep, '--vscode-focusBorder', []);
  }

  private rangeOfValues(plot: uPlot, low: number, high: number): Range {
    const { spec, level, isLogarithmic } = this;
    const clipped = this.group.display.clipped ? this.shownValues(plot) : null;
    const { range, outside } = valueScale({ low, high, least: spec.range, level, isLogarithmic, clipped });
    this.outside = outside;
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

  private fillTable(): void {
    const { data, group, spec } = this;
    if (!this.table.open || !data) return;
    this.table.querySelector('.table')?.remove();
    const table = spec.layer ? spec.layer.table(...(group.range ?? this.ends())) : stepsTable(spec, this.named, data, group);
    this.table.append(h('div', { class: 'table', attributes: { tabindex: '0' } }, table));
  }
}
