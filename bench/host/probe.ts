/** Runs inside the extension host: how long activation takes, and how long its thread is busy without a pause. */
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import { blockWhile } from '../turns';

const plainMilliseconds = 3_000;
const settlingMilliseconds = 4_000; // until the rest of the file has been judged
const judgingMilliseconds = 15_000;

export async function run(): Promise<void> {
  const extension = vscode.extensions.getExtension('safe-finetuning.safe-finetuning');
  assert.ok(extension);
  if (extension.isActive) {
    fs.writeFileSync(process.env.BENCH_RESULTS as string, JSON.stringify(null));
    return;
  }
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  assert.ok(folder);

  const plainBlock = await blockWhile(async () => {
    await vscode.window.showTextDocument(vscode.Uri.file(path.join(folder, 'rows.txt')));
    await sleep(plainMilliseconds);
  });
  const began = performance.now();
  await extension.activate();
  const activation = performance.now() - began;

  const cold = await flaggedAfter(path.join(folder, 'cold.jsonl'));
  await sleep(settlingMilliseconds);
  const warm = await flaggedAfter(path.join(folder, 'warm.jsonl'));
  await sleep(settlingMilliseconds);
  let flagged = 0;
  const block = await blockWhile(async () => {
    flagged = await flaggedAfter(path.join(folder, 'rows.jsonl'));
    await sleep(judgingMilliseconds); // the worker goes on, and its results come in
  });
  const shown = async (file: string): Promise<void> => void (await vscode.window.showTextDocument(vscode.Uri.file(file)));
  await blockOf('small.json', shown); // the editor's own JSON extension begins with the first such file, and takes its time
  const jsonBlock = { dataset: await blockOf('large.json', flaggedAfter), plain: await blockOf('large.jsonc', shown) };
  const csvBlock = { dataset: await blockOf('large.csv', flaggedAfter), plain: await blockOf('large.txt', shown) };
  const results = { activation, block, plainBlock, cold, warm, flagged, jsonBlock, csvBlock };
  fs.writeFileSync(process.env.BENCH_RESULTS as string, JSON.stringify(results));
}

/** While a large file is read and judged, from when the editor has it: handing it to the host is the editor's own work. */
async function blockOf(name: string, show: (file: string) => Promise<unknown>): Promise<number> {
  const document = await vscode.workspace.openTextDocument(vscode.Uri.file(path.join(process.env.BENCH_LARGE as string, name)));
  await sleep(0); // it is there within the turn that took it in
  return blockWhile(async () => {
    await show(document.fileName);
    await sleep(judgingMilliseconds);
  });
}

/** Milliseconds from the request to open a dataset file to its first diagnostic. */
async function flaggedAfter(file: string): Promise<number> {
  const opened = performance.now();
  const { document } = await vscode.window.showTextDocument(vscode.Uri.file(file));
  while (vscode.languages.getDiagnostics(document.uri).length === 0) await sleep(5);
  return performance.now() - opened;
}

const sleep = (milliseconds: number) => new Promise(resolve => setTimeout(resolve, milliseconds));
