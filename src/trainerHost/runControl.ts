/** Tells running trainers what to do, and sees to it that a stop is a stop. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as l10n from '@vscode/l10n';
import { UserError } from '../common/userError';
import type { Command, CommandAcknowledged } from '../protocol/messages';
import { writeCommand, type Settings } from './commandWriter';
import type { Run } from './run';
import { isActive, notWritable, updateMeta } from './runFolder';
import { statusWord } from './words';
import { escalate, impatience, patience, type StopOutcome } from './stopper';

/** Why a command reaches nobody: in whole sentences, since verbs do not fit into them alike in every language. */
interface Unheard {
  none: () => string;
  lost: (run: string) => string;
  ended: (run: string, status: string) => string;
}

const unheard: Record<Command['command'], Unheard> = {
  pause: {
    none: () => l10n.t('There is no run to pause.'),
    lost: run => l10n.t`Run ${run} gives no sign of life from its machine; it cannot be told to pause.`,
    ended: (run, status) => l10n.t`Run ${run} has ended (${status}); there is nothing to pause.`,
  },
  resume: {
    none: () => l10n.t('There is no run to continue.'),
    lost: run => l10n.t`Run ${run} gives no sign of life from its machine; it cannot be told to continue.`,
    ended: (run, status) => l10n.t`Run ${run} has ended (${status}); there is nothing to continue.`,
  },
  stop: {
    none: () => l10n.t('There is no run to stop.'),
    lost: run => l10n.t`Run ${run} gives no sign of life from its machine; it cannot be told to stop.`,
    ended: (run, status) => l10n.t`Run ${run} has ended (${status}); there is nothing to stop.`,
  },
  cancel: {
    none: () => l10n.t('There is no run to cancel.'),
    lost: run => l10n.t`Run ${run} gives no sign of life from its machine; it cannot be told to cancel.`,
    ended: (run, status) => l10n.t`Run ${run} has ended (${status}); there is nothing to cancel.`,
  },
  checkpoint: {
    none: () => l10n.t('There is no run to save.'),
    lost: run => l10n.t`Run ${run} gives no sign of life from its machine; it cannot be told to save.`,
    ended: (run, status) => l10n.t`Run ${run} has ended (${status}); there is nothing to save.`,
  },
  evaluate: {
    none: () => l10n.t('There is no run to measure.'),
    lost: run => l10n.t`Run ${run} gives no sign of life from its machine; it cannot be told to measure.`,
    ended: (run, status) => l10n.t`Run ${run} has ended (${status}); there is nothing to measure.`,
  },
  set: {
    none: () => l10n.t('There is no run to change.'),
    lost: run => l10n.t`Run ${run} gives no sign of life from its machine; it cannot be told to change.`,
    ended: (run, status) => l10n.t`Run ${run} has ended (${status}); there is nothing to change.`,
  },
};

const refused = {
  checkpoint: (run: string, reason: string) => l10n.t`Run ${run} cannot save a checkpoint now: ${reason}.`,
  evaluate: (run: string, reason: string) => l10n.t`Run ${run} cannot be measured now: ${reason}.`,
  set: (run: string, reason: string) => l10n.t`Run ${run} cannot be changed like that: ${reason}.`,
};
const pollMilliseconds = 100;
const answerMilliseconds = 10_000;

/** The run, if it can be told anything. */
export function needActive(run: Run | undefined, command: Command['command']): Run {
  const { none, lost, ended } = unheard[command];
  if (!run) throw new UserError(none());
  if (run.status === 'lost') throw new UserError(lost(run.name));
  if (!isActive(run.status)) {
    const actions = run.resumable
      ? [{ title: l10n.t('Resume From Checkpoint'), command: 'safeFinetuning.resumeFromCheckpoint' as const }]
      : [];
    throw new UserError(ended(run.name, statusWord(run.status)), actions);
  }
  return run;
}

function tell(candidate: Run | undefined, command: Command['command'], settings: Settings = {}): { run: Run; id: string } {
  const run = needActive(candidate, command);
  try {
    return { run, id: writeCommand(run.folder, command, settings).id };
  } catch (error) {
    throw notWritable(run.folder, error);
  }
}

export function pauseRun(run: Run | undefined): void {
  if (run?.status === 'paused') throw new UserError(l10n.t`Run ${run.name} is paused already.`);
  tell(run, 'pause');
}

