/** A run from its form: what is trained is shown, the file is written, the run starts; and the walkthrough. */
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { assertAccessible } from './accessibility';
import { pictureFailures, sharedServer, tinyWorkspace, until, untrustingServer, userSettings, Webview, Workbench, exampleWorkspace } from './workbench';

describe('a new run', () => {
  let folder: string;
  let workbench: Workbench;
  pictureFailures(() => workbench);
  before(async () => {
    folder = tinyWorkspace('new-run');
    fs.writeFileSync(path.join(folder, 'odd.csv'), 'ask,reply\nWhere is it?,Here it is.\n');
    workbench = await Workbench.open(folder);
  });
  after(() => workbench?.close());
  const form = () => Webview.open(workbench.page, 'newrun');

  it('is offered where there is none', async () => {
    const monitor = await workbench.openMonitor();
    await monitor.page.locator('.empty vscode-button', { hasText: 'New Run…' }).click();
    const { page } = await form();
    await page.locator('#model').waitFor();
    await page.locator('.preview-place', { hasText: 'Choose a model and a dataset' }).waitFor();
    assert.ok(await page.locator('vscode-button', { hasText: 'Create Configuration' }).evaluate(element => element.hasAttribute('disabled')));
  });

  it('is made of a model and a dataset from quick picks', async () => {
    const { page } = await form();
    const choices = workbench.page.locator('.quick-input-list .monaco-list-row');
    await page.locator('vscode-button[aria-label="Choose model"]').click();
    await choices.filter({ hasText: 'model' }).filter({ hasNotText: 'example' }).filter({ hasNotText: 'Choose' }).first().click();
    await until('the model is taken', async () => (await page.locator('#model').inputValue()) === 'model');
    await page.locator('#model-note', { hasText: 'A folder on this machine' }).waitFor();
    await page.locator('vscode-button[aria-label="Choose dataset"]').click();
    await choices.filter({ hasText: 'odd.csv' }).click();
    await page.locator('#dataset-problem', { hasText: 'None of its columns' }).waitFor();
    await page.locator('vscode-button', { hasText: 'Name Columns…' }).waitFor();
    await page.locator('vscode-button[aria-label="Choose dataset"]').click();
    await choices.filter({ hasText: /^rows\.jsonl/ }).click();
    await page.locator('#dataset-note', { hasText: '24 rows: turns in `messages`.' }).waitFor();
  });

  it('shows the tokens of its rows, those that are trained underlined', async () => {
    const { page } = await form();
    await page.locator('.tokens article').nth(4).waitFor();
    const first = page.locator('.tokens pre').first();
    assert.match(await first.innerText(), /<\|im_start\|>user\s+Where is my parcel 0\?<\|im_end\|>/);
    const trained = (await first.locator('.trained .token').allInnerTexts()).join('');
    assert.strictEqual(trained, 'Parcel 0 will be with you tomorrow.<|im_end|>');
    assert.match(await first.locator('.trained').evaluate(element => getComputedStyle(element).textDecorationLine), /underline/);
    await page.locator('.figures', { hasText: 'Steps' }).first().waitFor();
    await workbench.screenshot('new-run');
    await assertAccessible(workbench, 'newrun');
  });

  it('says what is wrong beside the field', async () => {
    const { page } = await form();
    await page.locator('#training-batchSize').fill('2.5');
    await page.locator('#training-batchSize-problem', { hasText: 'Write a whole number' }).waitFor();
    await page.locator('#training-batchSize').fill('4');
    await page.locator('#training-maxLength').fill('8');
    await page.locator('#training-maxLength-problem', { hasText: 'No row has a token to train on' }).waitFor();
    await page.locator('#training-maxLength').scrollIntoViewIfNeeded();
    await workbench.screenshot('new-run problem');
    await page.locator('#training-maxLength').fill('128');
    await page.locator('.content:not(.before) .figures', { hasText: 'Steps' }).first().waitFor();
  });

  it('measures when it is asked to, which can be cancelled', async function () {
    this.timeout(420_000); // two trainers load PyTorch, on a machine that may have other work
    const { page } = await form();
    const measure = page.locator('.content:not(.before) vscode-button', { hasText: 'Measure' });
    await measure.click();
    await page.locator('.working', { hasText: 'Loading the model' }).locator('vscode-button', { hasText: 'Cancel' }).click();
    await page.locator('.working', { hasText: 'Cancelled' }).waitFor();
    await page.locator('.working vscode-button', { hasText: 'Ask Again' }).click();
    await measure.click();
    await page.locator('.cost', { hasText: 'Measured: 2 steps of 4 rows' }).waitFor({ timeout: 300_000 });
  });

  const themes = { light: 'Default Light Modern', dark: 'Default Dark Modern', 'hc-dark': 'Default High Contrast', 'hc-light': 'Default High Contrast Light' };
  for (const [name, theme] of Object.entries(themes)) {
    it(`is readable in the theme ${name}`, async () => {
      (await sharedServer()).setSettings({ ...userSettings, 'workbench.colorTheme': theme });
      await workbench.reload();
      await workbench.command('Safe Fine-Tuning: New Run…');
      const { page } = await form();
      await page.locator('#model').fill('model');
      await page.locator('#dataset').fill('rows.jsonl');
      await page.locator('.tokens article').nth(4).waitFor();
      await page.locator('.preview-place > .content').waitFor();
      await workbench.screenshot(`new-run-${name}`);
      await assertAccessible(workbench, 'newrun');
      await page.locator('.settings').scrollIntoViewIfNeeded();
      await page.locator('#name').scrollIntoViewIfNeeded();
      await workbench.screenshot(`new-run-${name}-below`);
    });
  }

  it('fits a narrow window, and one that is enlarged', async () => {
    const { page } = await form();
    await workbench.page.setViewportSize({ width: 700, height: 900 });
    await until('nothing sticks out', () => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth));
    await workbench.screenshot('new-run narrow');
    await assertAccessible(workbench, 'newrun');
    await workbench.page.setViewportSize({ width: 1400, height: 900 });
  });

  it('is chosen and created with the keyboard alone, and starts', async () => {
    const { page } = await form();
    const keys = workbench.page.keyboard;
    /** Selects what is there without a command of the editor, which would come back to the page when it likes. */
    const selectAll = async () => {
      await keys.press('Home');
      await keys.press('Shift+End');
    };
    await page.locator('input[value="recommended"]').focus();
    await keys.press('ArrowDown');
    await until('another method is chosen', () => page.locator('input[value="adaptive"]').isChecked());
    await page.locator('#training-epochs').focus();
    await selectAll();
    await keys.type('1');
    await page.locator('#name').focus();
    await selectAll();
    await keys.type('first');
    await page.locator('#name-note', { hasText: 'Becomes first.finetune.json in the workspace.' }).waitFor();
    await keys.press('Tab');
    await keys.press('Enter');
    const file = path.join(folder, 'first.finetune.json');
    await until('the file', () => fs.existsSync(file) && fs.readFileSync(file, 'utf8').length > 0);
    assert.match(fs.readFileSync(file, 'utf8'), /"model": "model"[^]*"path": "rows\.jsonl"[^]*"method": "adaptive"[^]*"epochs": 1/);
    await workbench.page.locator('.tab.active', { hasText: 'first.finetune.json' }).waitFor();
    await workbench.screenshot('new-run created');
    await workbench.monitor.status('Running').waitFor();
    await workbench.command('Safe Fine-Tuning: Cancel Run Without Saving');
    await workbench.monitor.status('Cancelled').waitFor();
  });

  it('is a step of the walkthrough', async () => {
    await workbench.command('Welcome: Open Walkthrough...');
    await workbench.page.locator('.quick-input-list .monaco-list-row', { hasText: 'Fine-Tune a Model and Keep It Safe' }).click();
    const steps = workbench.page.locator('.getting-started-step');
    await steps.first().waitFor();
    assert.strictEqual(await steps.count(), 5);
    for (const title of ['Set up the environment', 'Open a dataset', 'Describe a run', 'Watch it train', 'Compare before and after']) {
      await steps.filter({ hasText: title }).click();
      await workbench.page.locator('.getting-started-step.expanded', { hasText: title }).waitFor();
    }
    await workbench.screenshot('walkthrough');
  });
});

describe('a new run in a workspace that is not trusted', () => {
  it('is described, and nothing is started', async () => {
    const server = await untrustingServer();
    const workbench = await Workbench.open(exampleWorkspace('new-run-untrusted'), server);
    try {
      await workbench.command('Safe Fine-Tuning: New Run…');
      const { page } = await Webview.open(workbench.page, 'newrun');
      await page.locator('.problem', { hasText: 'no process is started' }).waitFor();
      await page.locator('#dataset').fill('support.jsonl');
      await page.locator('.preview-place', { hasText: 'not started in a workspace that is not trusted' }).waitFor();
      assert.ok(await page.locator('vscode-button', { hasText: 'Create and Start' }).evaluate(element => element.hasAttribute('disabled')));
      await page.locator('#name').fill('own');
      await page.locator('#name-note', { hasText: 'Becomes own.finetune.json' }).waitFor();
      await page.locator('vscode-button', { hasText: 'Create Configuration' }).click();
      await until('the file', () => fs.existsSync(path.join(workbench.folder, 'own.finetune.json')));
      await workbench.screenshot('new-run untrusted');
    } finally {
      await workbench.close();
      await server.stop();
    }
  });
});
