/**
 * Draws a line chart as SVG. Pure, without a library, so that a report needs neither script nor network and the
 * same text can be saved as a file.
 *
 * Values are plain lists of numbers, one per x; null, NaN and infinity are gaps. Every point is drawn: whoever has
 * a million of them chooses some first. All texts are escaped.
 */
import { language } from '../common/language';
import { xml } from './escape';

/** As VS Code names the colours of charts; each has a light and a dark shade. */
export type ChartColour = keyof typeof palette;

export interface ChartLine {
  label: string;
  /** One for each x. */
  values: readonly (number | null)[];
  colour: ChartColour;
  /** Lengths of strokes and gaps, so that lines differ by more than their colour. */
  dash?: readonly number[];
  /** Points instead of a line, for values that jump. A ring can be seen around a dot. */
  points?: 'dot' | 'ring';
  /** Has a value at some x only: the line goes through where there is null, and its points are marked. */
  sparse?: boolean;
  /** Which axis it is measured on. */
  axis?: 'left' | 'right';
}

export interface ChartAxis {
  /** Unit or name, above the axis. */
  label?: string;
  /** A value that is not above 0 is a gap on a logarithmic axis. */
  scale?: 'linear' | 'log';
  /** From where to where; otherwise the values decide. What is outside is cut off. */
  range?: readonly [number, number];
}

export interface ChartMark {
  x: number;
  /** A word or a number, above the line. */
  label: string;
  /** What the label stands for: shown when pointed at, and read out. */
  meaning?: string;
  alarm?: boolean;
}

/** Rectangles below the lines: how much there is of something. */
export interface ChartCells {
  label: string;
  colour: ChartColour;
  cells: readonly ChartCell[];
}

export interface ChartCell {
  /** From and to, in values of each axis. */
  x: readonly [number, number];
  y: readonly [number, number];
  /** Up to 1, the full colour. */
  strength: number;
}

export interface ChartSpec {
  title: string;
  /** What the title does not say, for screen readers, which are told the lines' values in any case. */
  description?: string;
  x: readonly number[];
  xLabel?: string;
  cells?: readonly ChartCells[];
  lines: readonly ChartLine[];
  left?: ChartAxis;
  right?: ChartAxis;
  /** A value that the lines of the left axis are held against. */
  level?: { value: number; label: string };
  /** Vertical lines. */
  marks?: readonly ChartMark[];
  /** In pixels, 720 × 260 unless given; it scales to the width it is shown at. */
  width?: number;
  height?: number;
  /** `auto`: light or dark as the viewer prefers. */
  theme?: ChartTheme;
  /** Part of a page that has `svgChartStyle` in its style sheet, and a background. */
  embedded?: boolean;
}

export type ChartTheme = 'auto' | 'light' | 'dark';

/** Told apart by people who see colours differently, and at least 3:1 on their background. */
const palette = {
  foreground: ['#59626d', '#b9c1ca'],
  blue: ['#1f6fb4', '#6cb2f2'],
  red: ['#c8322b', '#f2837b'],
  yellow: ['#a87b00', '#e0b84a'],
  orange: ['#c2570c', '#f0a35c'],
  green: ['#2a7f3f', '#7bc98c'],
  purple: ['#7a4fb5', '#bd9bf0'],
} as const;

const surface = {
  text: ['#1f2328', '#e6e8eb'],
  quiet: ['#59626d', '#a3abb5'],
  grid: ['#e4e7eb', '#31373f'],
  background: ['#ffffff', '#16191d'],
} as const;

/** The style sheet of charts, for a page that holds several. */
export function svgChartStyle(theme: ChartTheme = 'auto'): string {
  const variables = (shade: 0 | 1) =>
    `.chart{${Object.entries({ ...palette, ...surface }).map(([name, shades]) => `--chart-${name}:${shades[shade]}`).join(';')}}`;
  const colours = theme === 'auto' ? `${variables(0)}@media screen and (prefers-color-scheme:dark){${variables(1)}}` : variables(theme === 'dark' ? 1 : 0);
  return (
    colours +
    '.chart{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}' +
    '.chart text{font-size:11px;fill:var(--chart-quiet)}.chart .chart-title{font-size:13px;font-weight:600;fill:var(--chart-text)}' +
    '.chart .chart-legend{fill:var(--chart-text)}.chart .chart-grid{stroke:var(--chart-grid);stroke-width:1}' +
    '.chart .chart-line{fill:none;stroke-width:1.5;stroke-linejoin:round}.chart .chart-dot{fill:none;stroke-width:4;stroke-linecap:round}' +
    '.chart .chart-ring{fill:none;stroke-width:1.25}.chart .chart-level{stroke-width:1.25;stroke-dasharray:6 4}' +
    '.chart .chart-mark{stroke-width:1;stroke-dasharray:2 3}.chart .chart-background{fill:var(--chart-background)}' +
    Object.keys(palette).map(name => `.chart .chart-${name}{stroke:var(--chart-${name})}.chart .chart-cell.chart-${name}{fill:var(--chart-${name});stroke:none}`).join('')
  );
}

