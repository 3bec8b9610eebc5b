/** Which line is which run. */
import type { ComparedRun } from '../../src/views/compareProtocol';
import { capitalised, statusWord } from '../../src/views/words';
import { themeColour } from '../charts/chart';
import { h } from '../common/dom';
import { button } from '../common/toolkit';
import { icon } from '../common/dom';

const looks = [
  { colour: '--vscode-charts-blue', dash: [] },
  { colour: '--vscode-charts-orange', dash: [7, 3] },
  { colour: '--vscode-charts-green', dash: [2, 2] },
  { colour: '--vscode-charts-purple', dash: [9, 3, 2, 3] },
  { colour: '--vscode-charts-red', dash: [4, 4] },
  { colour: '--vscode-charts-foreground', dash: [12, 4] },
];

/** A run's letter, and how its lines are drawn. */
export const lookOf = (index: number): { letter: string; colour: string; dash: number[] } => ({ letter: String.fromCharCode(65 + index), ...looks[index % looks.length]! });

export function runList(runs: readonly ComparedRun[], open: (run: number) => void): HTMLElement {
  const items = runs.map((run, index) =>
    h(
      'li',
      {},
      h('b', { class: 'letter' }, lookOf(index).letter),
      sample(index),
      h('div', { class: 'about-run' }, h('span', { class: 'name' }, run.name), h('span', { class: 'note' }, `${run.status ? capitalised(statusWord[run.status]) : 'Gone: it was deleted or moved'} · ${run.id}`)),
      run.status !== null && button({ label: `Open the run panel of ${lookOf(index).letter}`, icon: icon('chart'), iconOnly: true, onClick: () => open(index) }),
    ),
  );
  return h('ul', { class: 'run-list', attributes: { 'aria-label': 'Runs' } }, ...items);
}

/** A piece of the run's line. */
function sample(index: number): SVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const { colour, dash } = lookOf(index);
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('class', 'sample');
  svg.setAttribute('viewBox', '0 0 28 4');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('data-colour', colour);
  svg.style.color = `var(${colour}, ${themeColour('--vscode-foreground')})`;
  const line = document.createElementNS(space, 'path');
  line.setAttribute('d', 'M0 2h28');
  line.setAttribute('stroke', 'currentColor');
  line.setAttribute('stroke-width', '2');
  line.setAttribute('stroke-dasharray', dash.join(' '));
  svg.append(line);
  return svg;
}
