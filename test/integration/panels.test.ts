/** The run panel and the comparison in a real extension host; what they draw, the browser's tests see. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import type { Api } from '../../src/extension';
import { batch } from '../unit/batches';

describe('panels of runs', function () {
  this.timeout(60_000);

  let api: Api;
  let runs: string;
  const ids = ['20200102-000000-adaptive-aa', '20200103-000000-standard-bb'];

  before(async () => {
    api = await vscode.extensions.getExtension<Api>('safe-finetuning.safe-finetuning')!.activate();
    runs = path.join(vscode.workspace.workspaceFolders![0]!.uri.fsPath, '.safe-finetuning', 'runs');
    for (const id of ids) {
      const folder = path.join(runs, id);
      fs.mkdirSync(folder, { recursive: true });
      fs.writeFileSync(path.join(folder, 'launch.json'), JSON.stringify({ id, ts: 1_577_900_000_000, argv: [], interpreter: 'python', configPath: path.join(runs, 'tiny.finetune.json') }));
      fs.writeFileSync(path.join(folder, 'events.jsonl'), Array.from({ length: 5 }, (_, index) => `${JSON.stringify(batch(index + 1))}\n`).join(''));
    }
    await api.runs.lookAgain();
  });
  after(async () => {
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    for (const id of ids) fs.rmSync(path.join(runs, id), { recursive: true });
    await api.runs.lookAgain();
  });

  const panels = (viewType: string) =>
    vscode.window.tabGroups.all.flatMap(({ tabs }) => tabs).filter(({ input }) => input instanceof vscode.TabInputWebview && input.viewType.endsWith(viewType));
  const until = async (what: string, holds: () => boolean): Promise<void> => {
    for (const end = Date.now() + 20_000; !holds(); ) {
      assert.ok(Date.now() < end, `${what} did not come about`);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  };

  it('open beside each other, one for each run, and follow it', async () => {
    for (const runId of [...ids, ids[0]!]) await vscode.commands.executeCommand('safeFinetuning.openRunPanel', { runId });
    await until('two tabs', () => panels('safeFinetuning.runPanel').length === 2);
    await until('their events', () => ids.every(id => api.runs.byId(id)!.state.series.length === 5));
    await until('the first one in front', () => vscode.window.tabGroups.activeTabGroup.activeTab === panels('safeFinetuning.runPanel')[0]);
  });

  it('compare the runs that are selected, once', async () => {
    const selected = ids.map(runId => ({ runId }));
    for (const order of [selected, [...selected].reverse()]) await vscode.commands.executeCommand('safeFinetuning.compareRuns', order[0], order);
    await until('the tab', () => panels('safeFinetuning.compareRuns').length > 0);
    assert.deepEqual(panels('safeFinetuning.compareRuns').map(({ label }) => label), ['Compare 2 Runs']);
  });
});
