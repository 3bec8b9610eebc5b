/** What a workspace that is not trusted may do, and what not. */
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import type { Server } from '../../scripts/vscode-host.mjs';
import { assertAccessible } from './accessibility';
import { exampleWorkspace, pictureFailures, untrustingServer, Workbench } from './workbench';

describe('a workspace that is not trusted', () => {
  let server: Server;
  let workbench: Workbench;
  pictureFailures(() => workbench);

  before(async () => {
    server = await untrustingServer();
    workbench = await Workbench.open(exampleWorkspace('untrusted'), server);
  });
  after(async () => {
    await workbench?.close();
    await server?.stop();
  });

  it('has its rows judged', async () => {
    await workbench.openFile('support.jsonl');
    await workbench.editor.locator('.squiggly-warning').first().waitFor();
  });

  it('starts no process', async () => {
    await workbench.openFile('support.finetune.json');
    await workbench.command('Safe Fine-Tuning: Start Run');
    await workbench.notification('needs a trusted workspace').waitFor();
    const monitor = await workbench.openMonitor();
    await monitor.page.getByText('This workspace is not trusted').waitFor();
    await workbench.screenshot('untrusted');
    await assertAccessible(workbench, 'monitor');
    assert.ok(!fs.existsSync(path.join(workbench.folder, '.safe-finetuning')));
  });
});
