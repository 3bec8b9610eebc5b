/** Runs inside the extension host: how long activation takes, and how long its thread is busy without a pause. */
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';

const quietMilliseconds = 3_000;
const longestWaitMilliseconds = 240_000;

export async function run(): Promise<void> {
  const extension = vscode.extensions.getExtension('safe-finetuning.safe-finetuning');
  assert.ok(extension && !extension.isActive, 'the extension is active before it is needed');
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  assert.ok(folder);

  const plain = await blockWhile(async () => {
    await vscode.window.showTextDocument(vscode.Uri.file(path.join(folder, 'rows.txt')));
    await sleep(quietMilliseconds);
  });
  const began = performance.now();
  await extension.activate();
  const activation = performance.now() - began;

  const opened = performance.now();
  let judged = 0;
  const own = await blockWhile(async () => {
    const editor = await vscode.window.showTextDocument(vscode.Uri.file(path.join(folder, 'rows.jsonl')));
    // Judging is over when nothing has been reported for a while.
    let changed = performance.now();
    const listener = vscode.languages.onDidChangeDiagnostics(({ uris }) => {
      if (uris.some(uri => uri.toString() === editor.document.uri.toString())) changed = performance.now();
    });
    while (judged === 0 || performance.now() - changed < quietMilliseconds) {
      await sleep(100);
      if (vscode.languages.getDiagnostics(editor.document.uri).length) judged = changed - opened;
      assert.ok(performance.now() - opened < longestWaitMilliseconds, 'no row was reported');
    }
    listener.dispose();
  });
  const results = { activation, block: own, plainBlock: plain, judged };
  fs.writeFileSync(process.env.BENCH_RESULTS as string, JSON.stringify(results));
}

const sleep = (milliseconds: number) => new Promise(resolve => setTimeout(resolve, milliseconds));

/**
 * The longest time, in milliseconds, that this thread computed without going back to its event loop.
 * Its processor time counts: waiting for a processor that others use is not the extension's doing.
 */
async function blockWhile(work: () => Promise<void>): Promise<number> {
  let longest = 0;
  let last = threadMilliseconds();
  let over = false;
  const look = () => {
    const now = threadMilliseconds();
    longest = Math.max(longest, now - last);
    last = now;
    if (!over) setImmediate(look);
  };
  setImmediate(look);
  await work();
  over = true;
  return longest;
}

function threadMilliseconds(): number {
  const { user, system } = (process as unknown as { threadCpuUsage(): { user: number; system: number } }).threadCpuUsage();
  return (user + system) / 1000;
}
