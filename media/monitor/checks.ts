/** The checks before a run, one line each, with what mends a failure; and the page when there is nothing yet. */
import { fixTitles, type ChecksView, type MonitorCommand } from '../../src/views/monitorProtocol';
import { button, spinner } from '../common/toolkit';
import { h, icon } from '../common/dom';
import { count } from '../common/format';

type Check = ChecksView['checks'][number];

const icons = { ok: 'check', warning: 'warning', error: 'error' } as const;
const words = { ok: 'passed', warning: 'warning', error: 'failed' } as const;

export function checksCard(view: ChecksView, fix: (index: number) => void, dismiss: () => void): HTMLElement {
  const { configuration, running, checks } = view;
  const failed = checks.filter(({ status }) => status === 'error').length;
  const warned = checks.filter(({ status }) => status === 'warning').length;
  const verdict = running
    ? 'Checking'
    : failed
      ? `${count(failed, 'check')} failed`
      : warned
        ? `Ready, with ${count(warned, 'warning')}`
        : 'Ready to run';
  const lines = checks.map((check, index) => ({ check, line: checkLine(check, () => fix(index)) }));
  const linesOf = (...statuses: Check['status'][]) => lines.filter(({ check }) => statuses.includes(check.status)).map(({ line }) => line);
  return h(
    'section',
    { class: failed && !running ? 'card bad' : 'card', attributes: { 'aria-label': 'Checks before the run' } },
    h(
      'div',
      { class: 'section-head' },
      h('h2', {}, running ? spinner() : icon(failed ? 'error' : 'check'), verdict),
      !running && button({ label: 'Close', icon: icon('close'), iconOnly: true, onClick: dismiss }),
    ),
    h('p', { class: 'note' }, configuration),
    ...(failed && !running
      ? [
          h('ul', { class: 'checks' }, ...linesOf('error'), ...linesOf('warning')),
          h('details', { class: 'passed' }, h('summary', {}, `${count(linesOf('ok').length, 'check')} passed`), h('ul', { class: 'checks' }, ...linesOf('ok'))),
        ]
      : [h('ul', { class: 'checks' }, ...linesOf('ok', 'warning', 'error'))]),
  );
}

function checkLine(check: Check, fix: () => void): HTMLElement {
  const { title, status, message } = check;
  return h(
    'li',
    { class: `check ${status}` },
    icon(icons[status]),
    h(
      'div',
      {},
      h('strong', {}, title, h('span', { class: 'unseen' }, ` ${words[status]}`)),
      h('p', {}, message),
      check.fix && button({ label: fixTitles[check.fix], icon: icon(check.fix === 'open-file' ? 'file' : 'tools'), onClick: fix }),
    ),
  );
}

/** What to do when there is no run. */
export function emptyPage(trusted: boolean, send: (command: MonitorCommand) => void, manageTrust: () => void): HTMLElement {
  const act = (label: string, command: MonitorCommand, primary = false) => button({ label, primary, onClick: () => send(command) });
  if (!trusted) {
    return h(
      'section',
      { class: 'empty' },
      icon('shield'),
      h('h1', {}, 'This workspace is not trusted'),
      h('p', {}, 'Dataset rows are judged as you open them. Training starts a Python process and needs your trust.'),
      button({ label: 'Manage Workspace Trust', primary: true, onClick: manageTrust }),
    );
  }
  return h(
    'section',
    { class: 'empty' },
    icon('shield'),
    h('h1', {}, 'No run yet'),
    h('p', {}, 'Fine-tune a model on your conversations, held near its safe reference where the data is risky. What happens shows up here, batch by batch.'),
    h(
      'ol',
      {},
      h('li', {}, h('p', {}, 'Once per folder: Python with what the trainer needs.'), act('Set Up Environment', 'safeFinetuning.setUpEnvironment')),
      h('li', {}, h('p', {}, 'Describe the run: model, dataset, method. The form shows what is trained and what it will cost.'), act('New Run…', 'safeFinetuning.newRun')),
      h('li', {}, h('p', {}, 'Train, and watch it.'), act('Start Run', 'safeFinetuning.startRun', true)),
    ),
  );
}
