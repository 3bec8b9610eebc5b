/** A plain training script in the monitor, by the callback that it adds. */
import assert from 'node:assert';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { inRoot, python } from '../../scripts/paths.mjs';
import { pythonEnvironment } from '../../scripts/run.mjs';
import { assertAccessible } from './accessibility';
import { pictureFailures, sharedServer, tinyWorkspace, userSettings, Workbench } from './workbench';

describe('a training script', () => {
  let folder: string;
  let workbench: Workbench;
  pictureFailures(() => workbench);

  before(async () => {
    folder = tinyWorkspace('script');
    const train = [
      'from safe_finetuning import SafetyMonitorCallback',
      'from test_callback import plain_trainer',
      'callback = SafetyMonitorCallback(name="plain SFT", dataset="rows.jsonl")',
      'plain_trainer("model", "out", callback, max_steps=60, include_num_input_tokens_seen="non_padding").train()',
    ].join('\n');
    const env = { ...process.env, ...pythonEnvironment, PYTHONPATH: ['trainer', 'trainer/tests'].map(part => inRoot(part)).join(path.delimiter) };
    execFileSync(python, ['-c', train], { cwd: folder, env, stdio: 'pipe' });
    workbench = await Workbench.open(folder);
  });
  after(async () => {
    (await sharedServer()).setSettings(userSettings);
    await workbench?.close();
  });

  it('shows its loss and its speed, and says that nothing regularises it', async () => {
    const { page } = await workbench.openMonitor();
    await page.locator('header h1', { hasText: 'plain SFT' }).waitFor();
    await page.locator('header .note', { hasText: 'nothing regularises it' }).waitFor();
    for (const label of ['Loss', 'Learning rate', 'Gradient norm', 'Tokens/s', 'Flagged']) {
      assert.match(await workbench.monitor.value(label).innerText(), /\d/, label);
    }
    for (const label of ['NLL', 'β·KL', 'Risk', 'β', 'Step time']) {
      assert.ok(await workbench.monitor.value(label).isHidden(), label);
    }
    const charts = page.locator('.chart:visible h2');
    assert.deepStrictEqual(await charts.allInnerTexts(), ['Loss', 'Gradient norm and learning rate', 'Tokens per second']);
    await page.locator('.chart .u-over').first().click();
    await page.locator('.rows .note', { hasText: 'does not say which rows' }).waitFor();
  });

  const themes = { dark: 'Dark Modern', light: 'Light Modern', 'high-contrast': 'Default High Contrast' };
  for (const [name, theme] of Object.entries(themes)) {
    it(`is readable in the theme ${name}`, async () => {
      (await sharedServer()).setSettings({ ...userSettings, 'workbench.colorTheme': theme });
      await workbench.reload();
      const { page } = await workbench.openMonitor();
      await page.locator('header .note', { hasText: 'nothing regularises it' }).waitFor();
      await page.locator('.chart canvas').first().waitFor();
      await workbench.screenshot(`script-${name}`);
      await assertAccessible(workbench, 'monitor');
    });
  }
});
