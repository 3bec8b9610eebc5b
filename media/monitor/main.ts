/** The training monitor's page. It holds no truth: it asks for the run and draws what it is told. */
import '../common/pageLanguage';
import 'uplot/dist/uPlot.min.css';
import '../common/base.css';
import '../charts/charts.css';
import './monitor.css';
import * as l10n from '@vscode/l10n';
import type { SeriesMessage } from '../../src/views/chartProtocol';
import type { BatchRow, ChecksView, DatasetView, DetailsView, DrawnSeries, FromMonitor, MonitorCommand, RunView, ToMonitor } from '../../src/views/monitorProtocol';
import { spokenStatus } from '../../src/trainerHost/words';
import { ChartGroup } from '../charts/chartGroup';
import type { ChartData, ChartSpec } from '../charts/chartSpec';
import { attackSuccessChart, canaryChart, lossChart, riskChart } from '../charts/specs';
import { withGaps } from '../charts/values';
import { checksCard, emptyPage } from './checks';
import { datasetSummary, endingNote, failureCard, interventionList, resultTable, safetyTokenTable, warningList, type Ending } from './details';
import { h, setText } from '../common/dom';
import { decimal, exponent, integer } from '../../src/common/format';
import { Header } from './header';
import { OtherRuns } from './otherRuns';
import { Place } from '../common/place';
import { BatchRows, spokenRows } from './rows';
import { LastRiskyRows } from './riskyRows';
import { Values } from './values';

/** What is kept while the page is hidden, which ends it. */
interface Kept {
  runId: string;
  selected?: { step: number; chart: number };
  scroll: number;
}

declare function acquireVsCodeApi(): {
  postMessage(message: FromMonitor): void;
  getState(): Kept | undefined;
  setState(state: Kept): void;
};

type Line = Exclude<DrawnSeries, 'step'>;

const charts: ChartSpec<Line>[] = [
  lossChart,
  riskChart,
  canaryChart,
  attackSuccessChart,
  {
    title: l10n.t('Gradient norm and learning rate'),
    lines: [
      { key: 'gradNorm', label: l10n.t('norm'), colour: '--vscode-charts-green', format: decimal },
      { key: 'learningRate', label: l10n.t('rate'), colour: '--vscode-charts-foreground', dash: [4, 3], ownScale: true, format: exponent },
    ],
  },
  { title: l10n.t('Tokens per second'), optional: true, lines: [{ key: 'tokensPerSecond', label: '', colour: '--vscode-charts-blue', format: integer }] },
];

const vscode = acquireVsCodeApi();
const send = (message: FromMonitor): void => vscode.postMessage(message);
const command = (name: MonitorCommand): void => send({ type: 'command', command: name });
const showRow = ({ file, line, hash }: Pick<BatchRow, 'file' | 'line' | 'hash'>): void =>
  send({ type: 'showRow', row: { file, line, hash } });

const others = new OtherRuns(id => send({ type: 'selectRun', id }));
const header = new Header(command);
const values = new Values();
const chartGroup = new ChartGroup(charts, { onSelect: select });
const rows = new BatchRows(showRow, hadFocus => {
  if (hadFocus) chartGroup.focus(vscode.getState()?.selected?.chart ?? 0);
  chartGroup.markSelected(undefined);
  keep({ selected: undefined });
});

const riskyRows = new LastRiskyRows(showRow);

const checks = new Place<ChecksView>(view => checksCard(view, check => send({ type: 'fix', check }), () => send({ type: 'dismissChecks' })));
const empty = new Place<{ trusted: boolean }>(({ trusted }) => emptyPage(trusted, command, () => send({ type: 'manageTrust' })));
const ending = new Place<Ending>(view => failureCard(view, command) ?? endingNote(view));
// The result comes first once there is one; until then what happens now does.
const resultAbove = new Place(resultTable);
const resultBelow = new Place(resultTable);
const warnings = new Place(warningList);
const interventions = new Place(interventionList);
const dataset = new Place<DatasetView>(view => datasetSummary(view, showRow));
const safetyTokens = new Place<DetailsView['safetyTokens']>(tokens => safetyTokenTable(tokens, () => send({ type: 'editSafetyTokens' })));
const spoken = h('div', { class: 'unseen', attributes: { 'aria-live': 'polite' } });
const runPlace = h(
  'div',
  { class: 'run', hidden: true },
  header.element,
  ending.element,
  resultAbove.element,
  values.element,
  chartGroup.element,
  riskyRows.element,
  interventions.element,
  resultBelow.element,
  warnings.element,
  dataset.element,
  safetyTokens.element,
);
document.getElementById('monitor')?.append(checks.element, others.element, empty.element, runPlace, spoken);

