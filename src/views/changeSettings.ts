/** Asks what to change of a run that goes on, and tells it. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { UserError } from '../common/userError';
import type { Settings } from '../trainerHost/commandWriter';
import type { Run } from '../trainerHost/run';
import { changeSettings } from '../trainerHost/runControl';

interface Choice extends vscode.QuickPickItem {
  setting: keyof Settings;
  value: number;
}

/** Returns the trainer's answer; none when the user thinks better of it. */
export async function askAndChange(run: Run): Promise<string | undefined> {
  if (run.record?.script) throw new UserError(l10n.t`Run ${run.name} is of a training script, which has its settings itself: they cannot be changed from here.`);
  const chosen = await vscode.window.showQuickPick(choices(run), {
    title: l10n.t`Change ${run.name}`,
    placeHolder: l10n.t('In force from the next step on; the configuration file stays as it is'),
  });
  if (!chosen) return undefined;
  const text = await vscode.window.showInputBox({
    title: l10n.t`${chosen.label}, from the next step on`,
    value: String(chosen.value),
    validateInput: given => whyNot(chosen.setting, given, run),
  });
  return text === undefined ? undefined : changeSettings(run, { [chosen.setting]: Number(text) });
}

function choices(run: Run): Choice[] {
  const { betaMin, betaMax, learningRate } = settingsOf(run);
  const rate: Choice = { label: l10n.t('Peak learning rate'), description: l10n.t`now ${learningRate}`, setting: 'learningRate', value: learningRate };
  if (!hasBeta(run)) return [rate];
  return [
    { label: l10n.t('Lower end of β'), description: l10n.t`now ${betaMin}: the pull on rows without risk`, setting: 'betaMin', value: betaMin },
    { label: l10n.t('Upper end of β'), description: l10n.t`now ${betaMax}: the pull on rows of risk 1`, setting: 'betaMax', value: betaMax },
    rate,
  ];
}

const hasBeta = ({ record }: Run): boolean => record?.config?.method === 'adaptive' || record?.config?.method === 'recommended';

/** As configured, and as changed since. */
function settingsOf({ record, state }: Run): { betaMin: number; betaMax: number; learningRate: number } {
  const changes = state.interventions.filter(event => event.type === 'settings');
  const newest = (setting: keyof Settings) => changes.map(change => change[setting]).filter(value => value !== null).at(-1);
  return {
    betaMin: newest('betaMin') ?? record?.config?.regularisation.betaMin ?? 0,
    betaMax: newest('betaMax') ?? record?.config?.regularisation.betaMax ?? 1,
    learningRate: newest('learningRate') ?? record?.config?.training.learningRate ?? 0,
  };
}

function whyNot(setting: keyof Settings, given: string, run: Run): string | undefined {
  const value = Number(given);
  const { betaMin, betaMax } = settingsOf(run);
  if (!given.trim() || !Number.isFinite(value)) return l10n.t('A number, such as 0.2 or 1e-4.');
  if (setting === 'learningRate') return value > 0 ? undefined : l10n.t('A learning rate is above 0.');
  if (value < 0 || value > 1) return l10n.t('β lies between 0 and 1.');
  if (setting === 'betaMin' && value > betaMax) return l10n.t`Not above the upper end, ${betaMax}.`;
  if (setting === 'betaMax' && value < betaMin) return l10n.t`Not below the lower end, ${betaMin}.`;
  return undefined;
}
