/** The run's name, how it stands, what can be done, and how far it is. */
import * as l10n from '@vscode/l10n';
import type { MonitorCommand, RunView } from '../../src/views/monitorProtocol';
import { capitalised, phaseWord, statusWord } from '../../src/trainerHost/words';
import { button, spinner, tag } from '../common/toolkit';
import { h, icon, setText, type IconName } from '../common/dom';
import { duration, integer, percent } from '../../src/common/format';

type Status = RunView['status'];

export const statusLook: Record<Status, { icon: IconName; tone: string }> = {
  starting: { icon: 'dot', tone: 'active' },
  running: { icon: 'play', tone: 'active' },
  paused: { icon: 'pause', tone: 'warning' },
  completed: { icon: 'check', tone: 'good' },
  stopped: { icon: 'stop', tone: 'neutral' },
  cancelled: { icon: 'slash', tone: 'neutral' },
  failed: { icon: 'error', tone: 'bad' },
  lost: { icon: 'unplugged', tone: 'bad' },
};

interface ActionSpec {
  command: MonitorCommand;
  label: string;
  icon: IconName;
  /** Wished for less often: the icon alone. */
  quiet?: boolean;
  /** What the label does not say. */
  title?: string;
}

const actions = {
  pause: { command: 'safeFinetuning.pauseRun', label: l10n.t('Pause'), icon: 'pause', title: l10n.t('Everything stays in memory, on the device as well') },
  continue: { command: 'safeFinetuning.resumeRun', label: l10n.t('Continue'), icon: 'play' },
  stop: { command: 'safeFinetuning.stopRun', label: l10n.t('Stop & Save'), icon: 'stop', title: l10n.t('Saves a checkpoint and the adapter, ends, and so frees the device') },
  cancel: { command: 'safeFinetuning.cancelRun', label: l10n.t('Cancel'), icon: 'close' },
  checkpoint: { command: 'safeFinetuning.saveCheckpoint', label: l10n.t('Save Checkpoint Now'), icon: 'save', quiet: true },
  evaluate: { command: 'safeFinetuning.evaluateNow', label: l10n.t('Measure Now'), icon: 'gauge', quiet: true, title: l10n.t('Measure Now: attack success and more; training waits') },
  change: { command: 'safeFinetuning.changeSettings', label: l10n.t('Change β or Learning Rate…'), icon: 'tools', quiet: true },
  resume: { command: 'safeFinetuning.resumeFromCheckpoint', label: l10n.t('Resume'), icon: 'restart' },
  start: { command: 'safeFinetuning.startRun', label: l10n.t('Start Run'), icon: 'play' },
  notes: { command: 'safeFinetuning.editNotes', label: l10n.t('Notes at Steps…'), icon: 'note', quiet: true },
  try: { command: 'safeFinetuning.tryModel', label: l10n.t('Try Model…'), icon: 'speech', quiet: true },
  folder: { command: 'safeFinetuning.revealRunFolder', label: l10n.t('Open Folder'), icon: 'folder', quiet: true },
  panel: { command: 'safeFinetuning.openRunPanel', label: l10n.t('Open Run Panel'), icon: 'chart', quiet: true },
  log: { command: 'safeFinetuning.showTrainerLog', label: l10n.t('Show Log'), icon: 'log', quiet: true },
} satisfies Record<string, ActionSpec>;

/** What is offered, the most likely wish first. */
function actionsFor({ status, resumable, isScript, trained }: RunView): ActionSpec[] {
  const own = isScript ? [] : [actions.evaluate, actions.change]; // a script measures and has its settings itself
  const tryIt = trained ? [actions.try] : [];
  switch (status) {
    case 'starting':
      return [actions.cancel, actions.panel, actions.log];
    case 'running':
      return [actions.pause, actions.stop, actions.cancel, actions.checkpoint, ...own, actions.panel, actions.notes, actions.log];
    case 'paused':
      return [actions.continue, actions.stop, actions.cancel, actions.checkpoint, ...own, actions.panel, actions.notes, actions.log];
    case 'completed':
      return [actions.start, ...tryIt, actions.panel, actions.notes, actions.folder, actions.log];
    case 'stopped':
    case 'cancelled':
      return [...(resumable ? [actions.resume] : []), actions.start, ...tryIt, actions.panel, actions.notes, actions.log];
    case 'failed':
    case 'lost': // the card that says why offers the rest
      return [actions.start, ...tryIt, actions.panel, actions.notes, actions.folder];
  }
}

