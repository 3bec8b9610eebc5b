/** Which line is which run. */
import * as l10n from '@vscode/l10n';
import type { ComparedRun } from '../../src/views/compareProtocol';
import { capitalised, statusWord } from '../../src/trainerHost/words';
import { lineSample } from '../charts/lineSample';
import { h, icon } from '../common/dom';
import { button } from '../common/toolkit';

const looks = [
  { colour: '--vscode-charts-blue', dash: [] },
  { colour: '--vscode-charts-yellow', dash: [7, 3] },
  { colour: '--vscode-charts-purple', dash: [9, 3, 2, 3] },
  { colour: '--vscode-charts-green', dash: [2, 2] },
  { colour: '--vscode-charts-red', dash: [4, 4] },
  { colour: '--vscode-charts-foreground', dash: [12, 4] },
];

/** A run's letter, and how its lines are drawn. */
export const lookOf = (index: number): { letter: string; colour: string; dash: number[] } => ({ letter: String.fromCharCode(65 + index), ...looks[index % looks.length]! });

export function runList(runs: readonly ComparedRun[], open: (run: number) => void): HTMLElement {
  const items = runs.map(({ id, name, status }, index) => {
    const { letter, colour, dash } = lookOf(index);
    const stands = status ? capitalised(statusWord(status)) : l10n.t('Gone: it was deleted or moved');
    return h(
      'li',
      { title: `${name}\n${id}` },
      h('b', { class: 'letter' }, letter),
      lineSample(colour, dash),
      h('div', { class: 'about-run' }, h('span', { class: 'name' }, name), h('span', { class: 'note' }, `${stands} · ${id}`)),
      status !== null && button({ label: l10n.t`Open the run panel of ${letter}`, icon: icon('chart'), iconOnly: true, onClick: () => open(index) }),
    );
  });
  return h('ul', { class: 'run-list', attributes: { 'aria-label': l10n.t('Runs') } }, ...items);
}
