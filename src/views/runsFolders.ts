/** Runs that lie elsewhere, on a mounted folder of a cluster say, are followed like those of the workspace. */
import fs from 'node:fs';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { isOne } from '../common/language';
import { integer } from '../common/format';
import { setting } from '../common/configuration';
import type { Services } from '../common/services';
import { launchFile, runFile } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { requireTrust, runsFolders } from '../trainerHost/workspace';

export function registerRunsFolderCommand({ context, registerCommand }: Services, registry: RunRegistry): void {
  context.subscriptions.push(
    vscode.workspace.onDidChangeConfiguration(change => {
      if (change.affectsConfiguration('safeFinetuning.runs')) void registry.scan();
    }),

    registerCommand('safeFinetuning.addRunsFolder', async given => {
      requireTrust(l10n.t('Following another folder of runs'));
      const chosen = given?.fsPath ?? (await pickFolder());
      if (!chosen) return;
      // Whoever picks a run means the folder that it is kept in.
      const isRun = [runFile, launchFile].some(file => fs.existsSync(file(chosen)));
      const folder = path.resolve(isRun ? path.dirname(chosen) : chosen);
      if (!runsFolders().includes(folder)) await follow(folder);
      await registry.lookAgain();
      const found = registry.runs.filter(run => path.dirname(run.folder) === folder).length;
      void vscode.window.showInformationMessage(followedText(folder, found));
    }),
  );
}

function followedText(folder: string, found: number): string {
  if (found === 0) return l10n.t`Following ${folder}: no run is in it yet. The setting safeFinetuning.runs.moreFolders lists what is followed.`;
  return isOne(found)
    ? l10n.t`Following ${folder}: ${integer(found)} run found. The setting safeFinetuning.runs.moreFolders lists what is followed.`
    : l10n.t`Following ${folder}: ${integer(found)} runs found. The setting safeFinetuning.runs.moreFolders lists what is followed.`;
}

async function pickFolder(): Promise<string | undefined> {
  const title = l10n.t('Follow another folder of runs: one that holds a subfolder for each run');
  const chosen = await vscode.window.showOpenDialog({ title, openLabel: l10n.t('Follow'), canSelectFolders: true, canSelectFiles: false });
  return chosen?.[0]?.fsPath;
}

/** In this workspace, where there is one; other windows follow folders of their own. */
async function follow(folder: string): Promise<void> {
  const target = vscode.workspace.workspaceFolders ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global;
  const folders = [...setting('runs.moreFolders'), folder];
  await vscode.workspace.getConfiguration('safeFinetuning').update('runs.moreFolders', folders, target);
}
