/** What a new run can be made of, in quick picks: models on this machine, dataset files of the workspace. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { integer } from '../common/format';
import type { DatasetIndex } from '../datasets/datasetIndex';
import { EXTENSIONS } from '../datasets/formats';
import { isQuarantine } from '../datasets/quarantineFiles';
import { rowsText } from '../datasets/report';
import { notSearched } from './configurationFile';
import { cachedModels } from './modelsHere';

interface Choice extends vscode.QuickPickItem {
  choose?: () => string | Promise<string | undefined>;
}

const separator = (label: string): Choice => ({ label, kind: vscode.QuickPickItemKind.Separator });

/** A name, or a path as `shownPath` has it; undefined where the user left. */
export async function chooseModel(): Promise<string | undefined> {
  const items = async (): Promise<Choice[]> => {
    const [cached, folders] = await Promise.all([cachedModels(), modelFolders()]);
    const choice = (name: string): Choice => ({ label: name, choose: () => name });
    return [
      { label: 'example', detail: l10n.t('A small chat model (SmolLM2-135M-Instruct) that refuses harmful requests, to try things on.'), choose: () => 'example' },
      ...(folders.length ? [separator(l10n.t('In this workspace')), ...folders.map(choice)] : []),
      ...(cached.length ? [separator(l10n.t('In the cache of the Hugging Face hub')), ...cached.map(choice)] : []),
      separator(l10n.t('Elsewhere')),
      { label: l10n.t('$(folder-opened) Choose Folder…'), detail: l10n.t('A model as `save_pretrained` writes it.'), choose: () => openPath(l10n.t('Model'), { canSelectFolders: true, canSelectFiles: false }) },
    ];
  };
  const placeHolder = l10n.t('Which model is fine-tuned? Any name from the Hugging Face hub can be typed into the form, too.');
  return (await vscode.window.showQuickPick(items(), { title: l10n.t('New Run: Model'), placeHolder, matchOnDetail: true }))?.choose?.();
}

async function modelFolders(): Promise<string[]> {
  const weights = await vscode.workspace.findFiles('**/*.safetensors', notSearched);
  const folders = new Set(weights.map(({ fsPath }) => path.dirname(fsPath)));
  const configurations = await vscode.workspace.findFiles('**/config.json', notSearched);
  return configurations.map(({ fsPath }) => path.dirname(fsPath)).filter(folder => folders.has(folder)).map(shownPath).sort();
}

/** A path as `shownPath` has it; undefined where the user left. */
export async function chooseDataset(index: DatasetIndex): Promise<string | undefined> {
  const describe = (file: string): string => {
    const summary = index.get(file)?.summary;
    return summary ? l10n.t`${rowsText(summary.rows)}, ${integer(summary.flagged)} flagged` : '';
  };
  const items = async (): Promise<Choice[]> => [
    ...(await datasetFiles()).map((file): Choice => ({ label: shownPath(file), description: describe(file), choose: () => shownPath(file) })),
    separator(l10n.t('Elsewhere')),
    { label: l10n.t('$(folder-opened) Choose File…'), choose: () => openPath(l10n.t('Dataset'), { filters: { [l10n.t('Datasets')]: EXTENSIONS.map(extension => extension.slice(1)) } }) },
  ];
  return (await vscode.window.showQuickPick(items(), { title: l10n.t('New Run: Dataset'), placeHolder: l10n.t('Which rows are trained on?') }))?.choose?.();
}

/** Those of the workspace that may be one, by their names. */
export async function datasetFiles(): Promise<string[]> {
  const found = await vscode.workspace.findFiles(`**/*{${EXTENSIONS.join()}}`, notSearched);
  return found.map(({ fsPath }) => fsPath).filter(isDatasetFile).sort((a, b) => a.localeCompare(b));
}

/** By its name: JSON files that say something else of a project are many. */
export function isDatasetFile(file: string): boolean {
  const name = path.basename(file);
  const isOther = /^(?:package|package-lock|tsconfig|dataset_info|config|tokenizer|tokenizer_config|generation_config|special_tokens_map)\.json$|\.finetune\.json$/.test(name);
  return EXTENSIONS.includes(path.extname(file).toLowerCase()) && !isOther && !isQuarantine(file) && !file.split(path.sep).includes('.vscode');
}

/** Relative to the workspace where it lies in it, absolute elsewhere. */
export const shownPath = (file: string): string => vscode.workspace.asRelativePath(file, (vscode.workspace.workspaceFolders?.length ?? 0) > 1);

async function openPath(title: string, options: vscode.OpenDialogOptions): Promise<string | undefined> {
  const [chosen] = (await vscode.window.showOpenDialog({ title, openLabel: l10n.t('Choose'), ...options })) ?? [];
  return chosen && shownPath(chosen.fsPath);
}