const fontPixels = 11;
const rowPixels = 17;
const levelColour: ChartColour = 'foreground';
/** Room around a picture that stands for itself. */
const margin = 12;
/** So much of a point that lies on the edge of the plot is seen. */
const bleed = 3;

export function svgChart(spec: ChartSpec): string {
  const { width = 720, height = 260 } = spec;
  const onRight = spec.lines.filter(({ axis }) => axis === 'right');
  const onLeft = spec.lines.filter(line => !onRight.includes(line));
  const left = verticalScale(spec.left, onLeft, spec.level?.value);
  const right = onRight.length ? verticalScale(spec.right, onRight) : undefined;
  const x = horizontalScale(spec.x);
  const edge = spec.embedded ? 2 : margin;
  const legend = legendOf(spec, width, edge);
  const marks = (spec.marks ?? []).filter(mark => x.position(mark.x) >= 0 && x.position(mark.x) <= 1);
  const named = marks.length > 0;

  const plot = {
    left: edge + widest(left) + 8,
    right: right ? width - edge - widest(right) - 8 : width - margin,
    top: 24 + legend.rows * rowPixels + (spec.left?.label || spec.right?.label ? rowPixels : 0) + (named ? rowPixels : 0) + 10,
    bottom: height - margin - fontPixels - 6 - (spec.xLabel ? rowPixels : 0),
  };
  const at: Place = {
    x: value => Math.max(0, plot.right - plot.left) * x.position(value),
    y: (value, scale) => Math.max(0, plot.bottom - plot.top) * (1 - scale.position(value)),
    width: Math.max(0, plot.right - plot.left),
    height: Math.max(0, plot.bottom - plot.top),
  };
  const empty = left.empty && (right?.empty ?? true);
  const labelRow = plot.top - 13 - (named ? rowPixels : 0);

  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<title>${xml(spec.title)}</title><desc>${xml(describe({ ...spec, marks }))}</desc>`,
    spec.embedded ? '' : `<style>${svgChartStyle(spec.theme)}</style><rect class="chart-background" width="${width}" height="${height}"/>`,
    `<text class="chart-title" x="${edge}" y="18">${xml(spec.title)}</text>`,
    legend.drawn,
    axisName(spec.left?.label, edge, labelRow, 'start'),
    axisName(right && spec.right?.label, width - edge, labelRow, 'end'),
    ...left.ticks.map(({ value, label }) => {
      const y = round(plot.top + at.y(value, left));
      return (
        `<line class="chart-grid" x1="${round(plot.left)}" x2="${round(plot.right)}" y1="${y}" y2="${y}"/>` +
        `<text x="${round(plot.left - 8)}" y="${y + 4}" text-anchor="end">${xml(label)}</text>`
      );
    }),
    ...(right?.ticks ?? []).map(({ value, label }) => `<text x="${round(plot.right + 8)}" y="${round(plot.top + at.y(value, right!)) + 4}">${xml(label)}</text>`),
    ...x.ticks.map(({ value, label }) => `<text x="${round(Math.min(plot.left + at.x(value), width - textWidth(label) / 2))}" y="${round(plot.bottom + 18)}" text-anchor="middle">${xml(label)}</text>`),
    spec.xLabel ? `<text x="${round((plot.left + plot.right) / 2)}" y="${height - margin + 3}" text-anchor="middle">${xml(spec.xLabel)}</text>` : '',
    // An inner picture cuts off what is outside, without an id that another chart of the page might have as well.
    `<svg x="${round(plot.left - bleed)}" y="${round(plot.top - bleed)}" width="${round(at.width + 2 * bleed)}" height="${round(at.height + 2 * bleed)}" viewBox="${-bleed} ${-bleed} ${round(at.width + 2 * bleed)} ${round(at.height + 2 * bleed)}" overflow="hidden">`,
    ...(spec.cells ?? []).map(cells => drawnCells(cells, at, left)),
    ...marks.map(mark => drawnMark(mark, at)),
    spec.level && left.has(spec.level.value) ? drawnLevel(within(at.y(spec.level.value, left), at.height), at.width) : '',
    ...spec.lines.map(line => drawnLine(line, spec.x, at, onRight.includes(line) ? right! : left)),
    '</svg>',
    ...markNames(marks, at, plot),
    empty ? `<text x="${round((plot.left + plot.right) / 2)}" y="${round((plot.top + plot.bottom) / 2)}" text-anchor="middle">No values</text>` : '',
    '</svg>',
  ]
    .filter(Boolean)
    .join('\n');
}

/** From values to pixels of the plot. */
interface Place {
  x(value: number): number;
  y(value: number, scale: Scale): number;
  width: number;
  height: number;
}

const round = (pixels: number): number => Math.round(pixels * 10) / 10;

const axisName = (label: string | undefined, x: number, y: number, anchor: 'start' | 'end'): string =>
  label ? `<text x="${x}" y="${round(y)}" text-anchor="${anchor}">${xml(label)}</text>` : '';

// --- scales -------------------------------------------------------------------------------------------

interface Scale {
  /** From 0 to 1 within the range; NaN for a gap. */
  position(value: number): number;
  /** Whether the value can be drawn. */
  has(value: number | null): value is number;
  ticks: { value: number; label: string }[];
  empty: boolean;
}

const ticksDown = 5;
const ticksAcross = 8;

function verticalScale(axis: ChartAxis | undefined, lines: readonly ChartLine[], level?: number): Scale {
  const log = axis?.scale === 'log';
  const drawable = (value: number | null | undefined): value is number => Number.isFinite(value) && (!log || value! > 0);
  const values = lines.flatMap(line => line.values.filter(drawable));
  const given = axis?.range && axis.range.every(drawable) && axis.range[0] < axis.range[1] ? axis.range : undefined;
  const [low, high] = given ?? spread([...values, ...(drawable(level) ? [level] : [])], log ? [1, 10] : [0, 1]);
  return log ? logScale(low, high, values.length === 0) : linearScale(low, high, { ticks: ticksDown, nice: !given, empty: values.length === 0 });
}

function horizontalScale(values: readonly number[]): Scale {
  const [low, high] = spread(values.filter(Number.isFinite));
  return linearScale(low, high, { ticks: ticksAcross, whole: values.every(Number.isInteger), empty: values.length === 0 });
}

/** The lowest and the highest; no call with a value each, of which there may be too many. */
function spread(values: readonly number[], without: [number, number] = [0, 1]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return low <= high ? [low, high] : without;
}

interface LinearOptions {
  /** About how many. */
  ticks: number;
  /** The range goes on to the next tick. */
  nice?: boolean;
  /** Ticks at whole numbers only. */
  whole?: boolean;
  empty: boolean;
}

function linearScale(from: number, to: number, { ticks, nice = false, whole = false, empty }: LinearOptions): Scale {
  let [low, high] = apart(from, to, whole);
  const step = Math.max(whole ? 1 : 0, niceStep(high / ticks - low / ticks));
  if (nice) [low, high] = [Math.floor(low / step) * step, Math.ceil(high / step) * step].map(clamped) as [number, number];
  const first = Math.ceil(low / step - 1e-9);
  const values = Array.from({ length: 2 * ticks + 2 }, (_, index) => (first + index) * step).filter(value => Number.isFinite(value) && value <= high + step * 1e-9);
  return {
    position: value => (value / 2 - low / 2) / (high / 2 - low / 2),
    has: (value): value is number => Number.isFinite(value),
    ticks: values.map(value => ({ value, label: tickText(value, step) })),
    empty,
  };
}

function logScale(from: number, to: number, empty: boolean): Scale {
  const [low, high] = [Math.floor(Math.log10(from) + 1e-9), Math.ceil(Math.log10(to) - 1e-9)];
  const top = Math.max(high, low + 1);
  const every = Math.ceil((top - low) / (2 * ticksDown));
  const decades = Array.from({ length: Math.floor((top - low) / every) + 1 }, (_, index) => 10 ** (low + index * every));
  const values = (top - low <= 2 ? decades.flatMap(value => [value, 2 * value, 5 * value]) : decades).filter(value => value > 0 && Math.log10(value) <= top + 1e-9);
  return {
    position: value => (Math.log10(value) - low) / (top - low),
    has: (value): value is number => Number.isFinite(value) && value! > 0,
    ticks: values.map(value => ({ value, label: tickText(value, value) })),
    empty,
  };
}

/** Two ends that differ by more than their rounding. */
function apart(low: number, high: number, whole: boolean): [number, number] {
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (high / 2 - low / 2 > Math.max(size * 1e-9, 1e-290)) return [low, high];
  const room = whole && size < 1e9 ? 1 : size * 0.1 > 1e-280 ? size * 0.1 : 1;
  return [clamped(low - room), clamped(high + room)];
}

const clamped = (value: number): number => Math.min(Number.MAX_VALUE, Math.max(-Number.MAX_VALUE, value));

/** 1, 2 or 5 times a power of ten, not below `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return ([1, 2, 5].find(factor => factor * power >= least * (1 - 1e-9)) ?? 10) * power;
}

