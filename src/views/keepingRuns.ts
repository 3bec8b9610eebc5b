/** What users do with runs that they keep: name, tags, notes, start again, and away with them. */
import fs from 'node:fs';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import type { Services } from '../common/services';
import { integer } from '../common/format';
import { errorText } from '../common/log';
import { UserError } from '../common/userError';
import type { Run } from '../trainerHost/run';
import { isActive, withNote } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { requireTrust } from '../trainerHost/workspace';
import { runLabel, statusWord } from './describe';
import { needRun, type RunItem } from './runsTree';

export function registerKeepingRuns({ context, registerCommand }: Services, registry: RunRegistry): void {
  const chosen = (item: RunItem | undefined): Run => needRun(item ? registry.byId(item.runId) : registry.current);

  context.subscriptions.push(
    registerCommand('safeFinetuning.renameRun', async item => {
      const run = chosen(item);
      const usual = runLabel(run, { named: false });
      const name = await vscode.window.showInputBox({
        title: l10n.t`Rename ${run.name}`,
        prompt: l10n.t`Left empty, it is called "${usual}" again. Its folder keeps its name.`,
        value: run.meta.name ?? usual,
      });
      if (name !== undefined) await run.keep(() => ({ name: name.trim() || undefined }));
    }),

    registerCommand('safeFinetuning.tagRun', async item => {
      const run = chosen(item);
      const used = [...new Set(registry.runs.flatMap(({ meta }) => meta.tags ?? []))].sort();
      const text = await vscode.window.showInputBox({
        title: l10n.t`Tags of ${run.name}`,
        prompt: [l10n.t('Separated by commas.'), used.length > 0 && l10n.t`In use: ${used.join(', ')}.`].filter(Boolean).join(' '),
        value: run.meta.tags?.join(', ') ?? '',
      });
      if (text === undefined) return;
      const tags = [...new Set(text.split(',').map(tag => tag.trim()))].filter(Boolean);
      await run.keep(() => ({ tags: tags.length ? tags : undefined }));
    }),

    registerCommand('safeFinetuning.editNotes', async item => editNotes(chosen(item))),

    registerCommand('safeFinetuning.copyRunConfiguration', async item => {
      const run = chosen(item);
      if (!run.record) throw new UserError(l10n.t`Run ${run.name} ended before its configuration was read: there is none to copy.`);
      const { config, configPath } = run.record;
      if (!config || !configPath) throw new UserError(l10n.t`Run ${run.name} is of a training script: it has no configuration to copy.`);
      await vscode.env.clipboard.writeText(`${JSON.stringify(config, null, 2)}\n`);
      void vscode.window.showInformationMessage(
        l10n.t`The configuration of ${run.name}, with every default, is on the clipboard. Paths in it are relative to ${path.dirname(configPath)}.`,
      );
    }),

    registerCommand('safeFinetuning.startRunAgain', item => {
      const run = chosen(item);
      const { configPath, record } = run;
      if (record?.script) {
        const { path: script } = record.script;
        throw new UserError(
          script
            ? l10n.t`Run ${run.name} is of a training script. Start it again as you did: ${script}.`
            : l10n.t`Run ${run.name} is of a training script. Start it again as you did: it is a notebook.`,
        );
      }
      if (!configPath || !fs.existsSync(configPath)) {
        throw new UserError(l10n.t`The configuration of run ${run.name}, ${configPath ?? l10n.t('unknown')}, is gone. What it said can still be copied.`, [
          { title: l10n.t('Copy Configuration'), command: 'safeFinetuning.copyRunConfiguration', arguments: [{ runId: run.id }] },
        ]);
      }
      return vscode.commands.executeCommand<string | undefined>('safeFinetuning.startRun', vscode.Uri.file(configPath));
    }),

    registerCommand('safeFinetuning.deleteRun', async (item, selected) => {
      requireTrust(l10n.t('Deleting a run'));
      const runs = selected && selected.length > 1 ? selected.flatMap(({ runId }) => registry.byId(runId) ?? []) : [chosen(item)];
      const active = runs.find(({ status }) => isActive(status));
      if (active) throw new UserError(l10n.t`Run ${active.name} is ${statusWord(active.status)}: stop or cancel it before it is deleted.`);
      try {
        await moveToTrash(runs);
      } finally {
        await registry.lookAgain();
      }
    }),
  );
}

async function editNotes(run: Run): Promise<void> {
  const notes = run.meta.notes ?? [];
  const now = run.state.latest?.step ?? 0;
  const edit = async (step: number, before: string) => {
    const text = await vscode.window.showInputBox({
      title: l10n.t`Note at step ${step} of ${run.name}`,
      prompt: before ? l10n.t('Left empty, the note is removed.') : l10n.t('Shown in the charts at this step.'),
      value: before,
    });
    if (text !== undefined) await run.keep(({ notes = [] }) => ({ notes: withNote(notes, { step, text: text.trim() }, before) }));
  };
  if (notes.length === 0) return edit(now, '');
  const items = [
    ...(notes.some(({ step }) => step === now) ? [] : [{ label: l10n.t`$(add) New note at step ${now}`, step: now, text: '' }]),
    ...notes.map(({ step, text }) => ({ label: l10n.t`Step ${step}`, description: text, step, text })),
  ];
  const chosen = await vscode.window.showQuickPick(items, { title: l10n.t`Notes of ${run.name}`, placeHolder: l10n.t('Which note?'), matchOnDescription: true });
  if (chosen) await edit(chosen.step, chosen.text);
}

/** Asks once for all of them; where there is no trash, as on many servers, once more. */
async function moveToTrash(runs: readonly Run[]): Promise<void> {
  const detailOf = (some: readonly Run[]) => `${listOf(some)}\n${some.length === 1 ? l10n.t('Its measurements, checkpoints and adapter go with it.') : l10n.t('Their measurements, checkpoints and adapters go with them.')}`;
  const question = runs.length === 1 ? l10n.t`Delete run ${runLabel(runs[0]!)}?` : l10n.t`Delete ${integer(runs.length)} runs?`;
  const remove = l10n.t('Move to Trash');
  if ((await vscode.window.showWarningMessage(question, { modal: true, detail: detailOf(runs) }, remove)) !== remove) return;

  const left: Run[] = [];
  let reason = '';
  for (const run of runs) {
    try {
      await deleteFolder(run, true);
    } catch (error) {
      left.push(run);
      reason = errorText(error);
    }
  }
  if (left.length === 0) return;
  const again =
    left.length === 1 ? l10n.t`Run ${runLabel(left[0]!)} could not be moved to the trash. Delete it for good?` : l10n.t`${integer(left.length)} runs could not be moved to the trash. Delete them for good?`;
  const forever = l10n.t('Delete Permanently');
  if ((await vscode.window.showWarningMessage(again, { modal: true, detail: `${reason}\n${detailOf(left)}` }, forever)) !== forever) return;
  for (const run of left) await deleteFolder(run, false);
}

const deleteFolder = ({ folder }: Run, useTrash: boolean) => vscode.workspace.fs.delete(vscode.Uri.file(folder), { recursive: true, useTrash });

const mostNamed = 12;

/** What is to be deleted, as far as a dialog can hold it. */
function listOf(runs: readonly Run[]): string {
  if (runs.length === 1) return runs[0]!.folder;
  const names = runs.slice(0, mostNamed).map(run => `${runLabel(run)}, ${run.id}`);
  return [...names, runs.length > mostNamed && l10n.t`and ${integer(runs.length - mostNamed)} more`].filter(Boolean).join('\n');
}
