/** The commands around runs. Each says why when it cannot do what it is for. */
import fs from 'node:fs';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import { launchRun, resumeRun, withLaunchLock, type Launched } from '../trainerHost/launcher';
import { askOnlyIf } from '../trainerHost/processIdentity';
import type { Run } from '../trainerHost/run';
import { cancelRun, continueRun, describeStop, evaluateNow, needActive, pauseRun, saveCheckpoint, stopRun } from '../trainerHost/runControl';
import { statusWord } from '../trainerHost/words';
import { isActive, logFile } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { folderOf, ownRunsFolders, requireTrust, runsFolder } from '../trainerHost/workspace';
import { askAndChange } from './changeSettings';
import type { CheckedTrainer } from './checkedTrainer';
import { offerToSave, pickConfiguration, summarise } from './configurationFile';
import type { PreflightView } from './preflightView';
import { needRun } from './runsTree';

const answerMilliseconds = 10_000;

export function registerRunCommands({ context, log, registerCommand }: Services, registry: RunRegistry, checks: PreflightView, checkedTrainer: CheckedTrainer): void {
  askOnlyIf(() => vscode.workspace.isTrusted);
  const showMonitor = () => vscode.commands.executeCommand('safeFinetuning.monitor.focus');

  const begin = async (configuration: vscode.Uri, folder: string, launch: () => Promise<Launched>): Promise<string> =>
    withLaunchLock(folder, async () => {
      await registry.lookAgain(); // another window may have begun a run just before
      refuseSecond(runningHere(registry));
      const launched = await launch();
      const run = await registry.add(launched.folder);
      void launched.ended.then(() => run.refresh());
      registry.select(run);
      checks.settle(configuration);
      log.info(`Run ${run.id} started, process ${run.meta.launched?.pid}`);
      return run.id;
    });

  context.subscriptions.push(
    registerCommand('safeFinetuning.checkConfiguration', async given => {
      requireTrust(l10n.t('Checking a run configuration'));
      const configuration = await pickConfiguration(given);
      if (!configuration || !(await offerToSave(summarise(configuration.fsPath).files))) return;
      await showMonitor();
      const result = await checks.run(configuration);
      if (!result) return;
      checks.explainFailure(result.checks);
      if (result.trainer) {
        void vscode.window.showInformationMessage(l10n.t`${path.basename(configuration.fsPath)} is ready to run.`);
      }
    }),

    registerCommand('safeFinetuning.startRun', async given => {
      requireTrust(l10n.t('Training'));
      const configuration = await pickConfiguration(given);
      if (!configuration) return undefined;
      const { files } = summarise(configuration.fsPath);
      if (!(await offerToSave(files))) return undefined;
      const { method } = summarise(configuration.fsPath); // as saved
      await registry.scan();
      refuseSecond(runningHere(registry));
      await showMonitor();
      const trainer = await checkedTrainer(configuration);
      if (!trainer) return undefined;
      const folder = runsFolder(folderOf(configuration));
      return begin(configuration, folder, () => launchRun(trainer, configuration.fsPath, method, folder));
    }),

    registerCommand('safeFinetuning.resumeFromCheckpoint', async item => {
      requireTrust(l10n.t('Training'));
      const run = needRun(item ? registry.byId(item.runId) : registry.current);
      if (!run.resumable) throw new UserError(whyNotResumable(run));
      const { configPath } = run;
      if (!configPath || !fs.existsSync(configPath)) {
        throw new UserError(l10n.t`The configuration of run ${run.name}, ${configPath ?? l10n.t('unknown')}, is gone. Put it back to resume.`);
      }
      const configuration = vscode.Uri.file(configPath);
      if (!(await offerToSave(summarise(configPath).files))) return undefined;
      await registry.scan();
      refuseSecond(runningHere(registry));
      await showMonitor();
      const trainer = await checkedTrainer(configuration);
      return trainer && begin(configuration, path.dirname(run.folder), () => resumeRun(trainer, configPath, run.folder));
    }),

    registerCommand('safeFinetuning.pauseRun', () => {
      pauseRun(target(registry));
      void vscode.window.setStatusBarMessage(l10n.t('Pausing: everything stays in memory. Stopping and saving frees the device.'), answerMilliseconds);
    }),
    registerCommand('safeFinetuning.resumeRun', () => continueRun(target(registry))),
    registerCommand('safeFinetuning.stopRun', async () => {
      requireTrust(l10n.t('Stopping a run'));
      const run = target(registry);
      if (!(await isMeant(run, registry, l10n.t('Save and Stop')))) return;
      const answer = await stopRun(run);
      if (run && answer) void vscode.window.setStatusBarMessage(`${run.name}: ${answer}`, answerMilliseconds);
    }),
    registerCommand('safeFinetuning.cancelRun', async () => {
      requireTrust(l10n.t('Cancelling a run')); // it may end the process that the run folder names
      const run = target(registry);
      if (!(await isMeant(run, registry, l10n.t('Cancel Run')))) return;
      const outcome = await cancelRun(run);
      const text = run && describeStop(run, outcome);
      if (text) void vscode.window.showWarningMessage(text);
    }),

    registerCommand('safeFinetuning.saveCheckpoint', async () => {
      requireTrust(l10n.t('Saving a checkpoint'));
      const answer = await saveCheckpoint(target(registry));
      void vscode.window.setStatusBarMessage(answer, answerMilliseconds);
    }),
    registerCommand('safeFinetuning.evaluateNow', async () => {
      requireTrust(l10n.t('Measuring a run'));
      const answer = await evaluateNow(target(registry));
      void vscode.window.setStatusBarMessage(answer, answerMilliseconds);
    }),
    registerCommand('safeFinetuning.changeSettings', async () => {
      requireTrust(l10n.t('Changing a run'));
      const answer = await askAndChange(needActive(target(registry), 'set'));
      if (answer) void vscode.window.setStatusBarMessage(answer, answerMilliseconds);
    }),

    registerCommand('safeFinetuning.openMonitor', showMonitor),
    registerCommand('safeFinetuning.selectRun', async runId => {
      const run = registry.byId(runId);
      if (!run) throw new UserError(l10n.t`Run ${runId} is no longer there.`);
      registry.select(run);
      await showMonitor();
    }),
    registerCommand('safeFinetuning.showTrainerLog', async item => {
      const file = logFile(needRun(item ? registry.byId(item.runId) : registry.current).folder);
      if (!fs.existsSync(file)) throw new UserError(l10n.t`This run has no log: it was not started from here (${file}).`);
      await vscode.window.showTextDocument(vscode.Uri.file(file), { preview: true });
    }),
    registerCommand('safeFinetuning.revealRunFolder', async item => {
      const { folder } = needRun(item ? registry.byId(item.runId) : registry.current);
      // A desktop shows its file manager; in a browser or on a remote machine there is none.
      const local = vscode.env.uiKind === vscode.UIKind.Desktop && !vscode.env.remoteName;
      await vscode.commands.executeCommand(local ? 'revealFileInOS' : 'revealInExplorer', vscode.Uri.file(folder));
    }),
    registerCommand('safeFinetuning.showLog', () => log.show()),
  );
}