export class Header {
  readonly element: HTMLElement;
  private readonly name = h('h1');
  private readonly status = h('div', { class: 'status' });
  private readonly about = h('div', { class: 'about' });
  private readonly plain = h('p', { class: 'note', hidden: true }, l10n.t('A training script: nothing regularises it, so there is no risk, no β and no canary.'));
  private readonly buttons = h('div', { class: 'actions', attributes: { role: 'group', 'aria-label': l10n.t('Run') } });
  private readonly phase = new PhaseBar();
  private shown = { status: '', buttons: '', about: '' };

  constructor(
    private readonly run: (command: MonitorCommand) => void,
    /** Not offered: one is there already. */
    private readonly except?: MonitorCommand,
  ) {
    this.element = h('header', {}, this.status, this.name, this.about, this.plain, this.buttons, this.phase.element);
  }

  update(view: RunView): void {
    const given = view.name !== view.id && view.name;
    setText(this.name, given || view.configuration.replace(/\.finetune\.json$/, '') || view.id);
    this.name.title = `${view.name}\n${l10n.t`Model: ${view.model || l10n.t('not known yet')}`}`;
    this.plain.hidden = !view.isScript;
    this.updateStatus(view);
    this.updateAbout(view);
    this.updateButtons(view);
    this.phase.update(view);
  }

  private updateStatus({ status }: RunView): void {
    if (this.shown.status === status) return;
    this.shown.status = status;
    const look = statusLook[status];
    this.status.className = `status tone-${look.tone}`;
    this.status.replaceChildren(status === 'starting' ? spinner() : icon(look.icon), capitalised(statusWord(status)));
  }

  private updateAbout({ method, attempt, id }: RunView): void {
    const key = [method, attempt, id].join();
    if (this.shown.about === key) return;
    this.shown.about = key;
    this.about.replaceChildren(
      ...(method ? [tag(method)] : []),
      ...(attempt > 1 ? [tag(l10n.t`attempt ${attempt}`)] : []),
      h('span', { class: 'run-id', title: id }, id),
    );
  }

  private updateButtons(view: RunView): void {
    const offered = actionsFor(view).filter(({ command }) => command !== this.except);
    const key = offered.map(({ command }) => command).join();
    if (this.shown.buttons === key) return;
    this.shown.buttons = key;
    const hadFocus = this.buttons.contains(document.activeElement);
    const elements = offered.map(({ command, label, icon: name, quiet, title }, index) =>
      button({ label, icon: icon(name), iconOnly: quiet, title, primary: index === 0 && view.status !== 'failed', onClick: () => this.run(command) }),
    );
    this.buttons.replaceChildren(...elements);
    if (hadFocus) elements[0]?.focus();
  }
}

/** How far the present phase is. */
class PhaseBar {
  readonly element: HTMLElement;
  private readonly title = h('span', { class: 'phase-title' });
  private readonly amount = h('span', { class: 'number' });
  private readonly bar = h('div', { class: 'bar', attributes: { role: 'progressbar', 'aria-label': l10n.t('Progress of the phase') } }, h('div', {}));
  private readonly note = h('div', { class: 'note' });

  constructor() {
    this.element = h('div', { class: 'phase' }, h('div', { class: 'phase-line' }, this.title, this.amount), this.bar, this.note);
  }

  update({ status, phase, current, reading }: RunView): void {
    this.element.hidden = !phase && status !== 'starting' && reading === null;
    if (this.element.hidden) return;
    const ofPhase = phase?.total ? Math.min(1, (phase.done ?? 0) / phase.total) : null;
    const share = reading ?? ofPhase;
    setText(this.title, reading !== null ? l10n.t('Reading what has happened') : phase ? phaseWord[phase.phase] : l10n.t('Starting the trainer'));
    setText(this.amount, share === null ? '' : percent(share));
    const fill = this.bar.firstElementChild as HTMLElement;
    fill.style.width = share === null ? '' : `${100 * share}%`;
    this.bar.classList.toggle('endless', share === null && status !== 'paused');
    this.bar.classList.toggle('paused', status === 'paused');
    if (share === null) this.bar.removeAttribute('aria-valuenow');
    else this.bar.setAttribute('aria-valuenow', String(Math.round(100 * share)));
    setText(this.note, reading !== null ? '' : this.noteText(phase, current));
  }

  private noteText(phase: RunView['phase'], current: RunView['current']): string {
    if (!phase) return '';
    const counted =
      phase.done !== null ? (phase.total ? l10n.t`${phase.done} of ${integer(phase.total)} ${phase.unit}` : `${integer(phase.done)} ${phase.unit}`) : '';
    const eta = phase.phase === 'training' ? (current?.etaSeconds ?? null) : null;
    const left = eta === null ? '' : l10n.t`about ${duration(eta)} left`;
    return [counted || phase.message, left].filter(Boolean).join(' · ');
  }
}
