/** From a row of a dataset to the steps of a run in which it was trained on. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { hundredths } from '../common/format';
import type { RowLocation } from '../common/commands';
import { withProgress } from '../common/progress';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import type { DatasetFeature } from '../datasets';
import { stepsOfRow, type SeenRow } from '../trainerHost/batches';
import type { Run } from '../trainerHost/run';
import { eventsFile } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { runLabel } from './describe';
import type { Monitor } from './monitor';

export function registerRowInTraining({ context, registerCommand }: Services, datasets: DatasetFeature, registry: RunRegistry, monitor: Monitor): void {
  context.subscriptions.push(
    registerCommand('safeFinetuning.showRowInTraining', async given => {
      const [row] = given && 'hash' in given ? [given] : datasets.selectedRows();
      const run = runOn(registry, row!.path);
      const steps = await withProgress(l10n.t`Looking for the row in ${runLabel(run)}`, signal => stepsOf(run, row!, signal));
      const step = steps && (await pickStep(run, steps));
      if (step === undefined) return undefined;
      registry.select(run);
      await vscode.commands.executeCommand('safeFinetuning.openMonitor');
      monitor.showStep(run, step);
      return step;
    }),
  );
}

/** The run that is shown if it has trained on the file, otherwise the newest that has. */
function runOn({ current, runs }: RunRegistry, file: string): Run {
  const found = [...(current ? [current] : []), ...runs].find(({ record }) => record?.datasets.some(dataset => dataset.path === file));
  if (found) return found;
  throw new UserError(l10n.t`No run of this workspace has trained on ${path.basename(file)}.`, [
    { title: l10n.t('Start Run'), command: 'safeFinetuning.startRun' },
  ]);
}

async function stepsOf(run: Run, row: RowLocation, signal: AbortSignal): Promise<SeenRow[]> {
  const files = run.record?.datasets ?? [];
  const hold = run.hold();
  try {
    await run.read(signal);
    const steps = await stepsOfRow(eventsFile(run.folder), run.state.series, row.hash, file => files[file]?.path === row.path, signal);
    if (steps.length > 0) return steps;
  } finally {
    hold.dispose();
  }
  throw new UserError(
    l10n.t`${path.basename(row.path)}:${row.line} is in no step of ${runLabel(run)}. It was held out or left out, its turn has not come, or it has been changed since.`,
  );
}

/** Where there is but one, that one. */
async function pickStep(run: Run, steps: readonly SeenRow[]): Promise<number | undefined> {
  if (steps.length === 1) return steps[0]!.step;
  const items = steps.map(({ step, risk, beta, nll, kl }) => ({
    label: l10n.t`Step ${step}`,
    description: l10n.t`risk ${risk === null ? l10n.t('unscored') : hundredths(risk)} · β ${hundredths(beta)} · nll ${hundredths(nll)} · KL ${hundredths(kl)}`,
    step,
  }));
  const chosen = await vscode.window.showQuickPick(items, { title: l10n.t`The row in ${runLabel(run)}: ${steps.length} steps`, placeHolder: l10n.t('Which step?'), matchOnDescription: true });
  return chosen?.step;
}
