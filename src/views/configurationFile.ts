/** Run configurations, `*.finetune.json`: which one is meant, what it refers to, a new one. */
import fs from 'node:fs';
import path from 'node:path';
import { parse } from 'jsonc-parser';
import * as vscode from 'vscode';
import { UserError } from '../common/userError';
import { isAbout } from '../datasets/besideFile';
import { EXTENSIONS } from '../datasets/formats';
import { isQuarantine } from '../datasets/quarantineFiles';

const pattern = '**/*.finetune.json';
const notSearched = '**/{node_modules,.venv,.safe-finetuning}/**';

const isConfiguration = (file: vscode.Uri): boolean => file.fsPath.endsWith('.finetune.json');

/** The given one, the one in the editor, the only one, or the one that the user picks; undefined when none. */
export async function pickConfiguration(given?: { fsPath: string }, title = 'Start Run'): Promise<vscode.Uri | undefined> {
  if (given) return vscode.Uri.file(given.fsPath);
  const open = vscode.window.activeTextEditor?.document.uri;
  if (open && isConfiguration(open)) return open;
  const found = await vscode.workspace.findFiles(pattern, notSearched);
  if (found.length === 0) {
    throw new UserError('There is no run configuration (*.finetune.json) in this workspace.', [
      { title: 'New Run Configuration', command: 'safeFinetuning.createConfiguration' },
    ]);
  }
  if (found.length === 1) return found[0];
  const items = found
    .map(file => ({ label: path.basename(file.fsPath), description: vscode.workspace.asRelativePath(path.dirname(file.fsPath)), file }))
    .sort((a, b) => a.label.localeCompare(b.label));
  return (await vscode.window.showQuickPick(items, { title, placeHolder: 'Which run configuration?' }))?.file;
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
  const save = 'Save and Go On';
  const chosen = await vscode.window.showWarningMessage(
    `${names} ${unsaved.length === 1 ? 'has' : 'have'} unsaved changes. The trainer reads the files on the disk.`,
    { modal: true },
    save,
    'Use Saved Version',
  );
  if (chosen !== save) return chosen !== undefined;
  const saved = await Promise.all(unsaved.map(document => document.save()));
  if (!saved.every(Boolean)) throw new UserError(`${names} could not be saved, so nothing was started.`);
  return true;
}

/** Writes a commented configuration beside a dataset and opens it; one that is there is opened as it is. */
export async function createConfiguration(given?: { fsPath: string }): Promise<void> {
  const dataset = given?.fsPath ?? (await pickDataset());
  if (!dataset) return;
  const { dir, base, name, ext } = path.parse(dataset);
  const file = path.join(dir, `${EXTENSIONS.includes(ext.toLowerCase()) ? name : base}.finetune.json`);
  try {
    fs.writeFileSync(file, template(path.basename(dataset)), { flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new UserError(`${file} cannot be written: ${(error as Error).message}`);
    }
    void vscode.window.showInformationMessage(`${path.basename(file)} is there already; it was left as it is.`);
  }
  await vscode.window.showTextDocument(vscode.Uri.file(file));
}

async function pickDataset(): Promise<string | undefined> {
  const open = vscode.window.activeTextEditor?.document;
  if (open && isDatasetFile(open.fileName)) return open.fileName;
  const inWorkspace = await vscode.workspace.findFiles(`**/*{${EXTENSIONS.join()}}`, notSearched);
  const found = inWorkspace.filter(({ fsPath }) => isDatasetFile(fsPath)).sort((a, b) => a.fsPath.localeCompare(b.fsPath));
  if (found.length === 0) {
    throw new UserError(`There is no dataset (${EXTENSIONS.map(extension => `*${extension}`).join(', ')}) in this workspace.`);
  }
  const items = found.map(file => ({ label: vscode.workspace.asRelativePath(file), file: file.fsPath }));
  return (await vscode.window.showQuickPick(items, { title: 'New Run Configuration', placeHolder: 'For which dataset?' }))?.file;
}

/** By its name: JSON files that say something else of a project are many. */
function isDatasetFile(file: string): boolean {
  const name = path.basename(file);
  const isOther = /^(?:package|package-lock|tsconfig|dataset_info)\.json$|\.finetune\.json$/.test(name) || isQuarantine(file) || file.split(path.sep).includes('.vscode');
  return EXTENSIONS.includes(path.extname(file).toLowerCase()) && !isOther;
}

const template = (dataset: string): string => `{
  // What is fine-tuned: a folder, a name from the Hugging Face hub, or "example" for a small model to try things on.
  // It is the safe reference: where the data is risky, training is held near it.
  "model": "example",

  "dataset": {
    // A file, a folder of files or a pattern such as "data/*.csv", relative to this file. Each row is a conversation
    // ("messages", ShareGPT, Alpaca, or a prompt with its answer).
    "path": ${JSON.stringify(dataset)}
  },

  // "recommended": risky rows are held near the safe reference, and its refusals stay where they are.
  // "adaptive": the first of these alone. "filter": risky rows are left out. "standard": plain fine-tuning. And more.
  "method": "recommended",

  "risk": {
    // Rows from this risk on are flagged.
    "threshold": 0.5
  },

  "training": {
    "epochs": 2,
    "batchSize": 8,
    "learningRate": 2e-4
  }

  // Everything else has a default: type a quotation mark to see what there is.
}
`;