function tickText(value: number, step: number): string {
  const size = Math.abs(value);
  if (size < step * 1e-6) return '0';
  const text =
    step < 1e-4 || size >= 1e7
      ? rounded(size, 4).toExponential()
      : size.toLocaleString(language().tag, { minimumFractionDigits: decimalsOf(step), maximumFractionDigits: decimalsOf(step) });
  return (value < 0 ? '−' : '') + text.replace('e-', 'e−').replace('e+', 'e');
}

/** The largest of all numbers cannot be rounded up. */
function rounded(value: number, digits: number): number {
  const short = Number(value.toPrecision(digits));
  return Number.isFinite(short) ? short : value;
}

const decimalsOf = (step: number): number => Math.max(0, -Math.floor(Math.log10(step) + 1e-9));

// --- what is drawn ------------------------------------------------------------------------------------

/** Those of one strength are one path. */
function drawnCells({ colour, cells }: ChartCells, at: Place, scale: Scale): string {
  const paths = new Map<string, string>();
  for (const { x, y, strength } of cells) {
    const [left, right] = x.map(value => round(Math.min(at.width, Math.max(0, at.x(value)))));
    const [bottom, top] = y.map(value => round(Math.min(at.height, Math.max(0, at.y(value, scale)))));
    const opacity = strength.toFixed(2);
    if (right! > left!) paths.set(opacity, `${paths.get(opacity) ?? ''}M${left} ${top}H${right}V${bottom}H${left}Z`);
  }
  return [...paths].map(([opacity, path]) => `<path class="chart-cell chart-${colour}" fill-opacity="${opacity}" d="${path}"/>`).join('');
}