/** Whom a command means: the run shown, or the running one when the shown one has ended. */
function target(registry: RunRegistry): Run | undefined {
  const { current, active } = registry;
  return current && isActive(current.status) ? current : (active ?? current);
}

/** Of what ends a run: asks where it is another one than that which is shown, as that has just ended, say. */
async function isMeant(run: Run | undefined, { current }: RunRegistry, action: string): Promise<boolean> {
  if (!run || !current || run === current) return true;
  const question = l10n.t`Run ${current.name} is shown (${statusWord(current.status)}). Do you mean run ${run.name} (${statusWord(run.status)})?`;
  return (await vscode.window.showWarningMessage(question, { modal: true }, action)) === action;
}

/** What runs in a folder of this workspace: that which is followed elsewhere has a machine of its own. */
export function runningHere({ runs }: RunRegistry): Run | undefined {
  const own = ownRunsFolders();
  return runs.find(run => isActive(run.status) && own.includes(path.dirname(run.folder)));
}

function refuseSecond(running: Run | undefined): void {
  if (!running) return;
  throw new UserError(l10n.t`Run ${running.name} is ${statusWord(running.status)}: one run at a time in a workspace. Stop it first, or wait.`, [
    { title: l10n.t('Show Run'), command: 'safeFinetuning.selectRun', arguments: [running.id] },
  ]);
}

function whyNotResumable(run: Run): string {
  switch (run.status) {
    case 'starting':
    case 'running':
      return l10n.t`Run ${run.name} is running; there is nothing to resume.`;
    case 'paused':
      return l10n.t`Run ${run.name} is paused: use "Continue Paused Run".`;
    case 'completed':
      return l10n.t`Run ${run.name} is completed; there is nothing left to do.`;
    case 'lost':
    case 'failed':
    case 'stopped':
    case 'cancelled':
      return l10n.t`Run ${run.name} has no complete checkpoint to resume from. Start it again.`;
  }
}
