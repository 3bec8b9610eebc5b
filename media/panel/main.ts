/** The page of a run's panel. It holds no truth: it asks for the run and draws what it is told. */
import '../common/pageLanguage';
import 'uplot/dist/uPlot.min.css';
import '../common/base.css';
import '../charts/charts.css';
import '../monitor/monitor.css';
import '../charts/wide.css';
import * as l10n from '@vscode/l10n';
import { isOne } from '../../src/common/language';
import { wholeRun, type Look, type SeriesMessage } from '../../src/views/chartProtocol';
import type { BatchRow, DatasetView, DetailsView, MonitorCommand, RunView } from '../../src/views/monitorProtocol';
import type { ExportedColumns, FromPanel, PanelSeries, PanelState, ToPanel } from '../../src/views/panelProtocol';
import { spokenStatus } from '../../src/trainerHost/words';
import { ChartGroup } from '../charts/chartGroup';
import type { ChartData, ChartSpec, Range } from '../charts/chartSpec';
import { HeatMap } from '../charts/heatMap';
import { Looking } from '../charts/looking';
import { attackSuccessChart, canaryChart, gpuChart, lossChart, riskChart } from '../charts/specs';
import { plainDrawing, Toolbar, type Drawing } from '../charts/toolbar';
import { withGaps } from '../charts/values';
import { h, icon, setText } from '../common/dom';
import { bytes, decimal, duration, exponent, hundredths, integer, percent } from '../../src/common/format';
import { Place } from '../common/place';
import { button } from '../common/toolkit';
import { datasetSummary, endingNote, failureCard, interventionList, resultTable, safetyTokenTable, warningList, type Ending } from '../monitor/details';
import { Header } from '../monitor/header';
import { BatchRows, spokenRows } from '../monitor/rows';
import { Values } from '../monitor/values';
import { RangeRows } from './rangeRows';

/** What is kept while the page is hidden, which ends it, and until the window is loaded anew. */
interface Kept extends PanelState {
  look: Look;
  drawing: Drawing;
  selected?: { step: number; chart: number };
  scroll: number;
}

declare function acquireVsCodeApi(): {
  postMessage(message: FromPanel): void;
  getState(): Kept | undefined;
  setState(state: Kept): void;
};

type Line = Exclude<PanelSeries, 'step'>;

const heatMap = new HeatMap();
const heatTitle = l10n.t('Risk of the rows');
const seconds = (value: number | null): string => (value === null ? '–' : value < 10 ? `${decimal(value)} s` : duration(value));

const charts: ChartSpec<Line>[] = [
  lossChart,
  riskChart,
  {
    title: heatTitle,
    hint: l10n.t('How many rows of each step had which risk; those at or above the threshold are red. Unscored rows count as 1.'),
    range: [0, 1],
    wide: true,
    lines: [{ key: 'riskMean', label: l10n.t('mean'), colour: '--vscode-charts-foreground', thin: true, format: hundredths }],
    layer: heatMap,
  },
  canaryChart,
  attackSuccessChart,
  {
    title: l10n.t('KL to the reference'),
    hint: l10n.t('Mean KL(reference ‖ model) of the rows that were held near the reference, in nats a token.'),
    logarithmic: true,
    lines: [{ key: 'klMean', label: '', colour: '--vscode-charts-yellow', marked: true, format: decimal }],
  },
  {
    title: l10n.t('Regularised rows'),
    hint: l10n.t('Share of the step’s rows with β > 0.'),
    range: [-0.04, 1.06],
    axis: share => `${Math.round(100 * share)} %`,
    lines: [{ key: 'regularisedShare', label: '', colour: '--vscode-charts-purple', format: percent }],
  },
  { title: l10n.t('Gradient norm'), hint: l10n.t('Before clipping.'), logarithmic: true, lines: [{ key: 'gradNorm', label: '', colour: '--vscode-charts-green', format: decimal }] },
  { title: l10n.t('Learning rate'), logarithmic: true, axis: value => exponent(value), lines: [{ key: 'learningRate', label: '', colour: '--vscode-charts-foreground', exact: true, format: exponent }] },
  { title: l10n.t('Tokens per second'), lines: [{ key: 'tokensPerSecond', label: '', colour: '--vscode-charts-blue', format: integer }] },
  { title: l10n.t('Step time'), lines: [{ key: 'stepSeconds', label: '', colour: '--vscode-charts-green', format: seconds }] },
  {
    title: l10n.t('Memory'),
    hint: l10n.t('GPU: highest so far. Otherwise the process’s resident memory.'),
    axis: value => bytes(value),
    lines: [{ key: 'memoryBytes', label: '', colour: '--vscode-charts-purple', exact: true, format: bytes }],
  },
  gpuChart,
];

