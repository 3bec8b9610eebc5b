/** The page that lays runs over each other. It holds no truth: it asks for the runs and draws what it is told. */
import '../common/pageLanguage';
import 'uplot/dist/uPlot.min.css';
import '../common/base.css';
import '../charts/charts.css';
import '../monitor/monitor.css';
import '../charts/wide.css';
import './compare.css';
import * as l10n from '@vscode/l10n';
import { asLook, wholeRun, type Look } from '../../src/views/chartProtocol';
import type { ComparedRun, ComparedSeries, CompareState, FromCompare, ToCompare } from '../../src/views/compareProtocol';
import { ChartGroup } from '../charts/chartGroup';
import type { ChartSpec, GroupOptions, Range } from '../charts/chartSpec';
import { Looking } from '../charts/looking';
import { canaryHint } from '../charts/specs';
import { onThemeChange, recolour } from '../charts/theme';
import { plainDrawing, Toolbar, type Drawing } from '../charts/toolbar';
import { withGaps } from '../charts/values';
import { h, icon } from '../common/dom';
import { decimal, duration, exponent, hundredths, integer, tenths } from '../../src/common/format';
import { Place } from '../common/place';
import { button } from '../common/toolkit';
import { extentOf, layOver, type Axis, type RunColumns } from './layOver';
import { lookOf, runList } from './runList';
import { differenceTable, evaluationTable } from './tables';

/** What is kept while the page is hidden, which ends it, and until the window is loaded anew. */
interface Kept extends CompareState {
  look: Look;
  drawing: Drawing;
  scroll: number;
}

declare function acquireVsCodeApi(): {
  postMessage(message: FromCompare): void;
  getState(): Kept | undefined;
  setState(state: Kept): void;
};

type Key = `${number}:${ComparedSeries}`;

const metrics: { name: ComparedSeries; spec: Omit<ChartSpec<Key>, 'lines'>; format: (value: number | null) => string; sparse?: boolean; exact?: boolean }[] = [
  { name: 'total', spec: { title: l10n.t('Loss'), hint: l10n.t('What was minimised: the method’s terms added up.'), logarithmic: true }, format: decimal },
  { name: 'nll', spec: { title: 'NLL', hint: l10n.t('Mean negative log-likelihood per trained token.'), logarithmic: true }, format: decimal },
  { name: 'canary', spec: { title: l10n.t('Canary'), hint: canaryHint, optional: true }, format: tenths, sparse: true },
  { name: 'betaMean', spec: { title: l10n.t('Mean β'), hint: l10n.t('Strength of the pull towards the safe reference.'), range: [-0.04, 1.06] }, format: hundredths },
  { name: 'riskMean', spec: { title: l10n.t('Mean risk'), hint: l10n.t('Of the rows of each step.'), range: [-0.04, 1.06] }, format: hundredths },
  { name: 'learningRate', spec: { title: l10n.t('Learning rate'), logarithmic: true, axis: value => exponent(value) }, format: exponent, exact: true },
];

const axes: Record<Axis, NonNullable<GroupOptions<Key>['axis']>> = {
  step: { title: l10n.t('Step'), word: l10n.t('step'), whole: true, format: integer },
  epoch: { title: l10n.t('Epoch'), word: l10n.t('epoch'), format: hundredths },
  time: { title: l10n.t('Training time'), word: l10n.t('training time'), format: x => duration(x / 1000), tick: clock, unit: { title: l10n.t('Seconds'), size: 1000 } },
};

const vscode = acquireVsCodeApi();
const send = (message: FromCompare): void => vscode.postMessage(message);

/** Several noisy lines over each other are hard to tell apart. */
const smoothing = 0.8;

let kept: Kept = vscode.getState() ?? { folders: [], look: { ...wholeRun, smoothing }, drawing: { ...plainDrawing, smoothing }, scroll: 0 };
let toRestore: Kept | undefined = kept.folders.length ? kept : undefined;
let runs: ComparedRun[] = [];
const columns: (RunColumns | undefined)[] = [];
let group: ChartGroup<Key> | undefined;
let drawing: number | undefined;

const looking = new Looking(asLook(kept.look), look => send({ type: 'look', look }));
const chartPlace = h('div', {});
const toolbar = new Toolbar({ drawing: kept.drawing, onChange: draw, onReset: () => group?.zoom(null), before: [axisChoice()] });
const legend = new Place<ComparedRun[]>(view => runList(view, run => send({ type: 'openPanel', run })));
const evaluations = new Place<ComparedRun[]>(evaluationTable);
const differences = new Place<Extract<ToCompare, { type: 'runs' }>>(differenceTable);
document
  .getElementById('compare')
  ?.append(h('h1', { class: 'unseen' }, l10n.t('Runs compared')), legend.element, toolbar.element, chartPlace, h('div', { class: 'sections' }, evaluations.element, differences.element));

