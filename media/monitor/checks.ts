/** The checks before a run, one line each, with what mends a failure; and the page when there is nothing yet. */
import { fixTitles, type ChecksView, type MonitorCommand } from '../../src/views/monitorProtocol';
import { button, spinner } from '../toolkit';
import { h, icon } from './dom';
import { count } from './format';

const icons = { ok: 'check', warning: 'warning', error: 'error' } as const;
const words = { ok: 'passed', warning: 'warning', error: 'failed' } as const;

export function checksCard({ configuration, running, checks }: ChecksView, fix: (index: number) => void, dismiss: () => void): HTMLElement {
  const failed = checks.filter(({ status }) => status === 'error').length;
  const verdict = running ? 'Checking' : failed ? `${count(failed, 'check')} failed` : 'Ready to run';
  const lines = checks.map((check, index) =>
    h(
      'li',
      { class: `check ${check.status}` },
      icon(icons[check.status]),
      h(
        'div',
        {},
        h('strong', {}, check.title, h('span', { class: 'unseen' }, ` ${words[check.status]}`)),
        h('p', {}, check.message),
        check.fix && button({ label: fixTitles[check.fix], icon: icon(check.fix === 'open-file' ? 'file' : 'tools'), onClick: () => fix(index) }),
      ),
    ),
  );
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
    h('ul', { class: 'checks' }, ...lines),
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
      h('h2', {}, 'This workspace is not trusted'),
      h('p', {}, 'Dataset rows are judged as you open them. Training starts a Python process and needs your trust.'),
      button({ label: 'Manage Workspace Trust', primary: true, onClick: manageTrust }),
    );
  }
  return h(
    'section',
    { class: 'empty' },
    icon('shield'),
    h('h2', {}, 'No run yet'),
    h('p', {}, 'Fine-tune a model on your conversations, held near its safe reference where the data is risky. What happens shows up here, batch by batch.'),
    h(
      'ol',
      {},
      h('li', {}, h('p', {}, 'Once per folder: Python with what the trainer needs.'), act('Set Up Environment', 'safeFinetuning.setUpEnvironment')),
      h('li', {}, h('p', {}, 'Describe the run: model, dataset, method.'), act('New Run Configuration', 'safeFinetuning.createConfiguration')),
      h('li', {}, h('p', {}, 'Train, and watch it.'), act('Start Run', 'safeFinetuning.startRun', true)),
    ),
  );
}
