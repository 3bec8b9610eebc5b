/** What charts show, and how. */
import type uPlot from 'uplot';
import type { ChartCells } from '../../src/report/svgChart';
import type { Cell } from './values';

export type { Cell };

export interface LineSpec<Key extends string> {
  key: Key;
  label: string;
  /** Where the label is short. */
  title?: string;
  /** Not named where no step has a value. */
  optional?: boolean;
  /** A colour of the theme. */
  colour: string;
  /** The lines of a chart differ by more than their colour (WCAG 2.2, 1.4.1). */
  dash?: number[] | undefined;
  /** Only points: for values that jump from step to step. A ring can be seen around a dot. */
  points?: 'dot' | 'ring';
  /** Values between gaps are points: a line cannot show them. */
  marked?: boolean;
  /** Has a value at some steps only; the line goes through. */
  sparse?: boolean;
  /** Not what the chart is about. */
  thin?: boolean;
  /** Without noise: never smoothed. */
  exact?: boolean;
  /** Lines of another size have a scale of their own, without an axis. */
  ownScale?: boolean;
  format: (value: number | null) => string;
}

/** Points are not, nor what has no noise. */
export const isAveraged = ({ points, exact }: LineSpec<string>): boolean => !points && !exact;

export interface ChartSpec<Key extends string> {
  title: string;
  /** What the title does not say. */
  hint?: string;
  lines: LineSpec<Key>[];
  /** Not shown where no step has a value. */
  optional?: boolean;
  /** What the axis shows at least; otherwise the values decide. */
  range?: [number, number];
  /** May be drawn on a logarithmic scale. */
  logarithmic?: boolean;
  /** How the axis writes its numbers. */
  axis?: (value: number) => string;
  /** As wide as the page, where charts stand side by side. */
  wide?: boolean;
  layer?: Layer;
}

/** What else a chart shows, below its lines. */
export interface Layer {
  draw(plot: uPlot): void;
  /** Beside the title. */
  legend: HTMLElement;
  /** Has its legend say what is at a place on the axis, and says it in words. */
  tell(x: number): string;
  /** Of a part of the axis, where it has a table of its own. */
  table(from: number, to: number): HTMLElement;
  /** Of a part of the axis, for a picture, and the same in words. */
  picture(from: number, to: number): { cells: ChartCells[]; description: string };
}

export interface ChartData<Key extends string> {
  x: number[];
  values: Record<Key, Cell[]>;
  /** The same, smoothed: drawn with the values behind. */
  smoothed: Record<Key, Cell[]> | null;
}

export const hasValues = <Key extends string>({ key }: LineSpec<Key>, { values }: Pick<ChartData<Key>, 'values'>): boolean => values[key].some(value => typeof value === 'number');

export const isShown = <Key extends string>({ optional, lines }: ChartSpec<Key>, data: Pick<ChartData<Key>, 'values'>): boolean => !optional || lines.some(line => hasValues(line, data));

/** Something that was done at a step. */
export interface Mark {
  step: number;
  alarm: boolean;
}

/** How values are drawn. */
export interface Display {
  logarithmic: boolean;
  /** The axis reaches over all values but the most extreme. */
  clipped: boolean;
}

export type Range = [number, number];

export interface GroupOptions<Key extends string> {
  /** A point was chosen. */
  onSelect?: (x: number, chart: HTMLElement) => void;
  /** Allows zooming; `null` is everything. */
  onZoom?: (range: Range | null) => void;
  heightPixels?: number;
  /** For the numbers beside the plot. */
  axisPixels?: number;
  tableRows?: number;
  /** The x axis in a word and how its values are told. */
  axis?: { title: string; /** The same within a sentence. */ word: string; /** Counts something. */ whole?: boolean; format: (x: number) => string; tick?: (x: number) => string; /** What a picture counts in, where that is another unit. */ unit?: { title: string; size: number } };
  /** Buttons of a chart. */
  actions?: (spec: ChartSpec<Key>) => HTMLElement[];
}
