/** How many rows of which risk over the steps, as coloured cells below a chart's lines. */
import * as l10n from '@vscode/l10n';
import type uPlot from 'uplot';
import { riskBins, riskyFrom, type RiskMap } from '../../src/views/panelProtocol';
import { capitalised } from '../../src/trainerHost/words';
import { isOne } from '../../src/common/language';
import { h, setText } from '../common/dom';
import { hundredths, integer, tenths } from '../../src/common/format';
import type { ChartCells } from '../../src/report/svgChart';
import type { Layer } from './chartSpec';
import { themeColour } from './theme';

const faintest = 0.28;
const tableRows = 20;

const binName = (bin: number): string => `${tenths(bin / riskBins)}–${tenths((bin + 1) / riskBins)}`;

interface Column {
  first: number;
  last: number;
  counts: readonly number[];
}

export class HeatMap implements Layer {
  readonly legend: HTMLElement;
  private readonly here = h('span', { class: 'number' });
  private readonly most = h('span', { class: 'number' }, '–');
  private columns: Column[] = [];
  private highest = 0;
  private riskyFrom = riskyFrom(0.5);

  constructor() {
    const scale = h('span', { class: 'heat-scale', attributes: { 'aria-hidden': 'true' } });
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const cell = scale.appendChild(h('span', {}));
      cell.style.opacity = String(opacity(share));
    }
    this.legend = h('span', { class: 'legend-entry heat-legend' }, this.here, h('span', { class: 'legend-entry' }, l10n.t('rows 1'), scale, this.most));
  }

  update({ first, last, counts }: RiskMap, threshold: number): void {
    this.columns = first.map((step, column) => ({ first: step, last: last[column]!, counts: counts.slice(column * riskBins, (column + 1) * riskBins) }));
    this.highest = counts.reduce((most, rows) => Math.max(most, rows), 0);
    this.riskyFrom = riskyFrom(threshold);
    setText(this.most, integer(this.highest));
  }

  draw(plot: uPlot): void {
    const { ctx, bbox } = plot;
    const colours = [themeColour('--vscode-charts-blue'), themeColour('--vscode-charts-red')] as const;
    const outlined = /high-contrast/.test(document.body.className);
    const [low, high] = [plot.scales['x']!.min ?? 0, plot.scales['x']!.max ?? 0];
    const edges = Array.from({ length: riskBins + 1 }, (_, bin) => Math.round(plot.valToPos(bin / riskBins, 'y', true)));
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const { first, last, counts } of this.columns) {
      if (last + 0.5 < low || first - 0.5 > high) continue;
      const left = plot.valToPos(first - 0.5, 'x', true);
      const width = plot.valToPos(last + 0.5, 'x', true) - left;
      // Whole pixels, and a gap between cells where there is room for one.
      const [from, to] = [Math.round(left), Math.max(Math.round(left) + 1, Math.round(left + width) - (width > 4 * devicePixelRatio ? 1 : 0))];
      counts.forEach((rows, bin) => {
        if (rows === 0) return;
        const [top, bottom] = [edges[bin + 1]!, edges[bin]! - 1];
        const colour = colours[bin >= this.riskyFrom ? 1 : 0];
        ctx.globalAlpha = opacity(this.shareOf(rows));
        ctx.fillStyle = colour;
        ctx.fillRect(from, top, to - from, bottom - top);
        if (!outlined || to - from < 4) return;
        ctx.globalAlpha = 1;
        ctx.strokeStyle = colour;
        ctx.lineWidth = 1;
        ctx.strokeRect(from + 0.5, top + 0.5, to - from - 1, bottom - top - 1);
      });
    }
    ctx.restore();
  }

  tell(x: number): string {
    const column = this.columns.find(({ first, last }) => x >= first && x <= last);
    if (!column) return '';
    setText(this.here, this.inWords(column));
    const rows = column.counts.flatMap((n, bin) => (n > 0 ? [isOne(n) ? l10n.t`${integer(n)} row of risk ${binName(bin)}` : l10n.t`${integer(n)} rows of risk ${binName(bin)}`] : []));
    return `${whereIs(column)}: ${rows.reverse().join(', ')}`;
  }

  picture(from: number, to: number): { cells: ChartCells[]; description: string } {
    const shown = this.shownBetween(from, to);
    const cellsOf = (isRisky: boolean) =>
      shown.flatMap(({ first, last, counts }) =>
        counts.flatMap((rows, bin) =>
          rows > 0 && bin >= this.riskyFrom === isRisky ? [{ x: [first - 0.5, last + 0.5] as const, y: [bin / riskBins, (bin + 1) / riskBins] as const, strength: opacity(this.shareOf(rows)) }] : [],
        ),
      );
    const threshold = hundredths(this.riskyFrom / riskBins);
    return {
      cells: [
        { label: l10n.t`rows below ${threshold}`, colour: 'blue', cells: cellsOf(false) },
        { label: l10n.t`rows at or above ${threshold}`, colour: 'red', cells: cellsOf(true) },
      ],
      description: shown.length ? `${capitalised(this.inWords(together(shown)))}.` : '',
    };
  }

  private inWords(column: Column): string {
    const risky = column.counts.reduce((sum, rows, bin) => sum + (bin >= this.riskyFrom ? rows : 0), 0);
    const all = column.counts.reduce((sum, rows) => sum + rows, 0);
    const threshold = hundredths(this.riskyFrom / riskBins);
    const where = whereIs(column);
    return isOne(all) ? l10n.t`${where}: ${integer(risky)} of ${integer(all)} row at or above ${threshold}` : l10n.t`${where}: ${integer(risky)} of ${integer(all)} rows at or above ${threshold}`;
  }

  private shownBetween(from: number, to: number): Column[] {
    return this.columns.filter(({ first, last }) => last >= from && first <= to);
  }

  /** Newest first; neighbouring columns in one line where they are many. */
  table(from: number, to: number): HTMLElement {
    const shown = this.shownBetween(from, to);
    const each = Math.max(1, Math.ceil(shown.length / tableRows));
    const lines = Array.from({ length: Math.ceil(shown.length / each) }, (_, line) => together(shown.slice(line * each, (line + 1) * each))).reverse();
    const heads = [l10n.t('Steps'), ...Array.from({ length: riskBins }, (_, bin) => binName(bin))];
    return h(
      'table',
      { class: 'numbers' },
      h('thead', {}, h('tr', {}, ...heads.map(text => h('th', { attributes: { scope: 'col' } }, text)))),
      h('tbody', {}, ...lines.map(({ first, last, counts }) => h('tr', {}, h('td', {}, first === last ? String(first) : `${first}–${last}`), ...counts.map(rows => h('td', {}, integer(rows)))))),
    );
  }

  /** By the logarithm: a few risky rows among many are to be seen. */
  private shareOf(rows: number): number {
    return this.highest > 1 ? Math.log(rows) / Math.log(this.highest) : 1;
  }
}

const whereIs = ({ first, last }: Column): string => (first === last ? l10n.t`step ${first}` : l10n.t`steps ${first}–${last}`);

const opacity = (share: number): number => faintest + (1 - faintest) * share;

function together(columns: readonly Column[]): Column {
  const counts = Array.from({ length: riskBins }, (_, bin) => columns.reduce((sum, column) => sum + (column.counts[bin] ?? 0), 0));
  return { first: columns[0]!.first, last: columns.at(-1)!.last, counts };
}