const vscode = acquireVsCodeApi();
const send = (message: FromPanel): void => vscode.postMessage(message);
const command = (name: MonitorCommand): void => send({ type: 'command', command: name });
const showRow = ({ file, line, hash }: Pick<BatchRow, 'file' | 'line' | 'hash'>): void => send({ type: 'showRow', row: { file, line, hash } });

let kept: Kept = vscode.getState() ?? { folder: '', look: wholeRun, drawing: plainDrawing, scroll: 0 };
let toRestore: Kept | undefined = kept.folder ? kept : undefined;
let run: RunView | undefined;
let details: DetailsView | undefined;

const looking = new Looking(kept.look, look => send({ type: 'look', look }));
const header = new Header(command, 'safeFinetuning.openRunPanel');
const values = new Values();
const chartGroup = new ChartGroup(charts, { onSelect: select, onZoom: showRange, heightPixels: 168, axisPixels: 52, tableRows: 20, actions: exportButtons });
const rows = new BatchRows(showRow, hadFocus => {
  if (hadFocus) chartGroup.focus(kept.selected?.chart ?? 0);
  chartGroup.markSelected(undefined);
  keep({ selected: undefined });
});
const rangeRows = new RangeRows(showRow, () => chartGroup.focus(0));
const toolbar = new Toolbar({
  drawing: kept.drawing,
  onChange: draw,
  onReset: () => chartGroup.zoom(null),
  ofRange: [button({ label: l10n.t('Rows of These Steps'), onClick: selectRange })],
});

const ending = new Place<Ending>(view => failureCard(view, command) ?? endingNote(view));
const result = new Place(resultTable);
const warnings = new Place(warningList);
const interventions = new Place(interventionList);
const dataset = new Place<DatasetView>(view => datasetSummary(view, showRow));
const safetyTokens = new Place<DetailsView['safetyTokens']>(tokens => safetyTokenTable(tokens, () => send({ type: 'editSafetyTokens' })));
const gone = new Place<{ folder: string }>(({ folder }) => goneNote(folder));
const waiting = h('p', { class: 'waiting note', hidden: true }, l10n.t('The charts begin with the first step.'));
const spoken = h('div', { class: 'unseen', attributes: { 'aria-live': 'polite' } });
const runPlace = h(
  'div',
  { class: 'run', hidden: true },
  header.element,
  ending.element,
  values.element,
  toolbar.element,
  waiting,
  rangeRows.element,
  chartGroup.element,
  h('div', { class: 'sections' }, result.element, interventions.element, dataset.element, safetyTokens.element, warnings.element),
);
document.getElementById('panel')?.append(gone.element, runPlace, spoken);
chartGroup.setDisplay(kept.drawing);

function showRun(view: RunView): void {
  const changed = run?.status !== view.status || run.phase?.phase !== view.phase?.phase;
  if (changed) setText(spoken, spokenStatus(view.status, view.phase));
  run = view;
  gone.show(null);
  runPlace.hidden = false;
  header.update(view);
  values.update(view);
  chartGroup.setLevel(canaryChart.title, view.canaryReference);
  chartGroup.setLevel(attackSuccessChart.title, view.attackSuccessReference);
  waiting.hidden = view.current !== null || chartGroup.x.length > 0;
  toolbar.element.hidden = !waiting.hidden;
  showEnding();
}

function showDetails(view: DetailsView): void {
  details = view;
  const { before, after } = view;
  result.show({ before, after });
  interventions.show(view.interventions);
  chartGroup.mark(view.interventions.map(({ step, kind }) => ({ step, alarm: kind === 'budget' })));
  warnings.show(view.warnings);
  dataset.show(view.dataset);
  safetyTokens.show(view.safetyTokens);
  showEnding();
}

function showEnding(): void {
  if (!run || !details) return;
  const { status, message, resumable } = run;
  ending.show({ status, message, resumable, logTail: details.logTail });
}

function showGone(folder: string): void {
  run = undefined;
  runPlace.hidden = true;
  gone.show({ folder });
}

function goneNote(folder: string): HTMLElement {
  return h(
    'section',
    { class: 'empty', attributes: { role: 'status' } },
    icon('slash'),
    h('h1', {}, l10n.t('This run is gone')),
    h('p', {}, l10n.t`There is no run in ${folder}. It was deleted or moved, or its folder belongs to another workspace. If it comes back, it is shown here.`),
  );
}