let toRestore = vscode.getState();
let run: RunView | undefined;
let details: DetailsView | undefined;

function showRun(view: RunView): void {
  if (run?.id !== view.id) {
    details = undefined;
    chartGroup.clear();
    rows.hide();
    riskyRows.clear();
    for (const place of [ending, resultAbove, resultBelow, interventions, warnings, dataset, safetyTokens]) place.show(null);
  }
  speak(run, view);
  run = view;
  empty.show(null);
  runPlace.hidden = false;
  header.update(view);
  values.update(view);
  chartGroup.setLevel(canaryChart.title, view.canaryReference);
  chartGroup.setLevel(attackSuccessChart.title, view.attackSuccessReference);
  showEnding();
}

/** Asks for the rows of a step; they are shown under the chart in which it was chosen, where the eye is. */
function select(step: number, chart: HTMLElement): void {
  chartGroup.markSelected(step);
  chart.after(rows.element);
  keep({ selected: { step, chart: chartGroup.indexOf(chart) } });
  send({ type: 'selectStep', step });
}

function chartData({ columns, gaps }: SeriesMessage<DrawnSeries>): ChartData<Line> {
  const { step, ...values } = withGaps(columns, gaps);
  return { x: step as number[], values, smoothed: null };
}

function keep(change: Partial<Kept>): void {
  if (!run) return;
  const before = vscode.getState();
  const own = before?.runId === run.id ? before : { scroll: 0 };
  vscode.setState({ ...own, ...change, runId: run.id });
}

/** Back to where the page was before it was hidden, once there is enough to stand on. */
function restore(): void {
  const kept = toRestore;
  toRestore = undefined;
  if (!kept || kept.runId !== run?.id) return;
  const chart = kept.selected && chartGroup.chartAt(kept.selected.chart);
  if (kept.selected && chart) select(kept.selected.step, chart);
  window.scrollTo({ top: kept.scroll });
}

function showEnding(): void {
  if (!run || !details) return;
  const { status, message, resumable } = run;
  ending.show({ status, message, resumable, logTail: details.logTail });
}

function showDetails(view: DetailsView): void {
  details = view;
  const { before, after } = view;
  resultAbove.show(after && { before, after });
  resultBelow.show(after ? null : { before, after });
  interventions.show(view.interventions);
  const marks = view.interventions.filter(({ kind }) => kind !== 'measurement'); // these have a chart of their own
  chartGroup.mark(marks.map(({ step, kind }) => ({ step, alarm: kind === 'budget' })));
  warnings.show(view.warnings);
  dataset.show(view.dataset);
  safetyTokens.show(view.safetyTokens);
  showEnding();
}

function showEmpty(trusted: boolean): void {
  run = undefined;
  runPlace.hidden = true;
  empty.show({ trusted });
}

/** Says aloud that the run stands differently or enters a phase; not every number. */
function speak(before: RunView | undefined, now: RunView): void {
  const changed = before?.status !== now.status || before.phase?.phase !== now.phase?.phase;
  if (changed) setText(spoken, spokenStatus(now.status, now.phase));
}

function receive(message: ToMonitor): void {
  switch (message.type) {
    case 'empty':
      return showEmpty(message.trusted);
    case 'run':
      return showRun(message.run);
    case 'details':
      return showDetails(message.details);
    case 'series':
      if (message.replace) chartGroup.replace(chartData(message));
      else chartGroup.append(chartData(message));
      return restore();
    case 'select': {
      const first = chartGroup.chartAt(0);
      return first && select(message.step, first);
    }
    case 'rows':
      rows.update(message);
      return setText(spoken, spokenRows(message));
    case 'risky':
      return riskyRows.update(message);
    case 'others':
      return others.update(message.runs);
    case 'checks':
      return checks.show(message.checks);
    default: {
      const unknown: never = message;
      throw new Error(`unknown message ${JSON.stringify(unknown)}`);
    }
  }
}

window.addEventListener('scrollend', () => keep({ scroll: window.scrollY }));
window.addEventListener('message', (event: MessageEvent<ToMonitor>) => receive(event.data));
send({ type: 'ready' });