export function continueRun(run: Run | undefined): void {
  // A pause begins with the next batch; until then it can be taken back.
  const paused = run?.status === 'paused' || run?.state.acknowledged.at(-1)?.command === 'pause';
  if (run && isActive(run.status) && !paused) throw new UserError(l10n.t`Run ${run.name} is not paused.`);
  tell(run, 'resume');
}

/**
 * Saves and stops; saving may take its time. Returns the trainer's answer, if the run has not ended without one.
 * Nothing but asking is done: to the trainer, a signal means to stop without saving.
 */
export async function stopRun(candidate: Run | undefined, patienceMilliseconds = answerMilliseconds): Promise<string | undefined> {
  const { run, id } = tell(candidate, 'stop');
  const answer = await answerTo(run, id, patienceMilliseconds);
  if (!answer && isActive(run.status)) {
    throw new UserError(
      l10n.t`Run ${run.name} has not answered the request to save and stop. It will when it gets to it. Cancelling ends it now and saves nothing; its last complete checkpoint is kept.`,
      [{ title: l10n.t('Cancel Run'), command: 'safeFinetuning.cancelRun' }],
    );
  }
  await run.refresh();
  return answerOf(run, id)?.message;
}

/** Saves a checkpoint and goes on; returns the trainer's answer. */
export const saveCheckpoint = (candidate: Run | undefined): Promise<string> => request(candidate, 'checkpoint');

/** Measures the model as it is and goes on; returns the trainer's answer. */
export const evaluateNow = (candidate: Run | undefined): Promise<string> => request(candidate, 'evaluate');

/** Changes what can be changed while the run goes on; returns the trainer's answer. */
export const changeSettings = (candidate: Run | undefined, settings: Settings): Promise<string> => request(candidate, 'set', settings);

async function request(candidate: Run | undefined, command: keyof typeof refused, settings: Settings = {}): Promise<string> {
  const { run, id } = tell(candidate, command, settings);
  const answer = await answerTo(run, id, answerMilliseconds);
  if (!answer) {
    needActive(run, command);
    throw new UserError(l10n.t`Run ${run.name} has not answered yet. It will when it gets to it.`);
  }
  if (!answer.accepted) throw new UserError(refused[command](run.name, answer.message));
  return answer.message;
}

const answerOf = (run: Run, id: string) => run.state.acknowledged.find(given => given.id === id);

/** The trainer's answer to a command, as soon as there is one; none when the run ends or takes too long. */
async function answerTo(run: Run, id: string, patienceMilliseconds: number): Promise<CommandAcknowledged | undefined> {
  const begun = Date.now();
  const watch = run.watch();
  while (!answerOf(run, id) && isActive(run.status) && Date.now() - begun < patienceMilliseconds) await sleep(pollMilliseconds);
  watch.dispose();
  return answerOf(run, id);
}

/** Stops without saving; the end of the process counts. */
export async function cancelRun(candidate: Run | undefined): Promise<StopOutcome> {
  const run = needActive(candidate, 'cancel');
  let limits = run.status === 'starting' ? impatience : patience;
  try {
    writeCommand(run.folder, 'cancel');
    await updateMeta(run.folder, () => ({ cancelled: true }));
  } catch {
    limits = impatience; // a full disk, say: the trainer cannot hear it, but it can be ended
  }
  const watch = run.watch();
  const outcome = await escalate({ process: () => run.process, answered: () => !isActive(run.status) }, limits).finally(() => watch.dispose());
  await run.refresh();
  return outcome;
}

/** What the user should know of an end that was not as asked for. */
export function describeStop(run: Pick<Run, 'name' | 'process' | 'resumable'>, outcome: StopOutcome): string | undefined {
  switch (outcome) {
    case 'answered':
    case 'ended':
      return undefined;
    case 'terminated':
    case 'killed': {
      const ended = outcome === 'killed' ? l10n.t('The trainer did not answer and was killed.') : l10n.t('The trainer did not answer and was terminated.');
      return `${ended} ${run.resumable ? l10n.t('Its last complete checkpoint is kept.') : l10n.t('Nothing had been saved.')}`;
    }
    case 'unreachable':
      return run.process
        ? l10n.t`Run ${run.name} did not answer, and its process, ${run.process.pid} on ${run.process.host}, cannot be ended from here. End it there.`
        : l10n.t`Run ${run.name} did not answer, and no process of it is known. If it was started elsewhere, end it there.`;
  }
}
