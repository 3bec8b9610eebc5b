/** The training monitor's page. It holds no truth: it asks for the run and draws what it is told. */
import 'uplot/dist/uPlot.min.css';
import './base.css';
import './monitor.css';
import type { BatchRow, DetailsView, FromMonitor, MonitorCommand, RunView, ToMonitor } from '../../src/views/monitorProtocol';
import { ChartGroup, type ChartSpec } from './chart';
import { checksCard, emptyPage } from './checks';
import { datasetSummary, endingNote, failureCard, resultTable, warningList } from './details';
import { h, setText } from './dom';
import { decimal, exponent, hundredths, integer } from './format';
import { Header } from './header';
import { BatchRows } from './rows';
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

const charts: ChartSpec[] = [
  {
    title: 'Loss',
    lines: [
      { key: 'total', label: 'total', colour: '--vscode-charts-blue', format: decimal },
      { key: 'nll', label: 'nll', colour: '--vscode-charts-foreground', dash: [4, 3], format: decimal },
      { key: 'kl', label: 'β·KL', colour: '--vscode-charts-yellow', marked: true, format: decimal },
    ],
  },
  {
    title: 'Risk and β',
    range: [-0.04, 1.06],
    lines: [
      { key: 'riskMax', label: 'risk max', colour: '--vscode-charts-red', points: 'dot', format: hundredths },
      { key: 'riskMean', label: 'mean', colour: '--vscode-charts-red', format: hundredths },
      { key: 'betaMax', label: 'β max', colour: '--vscode-charts-purple', points: 'ring', format: hundredths },
      { key: 'betaMean', label: 'mean', colour: '--vscode-charts-purple', dash: [4, 3], format: hundredths },
    ],
  },
  {
    title: 'Gradient norm and learning rate',
    lines: [
      { key: 'gradNorm', label: 'norm', colour: '--vscode-charts-green', format: decimal },
      { key: 'learningRate', label: 'rate', colour: '--vscode-charts-foreground', dash: [4, 3], ownScale: true, format: exponent },
    ],
  },
  { title: 'Tokens per second', lines: [{ key: 'tokensPerSecond', label: '', colour: '--vscode-charts-blue', format: integer }] },
];

const vscode = acquireVsCodeApi();
const send = (message: FromMonitor): void => vscode.postMessage(message);
const command = (name: MonitorCommand): void => send({ type: 'command', command: name });
const showRow = ({ file, line, hash }: Pick<BatchRow, 'file' | 'line' | 'hash'>): void =>
  send({ type: 'showRow', row: { file, line, hash } });

const header = new Header(command);
const values = new Values();
const chartGroup = new ChartGroup(charts, select);
const rows = new BatchRows(showRow, () => {
  chartGroup.markSelected(undefined);
  keep({ selected: undefined });
});

const checksPlace = h('div');
const emptyPlace = h('div');
const failurePlace = h('div');
const detailsAbove = h('div');
const detailsBelow = h('div');
const spoken = h('div', { class: 'unseen', attributes: { 'aria-live': 'polite' } });
const runPlace = h(
  'div',
  { class: 'run', hidden: true },
  header.element,
  failurePlace,
  detailsAbove,
  values.element,
  chartGroup.element,
  detailsBelow,
);
document.getElementById('monitor')?.append(checksPlace, emptyPlace, runPlace, spoken);

let toRestore = vscode.getState();
let run: RunView | undefined;
let details: DetailsView | undefined;
let shownEnding = '';

function showRun(view: RunView): void {
  if (run?.id !== view.id) {
    details = undefined;
    chartGroup.clear();
    rows.hide();
    detailsAbove.replaceChildren();
    detailsBelow.replaceChildren();
  }
  speak(run, view);
  run = view;
  emptyPlace.replaceChildren();
  runPlace.hidden = false;
  header.update(view);
  values.update(view);
  showEnding();
}

/** Asks for the rows of a step; they are shown under the chart in which it was chosen, where the eye is. */
function select(step: number, chart: HTMLElement): void {
  chartGroup.markSelected(step);
  chart.after(rows.element);
  keep({ selected: { step, chart: chartGroup.indexOf(chart) } });
  send({ type: 'selectStep', step });
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

/** The reason of an end is drawn again only when it changes, so that nothing opened in it closes. */
function showEnding(): void {
  if (!run || !details) return;
  const key = [run.id, run.status, run.message, run.resumable, details.logTail.length].join();
  if (key === shownEnding) return;
  shownEnding = key;
  failurePlace.replaceChildren(...present(failureCard(run, details, command), endingNote(run)));
}

function showDetails(view: DetailsView): void {
  details = view;
  const result = resultTable(view);
  // The result comes first once there is one; until then what happens now does.
  detailsAbove.replaceChildren(...present(view.after ? result : null));
  detailsBelow.replaceChildren(
    ...present(view.after ? null : result, warningList(view.warnings), datasetSummary(view.dataset, showRow)),
  );
  showEnding();
}

function showEmpty(trusted: boolean): void {
  run = undefined;
  runPlace.hidden = true;
  emptyPlace.replaceChildren(emptyPage(trusted, command, () => send({ type: 'manageTrust' })));
}

const present = (...nodes: (Node | null)[]): Node[] => nodes.filter(node => node !== null);

/** Says aloud that the run stands differently or enters a phase; not every number. */
function speak(before: RunView | undefined, now: RunView): void {
  const changed = before?.status !== now.status || before.phase?.phase !== now.phase?.phase;
  if (changed) setText(spoken, `Run ${now.status}${now.phase ? `, ${now.phase.phase.replace('-', ' ')}` : ''}`);
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
      if (message.replace) chartGroup.replace(message.columns);
      else chartGroup.append(message.columns);
      return restore();
    case 'rows':
      return rows.update(message);
    case 'checks':
      return checksPlace.replaceChildren(
        ...(message.checks
          ? [checksCard(message.checks, check => send({ type: 'fix', check }), () => send({ type: 'dismissChecks' }))]
          : []),
      );
    default: {
      const unknown: never = message;
      throw new Error(`unknown message ${JSON.stringify(unknown)}`);
    }
  }
}

window.addEventListener('scrollend', () => keep({ scroll: window.scrollY }));
window.addEventListener('message', (event: MessageEvent<ToMonitor>) => receive(event.data));
send({ type: 'ready' });
