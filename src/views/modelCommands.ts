/** Commands around models: what a run made is exported or measured again, and a risk probe is trained. */
import fs from 'node:fs';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import type { Run } from '../trainerHost/run';
import { trainedFolder } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { failureOf, runTrainer } from '../trainerHost/trainerCommand';
import { requireTrust } from '../trainerHost/workspace';
import { offerToSave, pickConfiguration, summarise } from './configurationFile';
import { methodOf } from './describe';
import { withProgress } from '../common/progress';
import { interpreterFor } from './interpreter';
import { storedSecrets } from './secrets';

const promptFiles = { 'JSON Lines': ['jsonl'] };

export function registerModelCommands({ context, log, registerCommand }: Services, registry: RunRegistry): void {
  const trainerFolder = path.join(context.extensionPath, 'trainer');

  /** Runs a trainer command under a notification; what it printed, or undefined when the user cancelled. */
  const work = async (title: string, file: vscode.Uri, args: string[]): Promise<string | undefined> => {
    const ended = await withProgress(title, async signal => {
      const trainer = { interpreter: await interpreterFor(file), folder: trainerFolder, secrets: await storedSecrets(context.secrets, undefined) };
      return runTrainer(trainer, args, path.dirname(file.fsPath), signal);
    });
    if (!ended) return undefined;
    if (ended.code === 0) return ended.stdout.trimEnd();
    log.error(`${args[0]}: exit code ${ended.code}\n${ended.stderr.trim()}`);
    throw new UserError(failureOf(ended), [{ title: l10n.t('Show Log'), command: 'safeFinetuning.showLog' }]);
  };

  context.subscriptions.push(
    registerCommand('safeFinetuning.exportModel', async item => {
      requireTrust(l10n.t('Exporting a model'));
      const run = item ? registry.byId(item.runId) : (registry.current ?? registry.runs.find(({ folder }) => trainedFolder(folder)));
      if (!run || !trainedFolder(run.folder)) {
        throw new UserError(run ? l10n.t`Run ${run.name} has saved no model yet, so there is nothing to export.` : l10n.t('There is no run to export yet.'));
      }
      const output = await vscode.window.showSaveDialog({
        title: l10n.t`Export ${run.name}: a new folder, or a file that ends with .gguf`,
        saveLabel: l10n.t('Export'),
        defaultUri: vscode.Uri.file(path.join(path.dirname(run.configPath ?? run.folder), `${run.id}-merged`)),
      });
      if (!output) return undefined;
      const said = await work(l10n.t`Exporting ${run.name}`, output, ['export', run.folder, '--output', output.fsPath]);
      if (said === undefined) {
        // What is written meanwhile stands beside, and the cancelled process could not remove it.
        const unfinished = path.join(path.dirname(output.fsPath), `.${path.basename(output.fsPath)}.tmp`);
        await fs.promises.rm(unfinished, { recursive: true, force: true });
        return undefined;
      }
      const show = l10n.t('Show in Explorer');
      void vscode.window.showInformationMessage(l10n.t`${run.name} is exported: ${output.fsPath}`, show).then(chosen => {
        if (chosen === show) void vscode.commands.executeCommand('revealInExplorer', output);
      });
      return output.fsPath;
    }),

    registerCommand('safeFinetuning.evaluateModel', async item => {
      requireTrust(l10n.t('Measuring a model'));
      const shown = item && registry.byId(item.runId);
      const configuration = await pickConfiguration(shown?.configPath ? { fsPath: shown.configPath } : undefined, l10n.t('Evaluate Model'));
      if (!configuration || !(await offerToSave(summarise(configuration.fsPath).files))) return undefined;
      const model = shown ?? (await pickModel(registry.runs.filter(run => trainedFolder(run.folder) && run.configPath === configuration.fsPath)));
      if (!model) return undefined;
      const prompts = await pickPrompts();
      if (!prompts) return undefined;
      const trained = model === 'reference' ? undefined : trainedFolder(model.folder);
      if (model !== 'reference' && !trained) throw new UserError(l10n.t`Run ${model.name} has saved no model yet, so there is nothing to measure.`);
      const adapter = trained ? ['--adapter', trained] : [];
      const title = model === 'reference' ? l10n.t('Measuring the safe reference') : l10n.t`Measuring ${model.name}`;
      const said = await work(title, configuration, ['evaluate', configuration.fsPath, ...adapter, ...prompts]);
      if (said === undefined) return undefined;
      // With what the trainer has said it is a document, in English like all that is written down.
      const name = model === 'reference' ? 'the safe reference' : model.name;
      // eslint-disable-next-line no-restricted-syntax -- as above
      const asked = prompts.length ? prompts[1] : 'the prompts of the configuration';
      const content = `${name}, ${path.basename(configuration.fsPath)}\n${asked}\n\n${said}\n\nShares with 95 % Wilson intervals. Lower is better.\n`;
      await vscode.window.showTextDocument(await vscode.workspace.openTextDocument({ content, language: 'plaintext' }));
      return content;
    }),

    registerCommand('safeFinetuning.trainProbe', async given => {
      requireTrust(l10n.t('Training a risk probe'));
      const configuration = await pickConfiguration(given, l10n.t('Train Risk Probe'));
      if (!configuration || !(await offerToSave(summarise(configuration.fsPath).files))) return undefined;
      const labelled = await pickFile(l10n.t('Train Risk Probe: which labelled prompts?'), {
        label: l10n.t('Those that ship with the trainer'),
        detail: l10n.t('Harmful requests and harmless ones, written for the project.'),
        ownDetail: l10n.t('JSON Lines of {"prompt": "…", "harmful": true}.'),
      });
      if (labelled === undefined) return undefined;
      const probe = path.join(path.dirname(configuration.fsPath), 'probe.safetensors');
      if (fs.existsSync(probe) && !(await mayReplace(probe))) return undefined;
      const said = await work(l10n.t('Training the risk probe'), configuration, [
        'probe',
        configuration.fsPath,
        '--output',
        probe,
        ...(labelled ? ['--labelled', labelled] : []),
      ]);
      if (said === undefined) return undefined;
      // eslint-disable-next-line no-restricted-syntax -- a document, as above
      const use = `Use it with "risk": {"source": "probe", "probe": "${path.basename(probe)}"} in ${path.basename(configuration.fsPath)}.`;
      const content = `${said}\n\n${use}\n`;
      await vscode.window.showTextDocument(await vscode.workspace.openTextDocument({ content, language: 'markdown' }));
      return probe;
    }),
  );
}

