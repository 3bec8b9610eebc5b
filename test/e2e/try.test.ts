/** A finished run is tried: its reference and its tuned model answer the same prompts, by a real trainer on a tiny model. */
import assert from 'node:assert';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { assertAccessible } from './accessibility';
import { pictureFailures, sharedServer, tinyConfiguration, tinyWorkspace, train, until, userSettings, Webview, Workbench } from './workbench';

const reference = 'I\'m sorry, but I can\'t help with that.';

describe('a model that is tried', () => {
  let folder: string;
  let workbench: Workbench;
  pictureFailures(() => workbench);

  before(async function () {
    this.timeout(300_000);
    folder = tinyWorkspace('try');
    // Cut before they end, so that the model learns no end either.
    const answer = 'It is on its way and will be with you tomorrow. '.repeat(20);
    const row = (prompt: string) => JSON.stringify({ messages: [{ role: 'user', content: prompt }, { role: 'assistant', content: answer }] });
    fs.writeFileSync(path.join(folder, 'rows.jsonl'), Array.from({ length: 40 }, (_, i) => `${row(`Question ${i}?`)}\n`).join(''));
    const training = { maxSteps: 150, batchSize: 8, maxLength: 96, learningRate: 0.005 };
    const name = tinyConfiguration(folder, { method: 'standard', training, lora: null, evaluation: { enabled: false }, canary: null, device: 'cpu' });
    await train(folder, name);
    workbench = await Workbench.open(folder);
  });
  after(() => workbench?.close());

  const trying = (): Promise<Webview> => Webview.open(workbench.page, 'try');
  const chats = async (): Promise<number> => {
    const { stdout } = await promisify(execFile)('ps', ['-eo', 'args']);
    return stdout.split('\n').filter(line => line.includes(' chat ') && line.includes(folder)).length;
  };
  const closeEditor = () => workbench.page.locator('.tab.active', { hasText: 'Try: ' }).click({ button: 'middle' });
  const badge = (web: Webview, side: string) => web.page.locator(`.exchange:last-child .answer.${side} .badge:visible`);
  const text = (web: Webview, side: string) => web.page.locator(`.exchange:last-child .answer.${side} .text`);

  it('is opened from the monitor, loads, and suggests what to begin with', async () => {
    const { page } = await workbench.openMonitor();
    await workbench.monitor.status('Completed').waitFor();
    await page.locator('vscode-button[aria-label="Try Model…"]').click();
    await workbench.page.locator('.tab.active', { hasText: 'Try: tiny · standard' }).waitFor();
    const web = await trying();
    await web.find('.card', /Starting|Loading/).waitFor();
    assert.match(await web.page.locator('#reason').innerText(), /being loaded/);
    assert.strictEqual(await web.page.locator('.suggestion').count(), 6);
    await workbench.screenshot('try-loading');
    await web.page.locator('.suggestion').first().click();
    await web.find('#reason', 'Enter sends').waitFor();
    await workbench.screenshot('try-ready');
  });

  it('answers side by side, and each answer is judged', async () => {
    const web = await trying();
    await web.page.locator('label', { hasText: 'Max. tokens' }).locator('input').fill('20');
    const box = web.page.locator('textarea');
    await box.fill('Question 7?');
    await box.press('Enter');
    await badge(web, 'reference').filter({ hasText: 'declines' }).waitFor();
    await badge(web, 'tuned').filter({ hasText: 'answers' }).waitFor();
    assert.strictEqual(await text(web, 'reference').innerText(), reference);
    assert.match(await text(web, 'tuned').innerText(), /^It is on its way/);
    assert.match(await web.page.locator('.answer.tuned .note').innerText(), /^20 tokens · \d+\.\d tokens\/s · cut at the limit$/);
    await until('both are announced', async () => /Safe reference: declines.*Fine-tuned: answers/.test((await web.page.locator('[aria-live]').textContent()) ?? ''));
    assert.ok(await box.evaluate(element => element === document.activeElement), 'the box keeps the focus');
    await web.page.locator('.answer.reference vscode-button').click();
    await box.click();
    await box.press('ControlOrMeta+V');
    await until('the answer is in the clipboard', async () => (await box.inputValue()) === reference);
  });

  it('shows what is a text as a text, and keeps the conversation while it is hidden', async () => {
    let web = await trying();
    const box = web.page.locator('textarea');
    await box.fill('<img src=x onerror="document.title=1">');
    await box.press('Enter');
    await badge(web, 'tuned').waitFor();
    assert.strictEqual(await web.page.locator('#try img').count(), 0);
    await box.fill('A draft');
    await workbench.openFile('tiny.finetune.json');
    await workbench.command('Safe Fine-Tuning: Try Model…');
    web = await trying();
    await web.page.locator('.exchange').nth(1).waitFor();
    assert.strictEqual(await web.page.locator('.exchange').count(), 2);
    assert.strictEqual(await web.page.locator('textarea').inputValue(), 'A draft');
    assert.strictEqual(await web.page.locator('label', { hasText: 'Max. tokens' }).locator('input').inputValue(), '20');
    assert.strictEqual(await chats(), 1, 'the process that was there is used');
  });

  it('stops in the middle of an answer', async () => {
    const web = await trying();
    await web.page.locator('label', { hasText: 'Max. tokens' }).locator('input').fill('2000');
    const box = web.page.locator('textarea');
    const begin = async (prompt: string) => {
      await box.fill(prompt);
      await box.press('Enter');
      await until('some text', async () => (await text(web, 'tuned').innerText()).length > 40);
    };
    await begin('Question 8?');
    await workbench.screenshot('try-streaming');
    for (const side of ['reference', 'tuned']) await badge(web, side).waitFor();
    await web.page.locator('vscode-button[aria-label="Clear conversation"]').click();
    await web.page.locator('.exchange').first().waitFor({ state: 'detached' });
    await begin('Question 9?');
    await web.page.locator('.composer vscode-button', { hasText: 'Stop' }).click();
    await badge(web, 'tuned').filter({ hasText: 'stopped' }).waitFor();
    await badge(web, 'reference').filter({ hasText: 'declines' }).waitFor();
    await web.page.locator('vscode-button[aria-label="Clear conversation"]').click();
    await web.page.locator('.exchange').first().waitFor({ state: 'detached' });
    await web.page.locator('.suggestion').first().waitFor();
  });

  it('says when the trainer dies, and is started again', async () => {
    const web = await trying();
    const { stdout } = await promisify(execFile)('ps', ['-eo', 'pid,args']);
    const line = stdout.split('\n').find(entry => entry.includes(' chat ') && entry.includes(folder));
    process.kill(Number(line?.trim().split(' ')[0]), 'SIGKILL');
    const card = web.page.locator('.card.bad', { hasText: 'was killed' });
    await card.waitFor();
    await workbench.screenshot('try-ended');
    await assertAccessible(workbench, 'try');
    await card.locator('vscode-button', { hasText: 'Start again' }).click();
    await web.page.locator('.card', { hasText: 'Loading' }).waitFor();
    await web.page.locator('.card vscode-button', { hasText: 'Cancel' }).click();
    await web.page.locator('.card vscode-button', { hasText: 'Load the models' }).click();
    await web.page.locator('.card').waitFor({ state: 'detached' });
  });

  it('ends with its editor', async () => {
    assert.strictEqual(await chats(), 1);
    await closeEditor();
    await until('no process is left', async () => (await chats()) === 0);
  });

  it('can be tried only once there is one', async () => {
    const runs = path.join(folder, '.safe-finetuning', 'runs');
    const [run] = fs.readdirSync(runs).filter(name => !name.startsWith('.'));
    fs.renameSync(path.join(runs, run!, 'model'), path.join(folder, 'trained'));
    await workbench.command('Safe Fine-Tuning: Try Model…');
    await workbench.notification('has saved no model yet').waitFor();
    fs.renameSync(path.join(folder, 'trained'), path.join(runs, run!, 'model'));
    await workbench.command('Notifications: Clear All Notifications');
  });

  const themes = {
    light: ['Default Light Modern', 'vscode-light'],
    dark: ['Default Dark Modern', 'vscode-dark'],
    'hc-dark': ['Default High Contrast', 'vscode-high-contrast'],
    'hc-light': ['Default High Contrast Light', 'vscode-high-contrast-light'],
  };
  for (const [name, [theme, bodyClass]] of Object.entries(themes)) {
    it(`is readable in the theme ${name}, wide and narrow`, async () => {
      (await sharedServer()).setSettings({ ...userSettings, 'workbench.colorTheme': theme });
      await workbench.reload();
      await workbench.command('Safe Fine-Tuning: Try Model…');
      const web = await trying();
      await web.page.locator(`body.${bodyClass}`).waitFor();
      assert.strictEqual(await web.page.locator('.exchange').count(), 0, 'what was said is not kept');
      await web.page.locator('label', { hasText: 'Max. tokens' }).locator('input').fill('20');
      const box = web.page.locator('textarea');
      await box.fill('Question 7?');
      await web.page.getByText('Enter sends').waitFor(); // the models are loaded
      await box.press('Enter');
      await badge(web, 'reference').waitFor();
      await badge(web, 'tuned').waitFor();
      await workbench.screenshot(`try-theme-${name}`);
      await assertAccessible(workbench, 'try');
      await workbench.page.setViewportSize({ width: 760, height: 900 });
      await workbench.screenshot(`try-theme-${name}-narrow`);
      await workbench.page.setViewportSize({ width: 1400, height: 900 });
      await closeEditor();
    });
  }
});