function drawnLine(line: ChartLine, xs: readonly number[], at: Place, scale: Scale): string {
  const pieces = piecesOf(line, xs, at, scale);
  const drawn: string[] = [];
  const draw = (kind: 'line' | 'dot' | 'ring', path: string) => {
    const dash = kind === 'line' && line.dash?.length ? ` stroke-dasharray="${line.dash.join(' ')}"` : '';
    if (path) drawn.push(`<path class="chart-${kind} chart-${line.colour}"${dash} d="${path}"/>`);
  };
  const points = (some: readonly (readonly string[])[]): string => some.flat().map(point => (line.points === 'ring' ? ringAt(point) : `M${point}h0`)).join('');
  if (line.points) {
    draw(line.points, points(pieces));
  } else {
    draw('line', pieces.filter(piece => piece.length > 1).map(piece => `M${piece.join('L')}`).join(''));
    draw('dot', points(line.sparse ? pieces : pieces.filter(piece => piece.length === 1)));
  }
  return drawn.join('');
}

/** The points as pixels, cut where there is a gap. */
function piecesOf(line: ChartLine, xs: readonly number[], at: Place, scale: Scale): string[][] {
  const pieces: string[][] = [[]];
  for (const [index, x] of xs.entries()) {
    const value = line.values[index] ?? null;
    if (Number.isFinite(x) && scale.has(value)) {
      pieces.at(-1)!.push(`${round(at.x(x))} ${round(within(at.y(value, scale), at.height))}`);
    } else if (!(line.sparse && value === null) && pieces.at(-1)!.length) {
      pieces.push([]);
    }
  }
  return pieces.filter(piece => piece.length > 0);
}

/** What is far outside is as well just outside: it is cut off, and its numbers stay short. */
const within = (y: number, height: number): number => Math.min(2 * height + 1, Math.max(-height - 1, y));

const ringAt = (point: string): string => `M${point}m-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0`;

const drawnLevel = (y: number, width: number): string =>
  `<line class="chart-level chart-${levelColour}" x1="0" x2="${round(width)}" y1="${round(y)}" y2="${round(y)}"/>`;

const markColour = ({ alarm }: ChartMark): ChartColour => (alarm ? 'red' : 'foreground');