async function pickModel(runs: readonly Run[]): Promise<Run | 'reference' | undefined> {
  const items = [
    { label: l10n.t('The safe reference'), description: l10n.t('before fine-tuning'), model: 'reference' as const },
    ...runs.map(run => ({ label: run.name, description: methodOf(run), model: run })),
  ];
  return (await vscode.window.showQuickPick(items, { title: l10n.t('Evaluate Model'), placeHolder: l10n.t('Which model?') }))?.model;
}

/** The arguments of `evaluate` that name the prompts; undefined when the user left. */
async function pickPrompts(): Promise<string[] | undefined> {
  const file = await pickFile(l10n.t('Evaluate Model: which harmful prompts?'), {
    label: l10n.t('Those of the configuration'),
    detail: l10n.t('Harmful prompts, harmless look-alikes and held-out rows, as before and after a run.'),
    ownDetail: l10n.t('JSON Lines with a "prompt" each; an answer that does not refuse counts as a successful attack.'),
  });
  return file === undefined ? undefined : file ? ['--harmful', file] : [];
}

/** A file of the user's; empty for what is there already; undefined when the user left. */
async function pickFile(title: string, texts: { label: string; detail: string; ownDetail: string }): Promise<string | undefined> {
  const own = { label: l10n.t('My own file…'), detail: texts.ownDetail };
  const chosen = await vscode.window.showQuickPick([{ label: texts.label, detail: texts.detail }, own], { title });
  if (!chosen) return undefined;
  if (chosen !== own) return '';
  return (await vscode.window.showOpenDialog({ title, filters: promptFiles }))?.[0]?.fsPath;
}

async function mayReplace(file: string): Promise<boolean> {
  const replace = l10n.t('Replace It');
  return (await vscode.window.showWarningMessage(l10n.t`There is a probe already: ${file}.`, { modal: true }, replace)) === replace;
}
