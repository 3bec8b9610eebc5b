/** What the user sees beside the editor: monitor, trees, status bar, notifications, and the commands of runs. */
import path from 'node:path';
import * as vscode from 'vscode';
import { setContext } from '../common/context';
import type { Services } from '../common/services';
import type { DatasetFeature } from '../datasets';
import { isActive } from '../trainerHost/runFolder';
import { RunRegistry } from '../trainerHost/runs';
import { runsFolders } from '../trainerHost/workspace';
import { checkedTrainer } from './checkedTrainer';
import { CloseRows } from './closeRows';
import { ComparePanels } from './comparePanel';
import { DatasetsTree } from './datasetsTree';
import { DatasetViewers } from './datasetViewer';
import { registerEnvironmentCommand } from './environmentCommand';
import { registerKeepingRuns } from './keepingRuns';
import { registerModelCommands } from './modelCommands';
import { registerJudgeCommands } from './judgeCommands';
import { Monitor } from './monitor';
import { NewRunForms } from './newRunForm';
import { notifyOfRuns } from './notifications';
import { PreflightView } from './preflightView';
import { PullNotes } from './pullNotes';
import { registerReportCommand } from './reportCommand';
import { registerRowInTraining } from './rowInTraining';
import { registerRunCommands, runningHere } from './runCommands';
import { registerRunsFolderCommand } from './runsFolders';
import { RunsTree } from './runsTree';
import { RunPanels } from './runPanel';
import { registerSecretCommand } from './secrets';
import { StatusBar } from './statusBar';
import { registerTryModel } from './tryModel';

/** What tests use. */
export interface Views {
  runs: RunRegistry;
  newRun: NewRunForms;
}

export function registerViews(services: Services, datasets: DatasetFeature): Views {
  const { context, log } = services;
  const registry = new RunRegistry(runsFolders, log);
  const monitor = new Monitor(context.extensionUri, registry, log);
  const checks = new PreflightView(monitor, path.join(context.extensionPath, 'trainer'), context.secrets);
  context.subscriptions.push(
    registry,
    monitor,
    checks,
    new RunsTree(registry),
    new RunPanels(services, registry),
    new ComparePanels(services, registry),
    new DatasetsTree(datasets.index),
    new DatasetViewers(context.extensionUri, datasets, log),
    new StatusBar(registry),
    ...notifyOfRuns(registry),
    registry.onDidChange(() => setContextKeys(registry)),
    vscode.workspace.onDidChangeWorkspaceFolders(() => void registry.scan()),
  );
  const pulls = new PullNotes(registry, log);
  const closeRows = new CloseRows();
  context.subscriptions.push(pulls, closeRows);
  datasets.showNotes(pulls);
  datasets.showNotes(closeRows);
  const checked = checkedTrainer(context, checks);
  registerRunCommands(services, registry, checks, checked);
  registerJudgeCommands(services, datasets.opinions, closeRows, checked);
  registerRowInTraining(services, datasets, registry, monitor);
  registerKeepingRuns(services, registry);
  registerReportCommand(services, registry);
  registerRunsFolderCommand(services, registry);
  registerModelCommands(services, registry);
  registerTryModel(services, registry);
  registerSecretCommand(services);
  const newRun = new NewRunForms(services, datasets);
  context.subscriptions.push(newRun);
  registerEnvironmentCommand(services, () => {
    checks.clear();
    newRun.askAgain();
  });
  setImmediate(() => void registry.scan());
  return { runs: registry, newRun };
}

function setContextKeys(registry: RunRegistry): void {
  const { active, current } = registry;
  setContext('safeFinetuning.hasRun', current !== undefined);
  setContext('safeFinetuning.runActive', active !== undefined);
  setContext('safeFinetuning.runActiveHere', runningHere(registry) !== undefined);
  setContext('safeFinetuning.runPaused', active?.status === 'paused');
  setContext('safeFinetuning.runResumable', !runningHere(registry) && !!current && !isActive(current.status) && current.resumable);
}