/** Asks for the rows of a step; they are shown under the chart in which it was chosen, where the eye is. */
function select(step: number, chart: HTMLElement): void {
  chartGroup.markSelected(step);
  chart.after(rows.element);
  keep({ selected: { step, chart: chartGroup.indexOf(chart) } });
  send({ type: 'selectStep', step });
}

function stepsOf([from, to]: Range): [number, number] {
  return [Math.ceil(from), Math.max(Math.ceil(from), Math.floor(to))];
}

function selectRange(): void {
  if (!chartGroup.range) return;
  const [from, to] = stepsOf(chartGroup.range);
  rangeRows.wait(from, to);
  send({ type: 'selectRange', from, to });
}

function showRange(range: Range | null): void {
  looking.set({ range });
  keep({ look: looking.look });
  tellRange(false);
}

function tellRange(isNews: boolean): void {
  const { range, whole } = chartGroup;
  const [from, to] = range ? stepsOf(range) : [0, 0];
  toolbar.showRange(range && whole ? l10n.t`Steps ${integer(from)}–${integer(to)} of ${integer(whole[1])}` : null, isNews);
}

function draw(drawing: Drawing): void {
  const { logarithmic, clipped } = kept.drawing;
  looking.set({ smoothing: drawing.smoothing });
  keep({ drawing, look: looking.look });
  if (drawing.logarithmic !== logarithmic || drawing.clipped !== clipped) chartGroup.setDisplay(drawing);
}

function exportButtons(spec: ChartSpec<Line>): HTMLElement[] {
  const { title, lines, layer } = spec;
  const columns: ExportedColumns = layer ? { kind: 'risks' } : { kind: 'series', names: lines.map(({ key }) => key) };
  const save = () => send({ type: 'export', title, columns, range: chartGroup.range && stepsOf(chartGroup.range) });
  const picture = () => send({ type: 'picture', title, svg: chartGroup.pictureOf(spec) ?? '' });
  return [
    button({ label: l10n.t`Save “${title}” as an SVG picture`, icon: icon('picture'), iconOnly: true, onClick: picture }),
    button({ label: l10n.t`Save the data of “${title}” as CSV`, icon: icon('download'), iconOnly: true, onClick: save }),
  ];
}

function keep(change: Partial<Kept>): void {
  kept = { ...kept, ...change };
  if (kept.folder) vscode.setState(kept);
}

/** Back to where the page was before it was hidden, once there is enough to stand on. */
function restore(): void {
  const before = toRestore;
  toRestore = undefined;
  if (!before) return;
  chartGroup.zoom(before.look.range);
  const chart = before.selected && chartGroup.chartAt(before.selected.chart);
  if (before.selected && chart) select(before.selected.step, chart);
  window.scrollTo({ top: before.scroll });
}

const chartData = ({ columns, smoothed, gaps }: SeriesMessage<PanelSeries>): ChartData<Line> => {
  const { step, ...values } = withGaps(columns, gaps);
  return { x: step as number[], values, smoothed: smoothed && withGaps(smoothed, gaps) };
};

function receive(message: ToPanel): void {
  switch (message.type) {
    case 'panel':
      return keep({ folder: message.folder });
    case 'gone':
      return showGone(message.folder);
    case 'run':
      return showRun(message.run);
    case 'details':
      return showDetails(message.details);
    case 'series': {
      const data = chartData(message);
      if (message.replace) chartGroup.replace(data, message.extent);
      else chartGroup.append(data, message.extent);
      restore();
      return tellRange(true);
    }
    case 'risks':
      heatMap.update(message.map, message.threshold);
      return chartGroup.layerChanged(heatTitle);
    case 'rows':
      rows.update(message);
      return setText(spoken, spokenRows(message));
    case 'rangeRows':
      rangeRows.update(message);
      return setText(spoken, isOne(message.rows.length) ? l10n.t`${integer(message.rows.length)} row listed` : l10n.t`${integer(message.rows.length)} rows listed`);
    default: {
      const unknown: never = message;
      throw new Error(`unknown message ${JSON.stringify(unknown)}`);
    }
  }
}

window.addEventListener('scrollend', () => keep({ scroll: window.scrollY }));
window.addEventListener('message', (event: MessageEvent<ToPanel>) => receive(event.data));
send({ type: 'ready', look: looking.look });
