/** Run configurations, `*.finetune.json`: which one is meant, and what it refers to. */
import fs from 'node:fs';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { parse } from 'jsonc-parser';
import * as vscode from 'vscode';
import { UserError } from '../common/userError';
import { isAbout } from '../datasets/besideFile';

const pattern = '**/*.finetune.json';
/** Of a workspace. */
export const notSearched = '**/{node_modules,.venv,.safe-finetuning}/**';

const isConfiguration = (file: vscode.Uri): boolean => file.fsPath.endsWith('.finetune.json');

/** The given one, the one in the editor, the only one, or the one that the user picks; undefined when none. */
export async function pickConfiguration(given?: { fsPath: string }, title = l10n.t('Start Run')): Promise<vscode.Uri | undefined> {
  if (given) return vscode.Uri.file(given.fsPath);
  const open = vscode.window.activeTextEditor?.document.uri;
  if (open && isConfiguration(open)) return open;
  const found = await vscode.workspace.findFiles(pattern, notSearched);
  if (found.length === 0) {
    throw new UserError(l10n.t('There is no run configuration (*.finetune.json) in this workspace.'), [
      { title: l10n.t('New Run…'), command: 'safeFinetuning.newRun' },
    ]);
  }
  if (found.length === 1) return found[0];
  const items = found
    .map(file => ({ label: path.basename(file.fsPath), description: vscode.workspace.asRelativePath(path.dirname(file.fsPath)), file }))
    .sort((a, b) => a.label.localeCompare(b.label));
  return (await vscode.window.showQuickPick(items, { title, placeHolder: l10n.t('Which run configuration?') }))?.file;
}

export interface ConfigurationSummary {
  method: string;
  /** The configuration itself and the files that it names, absolute. */
  files: string[];
  /** Origin of the server that judges the rows, as far as it can be told here; the trainer says for certain. */
  judge: string | undefined;
}

/** What the host needs of a configuration; whether it is right is for the trainer to say. */
export function summarise(file: string): ConfigurationSummary {
  const text = fs.readFileSync(file, 'utf8');
  const value = parse(text, [], { allowTrailingComma: true }) as {
    method?: unknown;
    dataset?: { path?: unknown; heldOutPath?: unknown };
    risk?: { judge?: unknown; endpoint?: { url?: unknown } };
    anchors?: { prompts?: unknown } | null;
    evaluation?: { harmfulPrompts?: unknown; benignPrompts?: unknown };
  } | null;
  const { dataset, risk, anchors, evaluation } = value ?? {};
  const named = [dataset?.path, dataset?.heldOutPath, anchors?.prompts, evaluation?.harmfulPrompts, evaluation?.benignPrompts];
  const inFolder = (name: string) => path.resolve(path.dirname(file), name);
  const absolute = named.filter(name => typeof name === 'string').map(inFolder);
  const method = typeof value?.method === 'string' && /^[a-z-]+$/.test(value.method) ? value.method : 'recommended';
  const url = risk?.judge === 'endpoint' ? risk.endpoint?.url : undefined;
  return {
    method,
    files: [file, ...absolute],
    judge: typeof url === 'string' ? originOf(url) : undefined,
  };
}

/** Scheme, host and port; undefined where the address is that of no server. */
export function originOf(address: string): string | undefined {
  return /^https?:\/\/[^/\\\s@]+(\/[^\\\s@]*)?$/.test(address) && URL.canParse(address) ? new URL(address).origin : undefined;
}

/** The servers that the configurations of the workspace have rows judged by. */
export async function judgesNamed(): Promise<string[]> {
  const judges = (await vscode.workspace.findFiles(pattern, notSearched)).map(file => {
    try {
      return summarise(file.fsPath).judge;
    } catch {
      return undefined; // it cannot be read
    }
  });
  return [...new Set(judges.filter(judge => judge !== undefined))].sort();
}

/** Whether a path in a configuration, that of a file, of a folder or a pattern, may be about a file. */
function mayName(named: string, file: string): boolean {
  const folder = named.split(path.sep).slice(0, named.split(path.sep).findIndex(part => /[*?[]/.test(part)));
  const base = /[*?[]/.test(named) ? folder.join(path.sep) : named;
  return file === base || file.startsWith(base + path.sep);
}

/** Offers to save what a run would read from the disk. False: the user would rather not go on. */
export async function offerToSave(files: readonly string[]): Promise<boolean> {
  const unsaved = vscode.workspace.textDocuments.filter(({ isDirty, fileName }) => isDirty && files.some(file => mayName(file, fileName) || isAbout(fileName, file)));
  if (unsaved.length === 0) return true;
  const names = unsaved.map(document => path.basename(document.uri.fsPath)).join(', ');
  const save = l10n.t('Save and Go On');
  const chosen = await vscode.window.showWarningMessage(
    unsaved.length === 1
      ? l10n.t`${names} has unsaved changes. The trainer reads the files on the disk.`
      : l10n.t`${names} have unsaved changes. The trainer reads the files on the disk.`,
    { modal: true },
    save,
    l10n.t('Use Saved Version'),
  );
  if (chosen !== save) return chosen !== undefined;
  const saved = await Promise.all(unsaved.map(document => document.save()));
  if (!saved.every(Boolean)) throw new UserError(l10n.t`${names} could not be saved, so nothing was started.`);
  return true;
}
