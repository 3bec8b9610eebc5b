/** Set Up Environment: a virtual environment with what the trainer needs, for the device that the user has. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { setting } from '../common/configuration';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import { checkPackages, EnvironmentError, findPython, isForeignVenv, setUpEnvironment } from '../trainerHost/environment';
import { interpreterOptions, requireTrust } from '../trainerHost/workspace';
import { withProgress } from '../common/progress';

export function registerEnvironmentCommand({ context, log, registerCommand }: Services, onReady: () => void): void {
  const trainer = path.join(context.extensionPath, 'trainer');
  let busy = false;
  context.subscriptions.push(
    registerCommand('safeFinetuning.setUpEnvironment', async () => {
      requireTrust(l10n.t('Setting up the environment'));
      if (busy) throw new UserError(l10n.t('The environment is being set up already: see its progress notification.'));
      busy = true;
      try {
        await setUp(trainer, log, onReady);
      } catch (error) {
        if (!(error instanceof EnvironmentError)) throw error;
        if (error.reason === 'cancelled') return;
        if (error.detail) log.error(error.detail);
        throw new UserError(`${error.message} ${error.nextStep}`, [
          { title: l10n.t('Show Log'), command: 'safeFinetuning.showLog' },
          { title: l10n.t('Try Again'), command: 'safeFinetuning.setUpEnvironment' },
        ]);
      } finally {
        busy = false;
      }
    }),
  );
}

async function setUp(trainer: string, log: vscode.LogOutputChannel, onReady: () => void): Promise<void> {
  const folder = await pickFolder();
  if (!folder) return;
  if (!(await leaveGivenInterpreter(folder, trainer))) return;

  const venv = path.join(folder.uri.fsPath, '.venv');
  if (isForeignVenv(venv) && !(await confirmForeign(venv))) return;
  const torchIndexUrl = await pickTorchIndex();
  if (torchIndexUrl === undefined) return;

  const { active } = await interpreterOptions(folder);
  const python = await findPython({ active, forVenv: true });
  log.info(`Setting up ${venv} with ${python.path}`);
  const result = await withProgress(l10n.t('Safe Fine-Tuning: setting up the environment'), (signal, report) => {
    let reached = 0;
    return setUpEnvironment({
      python,
      venv,
      requirements: path.join(trainer, 'requirements.txt'),
      trainer,
      torchIndexUrl,
      signal,
      onOutput: line => log.info(line),
      onProgress: ({ step, steps, message }) => {
        report({ message, increment: (100 * (step - reached)) / (steps + 1) });
        reached = step;
      },
    });
  });
  if (!result) return;
  onReady();
  const done = result.changed ? l10n.t('The environment is ready.') : l10n.t('The environment is ready; nothing had to be done.');
  const start = l10n.t('Start Run');
  if ((await vscode.window.showInformationMessage(done, start)) === start) {
    await vscode.commands.executeCommand('safeFinetuning.startRun');
  }
}

async function pickFolder(): Promise<vscode.WorkspaceFolder | undefined> {
  const folders = vscode.workspace.workspaceFolders ?? [];
  if (folders.length === 0) {
    throw new UserError(l10n.t('Open a folder first: the environment is made inside it, as .venv.'), [
      { title: l10n.t('Open Folder'), command: 'vscode.openFolder' },
    ]);
  }
  return folders.length === 1 ? folders[0] : vscode.window.showWorkspaceFolderPick({ placeHolder: l10n.t('Where shall .venv be made?') });
}

/** An interpreter in the settings wins over `.venv`: one that will do is kept, otherwise the user decides. */
async function leaveGivenInterpreter(folder: vscode.WorkspaceFolder, trainer: string): Promise<boolean> {
  const { given } = await interpreterOptions(folder);
  if (!given) return true;
  const complete = await checkPackages(given, trainer).then(
    packages => packages.every(({ ok }) => ok),
    () => false,
  );
  const clear = l10n.t('Clear Setting and Set Up .venv');
  const chosen = await vscode.window.showInformationMessage(
    complete
      ? l10n.t`The interpreter in the settings, ${given}, has all that the trainer needs: it is used.`
      : l10n.t`The interpreter in the settings, ${given}, lacks what the trainer needs, and it wins over .venv.`,
    clear,
  );
  if (chosen !== clear) return false;
  const configuration = vscode.workspace.getConfiguration('safeFinetuning', folder.uri);
  const name = 'python.interpreter';
  const set = configuration.inspect<string>(name);
  if (set?.workspaceFolderValue) await configuration.update(name, undefined, vscode.ConfigurationTarget.WorkspaceFolder);
  if (set?.workspaceValue) await configuration.update(name, undefined, vscode.ConfigurationTarget.Workspace);
  if (set?.globalValue) await configuration.update(name, undefined, vscode.ConfigurationTarget.Global);
  return true;
}

async function confirmForeign(venv: string): Promise<boolean> {
  const install = l10n.t('Install Into It');
  const message = l10n.t`There is an environment at ${venv} already. The trainer's packages would be installed into it, in the versions that it is tested with.`;
  const detail = l10n.t('If its Python does not start here or is too old, it is kept beside as .venv.broken-… and a new one is made.');
  return (await vscode.window.showWarningMessage(message, { modal: true, detail }, install)) === install;
}

/** The package index for PyTorch; empty for pip's default; undefined when the user left. */
async function pickTorchIndex(): Promise<string | undefined> {
  const set = setting('python.torchIndexUrl');
  if (set) return set;
  const standard = {
    label: l10n.t('Standard build'),
    detail: l10n.t('CUDA on Linux, the CPU on Windows, Metal on a Mac. What most people want.'),
  };
  const other = {
    label: l10n.t('Another build…'),
    detail: l10n.t('For a certain CUDA version, ROCm, or the CPU only (much smaller): from an index that you name.'),
  };
  const chosen = await vscode.window.showQuickPick([standard, other], {
    title: l10n.t('Set Up Environment: which PyTorch?'),
    placeHolder: l10n.t('PyTorch comes in one build per kind of device'),
  });
  if (!chosen) return undefined;
  if (chosen === standard) return '';
  const url = await vscode.window.showInputBox({
    title: l10n.t('Set Up Environment: package index for PyTorch'),
    prompt: l10n.t('The --index-url that pytorch.org shows for your device ("Get Started"). It is kept in the settings.'),
    validateInput: value => (/^https?:\/\/\S+$/.test(value) ? undefined : l10n.t('Give an address that begins with https://')),
  });
  if (url) {
    await vscode.workspace
      .getConfiguration('safeFinetuning')
      .update('python.torchIndexUrl', url, vscode.ConfigurationTarget.Global);
  }
  return url;
}