function axisChoice(): HTMLElement {
  const options = (Object.keys(axes) as Axis[]).map(axis => h('option', { attributes: { value: axis } }, axes[axis].title));
  const choice = h('select', { attributes: { 'aria-label': l10n.t('What the charts are laid out by') } }, ...options);
  choice.value = looking.look.axis;
  choice.addEventListener('change', () => {
    looking.set({ axis: choice.value as Axis, range: null });
    keep({ look: looking.look });
    makeCharts();
  });
  return h('label', { class: 'choice' }, l10n.t('By'), choice);
}

/** By run: another axis and other runs need other charts. */
function makeCharts(): void {
  const specs = metrics.map(({ name, spec, format, sparse, exact }): ChartSpec<Key> => ({
    ...spec,
    lines: runs.map((run, index) => {
      const { letter, colour, dash } = lookOf(index);
      return { key: `${index}:${name}`, label: letter, title: run.name, colour, ...(dash.length && { dash }), ...(sparse && { sparse, marked: true }), ...(exact && { exact }), format };
    }),
  }));
  group = new ChartGroup(specs, { onZoom: showRange, heightPixels: 190, axisPixels: 52, tableRows: 20, axis: axes[looking.look.axis], actions: exportButtons });
  group.setDisplay(kept.drawing);
  chartPlace.replaceChildren(group.element);
  drawSoon();
}

function showRuns(message: Extract<ToCompare, { type: 'runs' }>): void {
  const others = message.runs.map(({ folder, name }) => `${folder}\n${name}`).join('\n') !== runs.map(({ folder, name }) => `${folder}\n${name}`).join('\n');
  runs = message.runs;
  keep({ folders: runs.map(({ folder }) => folder) });
  legend.show(runs);
  evaluations.show(runs.some(({ before, after }) => before ?? after) ? runs : null);
  differences.show(message);
  if (others) makeCharts();
  else drawSoon();
}

/** All runs that have sent something since are drawn at once. */
function drawSoon(): void {
  drawing ??= requestAnimationFrame(() => {
    drawing = undefined;
    const known = runs.map((_, index) => columns[index]);
    group?.replace(layOver(known, looking.look.axis), extentOf(known));
    restore();
    tellRange();
  });
}

function restore(): void {
  const before = toRestore;
  if (!before || !group?.x.length) return;
  toRestore = undefined;
  group.zoom(before.look.range);
  window.scrollTo({ top: before.scroll });
}

function showRange(range: Range | null): void {
  looking.set({ range });
  keep({ look: looking.look });
  tellRange();
}

function tellRange(): void {
  const { title, format } = axes[looking.look.axis];
  const range = group?.range;
  toolbar.showRange(range ? l10n.t`${title} ${format(range[0])} to ${format(range[1])}` : null);
}

function draw(next: Drawing): void {
  const { logarithmic, clipped } = kept.drawing;
  looking.set({ smoothing: next.smoothing });
  keep({ drawing: next, look: looking.look });
  if (next.logarithmic !== logarithmic || next.clipped !== clipped) group?.setDisplay(next);
}

function exportButtons(spec: ChartSpec<Key>): HTMLElement[] {
  const { title } = spec;
  const metric = metrics.find(({ spec }) => spec.title === title);
  if (!metric) return [];
  const save = () => send({ type: 'export', title, name: metric.name, look: looking.look });
  const picture = () => send({ type: 'picture', title, svg: group?.pictureOf(spec) ?? '' });
  return [
    button({ label: l10n.t`Save “${title}” as an SVG picture`, icon: icon('picture'), iconOnly: true, onClick: picture }),
    button({ label: l10n.t`Save the data of “${title}” as CSV`, icon: icon('download'), iconOnly: true, onClick: save }),
  ];
}

function keep(change: Partial<Kept>): void {
  kept = { ...kept, ...change };
  if (kept.folders.length) vscode.setState(kept);
}

/** Minutes and seconds, or hours and minutes. */
function clock(milliseconds: number): string {
  const whole = Math.round(milliseconds / 1000);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours} h ${String(minutes).padStart(2, '0')}` : `${minutes}:${String(rest).padStart(2, '0')}`;
}

function receive(message: ToCompare): void {
  switch (message.type) {
    case 'runs':
      return showRuns(message);
    case 'series': {
      const { run, replace, gaps, smoothed, extent } = message;
      const before = replace ? undefined : columns[run];
      columns[run] = { values: longer(before?.values, withGaps(message.columns, gaps)), smoothed: smoothed && longer(before?.smoothed ?? undefined, withGaps(smoothed, gaps)), extent };
      return drawSoon();
    }
    default: {
      const unknown: never = message;
      throw new Error(`unknown message ${JSON.stringify(unknown)}`);
    }
  }
}

function longer(before: RunColumns['values'] | undefined, more: RunColumns['values']): RunColumns['values'] {
  if (!before) return more;
  for (const name of Object.keys(more) as ComparedSeries[]) before[name].push(...more[name]);
  return before;
}

onThemeChange(() => recolour(legend.element));
window.addEventListener('scrollend', () => keep({ scroll: window.scrollY }));
window.addEventListener('message', (event: MessageEvent<ToCompare>) => receive(event.data));
send({ type: 'ready', look: looking.look });