const drawnMark = (mark: ChartMark, at: Place): string =>
  `<line class="chart-mark chart-${markColour(mark)}" x1="${round(at.x(mark.x))}" x2="${round(at.x(mark.x))}" y1="0" y2="${round(at.height)}"/>`;

/** Above their lines, from left to right; one that would stand on another is left out, its line is not. */
function markNames(marks: readonly ChartMark[], at: Place, plot: { left: number; top: number }): string[] {
  let free = -Infinity;
  return [...marks]
    .sort((a, b) => a.x - b.x)
    .map(mark => {
      const label = shortened(mark.label);
      const x = plot.left + at.x(mark.x);
      if (x - textWidth(label) / 2 < free) return '';
      free = x + textWidth(label) / 2 + 4;
      const meaning = mark.meaning ? `<title>${xml(mark.meaning)}</title>` : '';
      return `<text x="${round(x)}" y="${round(plot.top - 6)}" text-anchor="middle">${meaning}${xml(label)}</text>`;
    });
}

function legendOf({ cells = [], lines, level }: ChartSpec, width: number, edge: number): { rows: number; drawn: string } {
  const entries: (Pick<ChartLine, 'label' | 'colour' | 'dash' | 'points' | 'sparse'> & { isLevel?: boolean; isCell?: boolean })[] = [
    ...cells.map(({ label, colour }) => ({ label, colour, isCell: true })),
    ...lines.filter(({ label }) => label),
    ...(level && Number.isFinite(level.value) ? [{ label: level.label, colour: levelColour, isLevel: true }] : []),
  ];
  let [x, row] = [edge, 0];
  const drawn = entries.map(({ label, isLevel, isCell, ...entry }) => {
    const text = shortened(label);
    const needed = 24 + textWidth(text) + 16;
    if (x > edge && x + needed > width) [x, row] = [edge, row + 1];
    const y = 24 + row * rowPixels + 12;
    const place: Place = { x: value => x + 18 * value, y: () => y - 4, width: 18, height: Infinity };
    const swatch = isCell
      ? `<rect class="chart-cell chart-${entry.colour}" x="${round(x + 4)}" y="${y - 9}" width="10" height="10"/>`
      : isLevel
      ? `<line class="chart-level chart-${levelColour}" x1="${round(x)}" x2="${round(x + 18)}" y1="${y - 4}" y2="${y - 4}"/>`
      : drawnLine({ ...entry, label, values: entry.points ? [0] : [0, 0] }, entry.points ? [0.5] : [0, 1], place, anyValue);
    const name = `<text class="chart-legend" x="${round(x + 24)}" y="${y}">${xml(text)}</text>`;
    x += needed;
    return swatch + name;
  });
  return { rows: entries.length ? row + 1 : 0, drawn: drawn.join('\n') };
}

const anyValue: Scale = { position: () => 0, has: (value): value is number => value !== null, ticks: [], empty: false };

const longestLabel = 48;
const shortened = (text: string): string => ([...text].length > longestLabel ? `${[...text].slice(0, longestLabel - 1).join('')}…` : text);

const widest = ({ ticks }: Scale): number => ticks.reduce((most, { label }) => Math.max(most, textWidth(label)), 0);

/** About: the font is the viewer's. */
const textWidth = (text: string): number => [...text].reduce((sum, character) => sum + fontPixels * (character > '\u2e7f' ? 1 : 0.62), 0);

/** The chart in words: each line's way from its first value to its last. */
function describe({ description, lines, level, marks = [], x, xLabel }: ChartSpec): string {
  const number = (value: number): string => String(rounded(value, 3)).replace('-', '−');
  const [from, to] = spread(x.filter(Number.isFinite));
  const told = lines.map(({ label, values }) => {
    const there = values.filter((value): value is number => Number.isFinite(value));
    const [low, high] = spread(there);
    const name = label || 'The line';
    return there.length ? `${name}: from ${number(there[0]!)} to ${number(there.at(-1)!)}, lowest ${number(low)}, highest ${number(high)}.` : `${name}: no values.`;
  });
  return [
    description ?? '',
    x.length ? `${xLabel ?? 'x'} ${number(from)} to ${number(to)}.` : '',
    ...told,
    level && Number.isFinite(level.value) ? `${level.label}: ${number(level.value)}.` : '',
    ...marks.map(mark => `At ${number(mark.x)}: ${mark.meaning ?? mark.label}.`),
  ]
    .filter(Boolean)
    .join(' ');
}
