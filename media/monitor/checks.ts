/** The checks before a run, one line each, with what mends a failure; and the page when there is nothing yet. */
import * as l10n from '@vscode/l10n';
import { isOne } from '../../src/common/language';
import { integer } from '../../src/common/format';
import { fixTitles, type ChecksView, type MonitorCommand } from '../../src/views/monitorProtocol';
import { button, spinner } from '../common/toolkit';
import { h, icon } from '../common/dom';

type Check = ChecksView['checks'][number];

const icons = { ok: 'check', warning: 'warning', error: 'error' } as const;
const words = { ok: l10n.t('passed'), warning: l10n.t('warning'), error: l10n.t('failed') } as const;

export function checksCard(view: ChecksView, fix: (index: number) => void, dismiss: () => void): HTMLElement {
  const { configuration, running, checks } = view;
  const failed = checks.filter(({ status }) => status === 'error').length;
  const warned = checks.filter(({ status }) => status === 'warning').length;
  const verdict = running
    ? l10n.t('Checking')
    : failed
      ? isOne(failed)
        ? l10n.t`${integer(failed)} check failed`
        : l10n.t`${integer(failed)} checks failed`
      : warned
        ? isOne(warned)
          ? l10n.t`Ready, with ${integer(warned)} warning`
          : l10n.t`Ready, with ${integer(warned)} warnings`
        : l10n.t('Ready to run');
  const lines = checks.map((check, index) => ({ check, line: checkLine(check, () => fix(index)) }));
  const passed = checks.filter(({ status }) => status === 'ok').length;
  const linesOf = (...statuses: Check['status'][]) => lines.filter(({ check }) => statuses.includes(check.status)).map(({ line }) => line);
  return h(
    'section',
    { class: failed && !running ? 'card bad' : 'card', attributes: { 'aria-label': l10n.t('Checks before the run') } },
    h(
      'div',
      { class: 'section-head' },
      h('h2', {}, running ? spinner() : icon(failed ? 'error' : 'check'), verdict),
      !running && button({ label: l10n.t('Close'), icon: icon('close'), iconOnly: true, onClick: dismiss }),
    ),
    h('p', { class: 'note' }, configuration),
    ...(failed && !running
      ? [
          h('ul', { class: 'checks' }, ...linesOf('error'), ...linesOf('warning')),
          h('details', { class: 'passed' }, h('summary', {}, isOne(passed) ? l10n.t`${integer(passed)} check passed` : l10n.t`${integer(passed)} checks passed`), h('ul', { class: 'checks' }, ...linesOf('ok'))),
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
      h('h1', {}, l10n.t('This workspace is not trusted')),
      h('p', {}, l10n.t('Dataset rows are judged as you open them. Training starts a Python process and needs your trust.')),
      button({ label: l10n.t('Manage Workspace Trust'), primary: true, onClick: manageTrust }),
    );
  }
  return h(
    'section',
    { class: 'empty' },
    icon('shield'),
    h('h1', {}, l10n.t('No run yet')),
    h('p', {}, l10n.t('Fine-tune a model on your conversations, held near its safe reference where the data is risky. What happens shows up here, batch by batch.')),
    h(
      'ol',
      {},
      h('li', {}, h('p', {}, l10n.t('Once per folder: Python with what the trainer needs.')), act(l10n.t('Set Up Environment'), 'safeFinetuning.setUpEnvironment')),
      h('li', {}, h('p', {}, l10n.t('Describe the run: model, dataset, method. The form shows what is trained and what it will cost.')), act(l10n.t('New Run…'), 'safeFinetuning.newRun')),
      h('li', {}, h('p', {}, l10n.t('Train, and watch it.')), act(l10n.t('Start Run'), 'safeFinetuning.startRun', true)),
    ),
  );
}
