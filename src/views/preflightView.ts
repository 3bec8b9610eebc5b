/** Runs the preflight under a progress notification, its checks shown one by one in the monitor. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { Disposable } from '../common/disposable';
import { UserError } from '../common/userError';
import { preflight, type Preflight, type PreflightCheck } from '../trainerHost/preflight';
import { folderOf, interpreterOptions, runsFolder } from '../trainerHost/workspace';
import { ConfigurationProblems } from './configurationProblems';
import type { Monitor } from './monitor';
import { fixTitles } from './monitorProtocol';
import { withProgress } from '../common/progress';
import { storedSecrets } from './secrets';

export class PreflightView extends Disposable {
  private readonly problems = this.register(new ConfigurationProblems());
  private checks: PreflightCheck[] = [];

  constructor(
    private readonly monitor: Monitor,
    private readonly trainerFolder: string,
    private readonly secrets: vscode.SecretStorage,
  ) {
    super();
    this.register(monitor.onDidAskForFix(index => void this.mend(this.checks[index])));
  }

  /** The checks of a configuration; undefined when the user cancelled. */
  async run(configuration: vscode.Uri): Promise<Preflight | undefined> {
    const name = path.basename(configuration.fsPath);
    const checks: PreflightCheck[] = [];
    const show = (running: boolean) => this.monitor.showChecks({ configuration: name, running, checks: [...checks] });
    this.checks = checks;
    show(true);
    try {
      const result = await withProgress(l10n.t`Checking ${name}`, async (signal, report) => {
        const python = await interpreterOptions(folderOf(configuration));
        return preflight({
          config: configuration.fsPath,
          python,
          trainerFolder: this.trainerFolder,
          secrets: await storedSecrets(this.secrets, undefined),
          runsFolder: runsFolder(folderOf(configuration)),
          signal,
          onCheck: check => {
            if (signal.aborted) return;
            checks.push(check);
            report({ message: check.title });
            show(true);
          },
        });
      });
      if (!result) {
        this.monitor.showChecks(null);
        return undefined;
      }
      show(false);
      await this.problems.show(configuration, checks);
      return result;
    } catch (error) {
      this.monitor.showChecks(null);
      throw error;
    }
  }

  /** What was found no longer holds. */
  clear(): void {
    this.checks = [];
    this.monitor.showChecks(null);
  }

  /** The run has begun: only what was worth a warning stays. */
  settle(configuration: vscode.Uri): void {
    this.checks = this.checks.filter(check => check.status === 'warning');
    const name = path.basename(configuration.fsPath);
    this.monitor.showChecks(this.checks.length ? { configuration: name, running: false, checks: this.checks } : null);
  }

  /** Says what stands against a run, with the way out of the first failure at hand. */
  explainFailure(checks: readonly PreflightCheck[]): void {
    const errors = checks.filter(check => check.status === 'error');
    const first = errors[0];
    if (!first) return;
    const more = errors.length > 1 && l10n.t`And ${errors.length - 1} more: see the monitor.`;
    const fix = first.fix && fixTitles[first.fix];
    const showChecks = l10n.t('Show Checks');
    void vscode.window
      .showErrorMessage([`${first.title}: ${first.message}`, more].filter(Boolean).join(' '), ...(fix ? [fix] : []), showChecks)
      .then(chosen => {
        if (chosen === showChecks) return vscode.commands.executeCommand('safeFinetuning.openMonitor');
        return chosen ? this.mend(first) : undefined;
      });
  }

  private async mend(check: PreflightCheck | undefined): Promise<void> {
    switch (check?.fix) {
      case 'set-up-environment':
        await vscode.commands.executeCommand('safeFinetuning.setUpEnvironment');
        return;
      case 'choose-interpreter':
        await vscode.commands.executeCommand('workbench.action.openSettings', 'safeFinetuning.python.interpreter');
        return;
      case 'open-file':
        return openAt(check);
      default:
        return;
    }
  }
}

async function openAt({ file, line, column }: PreflightCheck): Promise<void> {
  if (!file) return;
  const at = new vscode.Position(Math.max(0, (line ?? 1) - 1), Math.max(0, (column ?? 1) - 1));
  try {
    await vscode.window.showTextDocument(vscode.Uri.file(file), { selection: new vscode.Range(at, at) });
  } catch (error) {
    throw new UserError(l10n.t`${file} cannot be opened: ${(error as Error).message}`);
  }
}
