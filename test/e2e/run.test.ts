/** A run from its configuration to its result, with a real trainer on a tiny model. */
import assert from 'node:assert';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import type { CheckpointSaved, Evaluated, RunRecord } from '../../src/protocol/messages';
import { assertAccessible } from './accessibility';
import { pictureFailures, sharedServer, tinyConfiguration, tinyWorkspace, train, until, userSettings, Workbench } from './workbench';

const steps = 500;

describe('a run', () => {
  let folder: string;
  let workbench: Workbench;
  pictureFailures(() => workbench);

  before(async () => {
    folder = tinyWorkspace('run');
    const prompts = ['One?', 'Two?', 'Three?'].map(prompt => JSON.stringify({ prompt }));
    fs.writeFileSync(path.join(folder, 'own.jsonl'), prompts.join('\n'));
    tinyConfiguration(folder, { training: { maxSteps: steps, batchSize: 4, maxLength: 128 } });
    workbench = await Workbench.open(folder);
  });
  after(async () => {
    await workbench?.close();
    for (const record of runRecords()) {
      if (record.status === 'running') kill(record);
    }
  });

  const runsFolder = () => path.join(folder, '.safe-finetuning', 'runs');
  const runFolders = () => (fs.existsSync(runsFolder()) ? fs.readdirSync(runsFolder()).filter(name => !name.startsWith('.')).sort() : []);
  const inRun = (index: number, ...parts: string[]) => path.join(runsFolder(), runFolders()[index] ?? 'no run', ...parts);
  const events = () => fs.readFileSync(inRun(0, 'events.jsonl'), 'utf8').trim().split('\n').map(line => JSON.parse(line) as { type: string });
  const runRecords = (): RunRecord[] =>
    runFolders()
      .map((_, index) => inRun(index, 'run.json'))
      .filter(file => fs.existsSync(file))
      .map(file => JSON.parse(fs.readFileSync(file, 'utf8')) as RunRecord);
  const kill = ({ process: { pid } }: RunRecord) => {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // it has ended
    }
  };

  it('does not begin while a check fails, and says what to do', async () => {
    const broken = tinyConfiguration(folder, { dataset: { path: 'missing.jsonl' } }, 'broken.finetune.json');
    await workbench.openFile(broken);
    await workbench.command('Safe Fine-Tuning: Start Run');
    await workbench.notification('missing.jsonl').waitFor();
    const { page } = workbench.monitor;
    await page.locator('.check.error', { hasText: 'missing.jsonl' }).waitFor();
    await page.locator('.card.bad h2', { hasText: /1 check failed/ }).waitFor();
    await workbench.screenshot('preflight');
    assert.deepStrictEqual(runFolders(), []);
    await workbench.command('Notifications: Clear All Notifications');
  });

  it('asks before rows leave the machine, however the configuration is written', async () => {
    const configuration = JSON.parse(fs.readFileSync(path.join(folder, 'tiny.finetune.json'), 'utf8')) as object;
    const risk = "risk: {judge: 'endpoint', 'endpoint': {url: 'http://127.0.0.1:9/v1', model: 'm'}}";
    fs.writeFileSync(path.join(folder, 'judged.finetune.json'), JSON.stringify(configuration, null, 2).replace(/\}$/, `, ${risk}}`));
    await workbench.openFile('judged.finetune.json');
    await workbench.command('Safe Fine-Tuning: Start Run');
    const dialog = workbench.page.locator('.monaco-dialog-box', { hasText: 'Send 24 rows to http://127.0.0.1:9?' });
    await dialog.waitFor();
    await workbench.screenshot('consent');
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await dialog.waitFor({ state: 'hidden' });
    assert.deepStrictEqual(runFolders(), []);
    await workbench.command('Notifications: Clear All Notifications');
  });

  it('sends rows once the user has agreed, and does not ask again', async () => {
    const asked: string[] = [];
    const server = http.createServer((request, response) => {
      void text(request).then(body => {
        asked.push(body);
        const message = { role: 'assistant', content: '{"score": 1}' };
        response.setHeader('Content-Type', 'application/json');
        response.end(JSON.stringify({ id: 'x', object: 'chat.completion', created: 0, model: 'm', choices: [{ index: 0, message, finish_reason: 'stop' }] }));
      });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      const rows = path.join(folder, 'sent.jsonl');
      const add = (prompt: string) => fs.appendFileSync(rows, `${JSON.stringify({ prompt, completion: 'Yes.' })}\n`);
      add('Is it a zebra?');
      add('Is it an otter?');
      const risk = { judge: 'endpoint', endpoint: { url: `${origin}/v1`, model: 'm' } };
      tinyConfiguration(folder, { dataset: { path: 'sent.jsonl' }, risk }, 'sent.finetune.json');
      await workbench.openFile('sent.finetune.json');
      const judge = () => workbench.command('Safe Fine-Tuning: Judge Dataset by the Judge of a Configuration…');
      await judge();
      const dialog = workbench.page.locator('.monaco-dialog-box', { hasText: `Send 2 rows to ${origin}?` });
      await dialog.getByRole('button', { name: 'Send Rows' }).click();
      await workbench.notification('2 rows were judged by the endpoint of sent.finetune.json').waitFor();
      assert.strictEqual(asked.length, 2);
      add('Is it a heron?');
      await judge();
      await workbench.notification('3 rows were judged by the endpoint').waitFor();
      assert.deepStrictEqual(asked.map(body => /zebra|otter|heron/.exec(body)![0]).sort(), ['heron', 'otter', 'zebra']);
      assert.strictEqual(await dialog.count(), 0);
    } finally {
      server.close();
      server.closeAllConnections();
    }
    await workbench.command('Notifications: Clear All Notifications');
  });

  it('keeps a token in the secret storage, and removes it', async () => {
    const { page } = workbench;
    for (const [typed, said] of [['hush', 'stored'], ['', 'removed']] as const) {
      await workbench.command('Safe Fine-Tuning: Set Key or Token…');
      await page.locator('.quick-input-list .monaco-list-row', { hasText: 'Hugging Face token' }).click();
      const input = page.locator('.quick-input-box input[type="password"]');
      await input.fill(typed);
      await input.press('Enter');
      await workbench.notification(`Hugging Face token: ${said}`).waitFor();
    }
    await workbench.command('Safe Fine-Tuning: Set Key or Token…');
    await page.locator('.quick-input-list .monaco-list-row', { hasText: 'Key of another server' }).click();
    const address = page.locator('.quick-input-box input[placeholder^="https"]');
    await address.fill('https://judge.example/v1');
    await address.press('Enter');
    const key = page.locator('.quick-input-box input[type="password"]');
    await key.fill('hush');
    await key.press('Enter');
    await workbench.notification('Key of https://judge.example: stored').waitFor();
    await workbench.command('Notifications: Clear All Notifications');
  });

  it('starts from the palette and shows its phase, its numbers and its charts', async () => {
    await workbench.openFile('tiny.finetune.json');
    await workbench.command('Safe Fine-Tuning: Start Run');
    const { monitor } = workbench;
    await monitor.status('Running').waitFor();
    await monitor.page.locator('.phase-title', { hasText: 'Training' }).waitFor();
    await monitor.reaches(20);
    await monitor.button('Pause').click();
    await monitor.status('Paused').waitFor();
    const at = await monitor.step();
    assert.ok(at < steps);
    for (const label of ['Loss', 'NLL', 'Risk', 'β', 'Learning rate', 'Tokens/s', 'Memory', 'Canary']) {
      assert.match(await monitor.value(label).innerText(), /\d/, label);
    }
    assert.strictEqual(await monitor.page.locator('.chart canvas').count(), 5);
    await workbench.statusBar('Paused').waitFor();
    await workbench.screenshot('paused');
    await assertAccessible(workbench, 'monitor');
    assert.strictEqual(await monitor.step(), at, 'a paused run makes no step');
  });

  it('leads from a point in a chart to the rows of its batch and on to the line in the file', async () => {
    const { page } = workbench.monitor;
    await page.locator('.chart .u-over').first().click();
    await page.locator('.rows h2', { hasText: /^Step \d+: 4 rows$/ }).waitFor();
    const link = page.locator('.rows .link').first();
    const line = Number(/\d+$/.exec(await link.innerText()));
    await link.click();
    await workbench.page.locator('.tab.active', { hasText: 'rows.jsonl' }).waitFor();
    await workbench.cursorIsAt(line);
    await workbench.screenshot('row');
    await assertAccessible(workbench, 'monitor');
  });

  it('lists the last risky rows; one of them is a key away from its line, and the list waits meanwhile', async () => {
    const { page } = workbench.monitor;
    const list = page.locator('section[aria-label="Last risky rows"]');
    const lines = list.locator('tbody tr');
    await lines.first().waitFor();
    const shown = (await lines.allInnerTexts()).map(text => /rows\.jsonl:(\d+)\s+([\d.]+)\s+(\d+)/.exec(text)!.slice(1).map(Number));
    assert.ok(shown.length > 0 && shown.length <= 5);
    const steps = shown.map(([, , step]) => step!);
    assert.deepStrictEqual(steps, [...steps].sort((a, b) => b - a), 'newest first');
    assert.ok(shown.every(([line, risk]) => line! > 20 && risk! >= 0.5), JSON.stringify(shown));
    assert.strictEqual(await list.evaluate(element => element.closest('[aria-live]')), null, 'it does not speak of itself');
    await list.scrollIntoViewIfNeeded();
    await workbench.screenshot('risky-rows');
    await lines.first().locator('.link').focus();
    await workbench.page.keyboard.press('Enter');
    await workbench.cursorIsAt(shown[0]![0]!);
  });

  it('leads back from a row in the file to the steps in which it was trained on', async () => {
    await workbench.command('Safe Fine-Tuning: Show Where Row Was Trained On');
    const steps = workbench.page.locator('.quick-input-list .monaco-list-row', { hasText: /Step \d+.*risk .*nll/s });
    await steps.first().waitFor();
    const step = /Step (\d+)/.exec(await steps.first().innerText())![1];
    await workbench.screenshot('row-in-training');
    await steps.first().click();
    await workbench.monitor.page.locator('.rows h2', { hasText: `Step ${step}: 4 rows` }).waitFor();
  });

  it('has a setting changed and a checkpoint saved from the next step on', async () => {
    const { monitor, page } = workbench;
    await workbench.command('Safe Fine-Tuning: Change β or Learning Rate…');
    await page.locator('.quick-input-list .monaco-list-row', { hasText: 'Lower end of β' }).click();
    const value = page.locator('.quick-input-box input');
    await value.fill('2');
    await page.locator('.quick-input-message', { hasText: 'β lies between 0 and 1' }).waitFor();
    await value.fill('0.3');
    await value.press('Enter');
    await workbench.command('Safe Fine-Tuning: Save Checkpoint Now');
    const at = await monitor.step();
    await monitor.button('Continue').click();
    await monitor.reaches(at + 2);
    await workbench.command('Safe Fine-Tuning: Pause Run');
    await monitor.status('Paused').waitFor();
    const change = monitor.page.locator('section', { hasText: 'Changes and notes' }).locator('li');
    // A run that was paused within a step finishes that step as it began it.
    assert.match(await change.innerText(), new RegExp(`After step (${at}|${at + 1}) .*β.* 0\\.3`));
    const saved = events().filter(({ type }) => type === 'checkpoint').map(event => (event as unknown as CheckpointSaved).step);
    assert.ok(saved.includes(at + 1), `it is saved after the next step, ${at + 1}, not only after ${saved.join()}`);
    await workbench.screenshot('changed');
  });

  it('is measured when it is asked to be, and goes on', async () => {
    const { monitor } = workbench;
    const at = await monitor.step();
    await workbench.command('Safe Fine-Tuning: Measure Now');
    await monitor.button('Continue').click();
    const entries = monitor.page.locator('section', { hasText: 'Changes and notes' }).locator('li');
    const entry = entries.filter({ hasText: `After step ${at + 1} · Attack success` });
    await entry.waitFor();
    assert.match(await entry.innerText(), /Attack success [\d.]+\s%, over-refusal [\d.]+\s%, degenerate [\d.]+\s%, held-out loss \d/);
    await monitor.reaches(at + 3);
    await workbench.command('Safe Fine-Tuning: Pause Run');
    await monitor.status('Paused').waitFor();
    const chart = monitor.page.locator('.chart', { hasText: 'Attack success' });
    await chart.locator('canvas').waitFor();
    await chart.scrollIntoViewIfNeeded();
    await workbench.screenshot('measured');
  });

  it('goes on when the window is loaded anew, which shows its history and follows it', async () => {
    const before = await workbench.monitor.step();
    await workbench.reload();
    const monitor = await workbench.openMonitor();
    await monitor.status('Paused').waitFor();
    assert.strictEqual(await monitor.step(), before);
    assert.strictEqual(await monitor.page.locator('.plot').first().getAttribute('aria-valuemin'), '1');
    assert.strictEqual(await monitor.page.locator('.plot').first().getAttribute('aria-valuemax'), String(before));
    await monitor.button('Continue').click();
    await monitor.reaches(before + 20);
  });

  it('that is killed is shown as failed, with the log, and completes when it is resumed', async () => {
    const { monitor } = workbench;
    await until('a checkpoint', () => checkpoints(inRun(0, 'checkpoints')).length);
    kill(runRecords()[0]!);
    await monitor.status('Failed').waitFor();
    const card = monitor.page.locator('.card.bad', { hasText: 'killed' });
    await card.locator('summary', { hasText: 'Last lines of the log' }).click();
    assert.match(await card.locator('pre').innerText(), /step \d+/);
    await workbench.notification('failed').waitFor();
    await workbench.screenshot('failed');
    await assertAccessible(workbench, 'monitor');
    await card.locator('vscode-button', { hasText: 'Resume' }).click();
    await monitor.page.locator('vscode-tag', { hasText: 'attempt 2' }).waitFor();
    await monitor.status('Completed').waitFor({ timeout: 120_000 });
    assert.strictEqual(await monitor.step(), steps);
    assert.deepStrictEqual(runFolders().length, 1);
  });

  it('ends with the adapter and with what was measured before and after', async () => {
    assert.ok(fs.existsSync(inRun(0, 'adapter', 'adapter_model.safetensors')));
    const evaluated = events().filter(({ type }) => type === 'evaluation');
    const [before, after] = evaluated as unknown as [Evaluated, Evaluated];
    const cells = (label: string) => workbench.monitor.page.locator(`.result tr:has(th:text-is("${label}")) td`);
    const percent = (share: number) => `${(100 * share).toFixed(0)}`;
    for (const [index, { metrics }] of [before, after].entries()) {
      assert.ok((await cells('Degenerate').nth(index).innerText()).startsWith(percent(metrics.degenerate.value)));
      assert.ok((await cells('Held-out loss').nth(index).innerText()).startsWith(metrics.heldOutLoss.value!.toFixed(2)));
    }
    await workbench.notification('completed').waitFor();
  });

  it('has its model measured on prompts of the user', async () => {
    const { page } = workbench;
    await workbench.openFile('tiny.finetune.json');
    await workbench.command('Notifications: Clear All Notifications');
    await workbench.command('Safe Fine-Tuning: Evaluate Model…');
    const choices = page.locator('.quick-input-list .monaco-list-row');
    await choices.filter({ hasText: 'The safe reference' }).waitFor();
    await choices.filter({ hasText: 'adaptive' }).click();
    await choices.filter({ hasText: 'Those of the configuration' }).waitFor();
    await choices.filter({ hasText: 'My own file' }).click();
    await workbench.chooseFile('which harmful prompts', path.join(folder, 'own.jsonl'));
    await workbench.editor.locator('.view-line', { hasText: 'attack success' }).waitFor({ timeout: 60_000 });
    assert.match(await workbench.editor.innerText(), /own\.jsonl[^]*of\s3/);
    await workbench.screenshot('evaluated');
  });

  it('has its model exported as a folder that loads by itself', async () => {
    const { page } = workbench;
    const takeProposed = async () => {
      await workbench.command('Safe Fine-Tuning: Export Merged Model…');
      await page.locator('.quick-input-title', { hasText: 'Export' }).waitFor();
      const name = page.locator('.quick-input-box input');
      await until('a name is proposed', async () => (await name.inputValue()).includes('-merged'));
      await name.press('Enter');
    };
    await takeProposed();
    await workbench.notification('is exported').waitFor({ timeout: 60_000 });
    await workbench.screenshot('exported');
    const merged = path.join(folder, `${runFolders()[0]}-merged`);
    assert.ok(fs.existsSync(path.join(merged, 'config.json')) && fs.existsSync(path.join(merged, 'model.safetensors')));
    await takeProposed();
    await page.locator('.quick-input-message, .monaco-dialog-box', { hasText: /exists/ }).waitFor();
    await page.keyboard.press('Escape');
  });

  it('stops and saves when it is told to', async () => {
    await workbench.openFile('tiny.finetune.json');
    await workbench.command('Safe Fine-Tuning: Start Run');
    const { monitor } = workbench;
    await monitor.status('Running').waitFor();
    await monitor.page.locator('.phase-title', { hasText: 'Training' }).waitFor();
    await workbench.command('Safe Fine-Tuning: Stop Run and Save');
    await monitor.status('Stopped and saved').waitFor();
    assert.ok(fs.existsSync(inRun(1, 'adapter', 'adapter_model.safetensors')));
  });

  it('goes from one command in the palette to its result without another hand on it', async () => {
    await workbench.command('Notifications: Clear All Notifications');
    await workbench.openFile(tinyConfiguration(folder, { training: { maxSteps: 24, batchSize: 4, maxLength: 128 } }, 'straight.finetune.json'));
    await workbench.command('Safe Fine-Tuning: Start Run');
    const { monitor } = workbench;
    await monitor.page.locator('h1', { hasText: 'straight' }).waitFor();
    await monitor.status('Completed').waitFor({ timeout: 120_000 });
    assert.strictEqual(await monitor.step(), 24);
    assert.strictEqual(await monitor.page.locator('.result tbody tr').count(), 4);
    await workbench.notification(/straight completed\. Attack success [\d.]+\s% → [\d.]+\s%/).waitFor();
    await workbench.runs.filter({ hasText: 'straight · adaptive' }).filter({ hasText: /completed · attack success \d.* · loss \d.* · rows\.jsonl/ }).waitFor();
    const record = runRecords().at(-1)!;
    assert.deepStrictEqual([record.status, record.attempt], ['completed', 1]);
    assert.ok(fs.existsSync(inRun(runFolders().length - 1, 'adapter', 'adapter_model.safetensors')));
  });

  it('that was started on the command line shows up', async () => {
    const prompts = { harmfulPrompts: 'prompts.jsonl', benignPrompts: 'prompts.jsonl', maxNewTokens: 16 };
    const changes = {
      method: 'standard',
      training: { maxSteps: 20, batchSize: 4, maxLength: 128 },
      checkpoints: { atLeast: 2 },
      evaluation: { ...prompts, atCheckpoints: true, maxAttackSuccess: 0 },
    };
    const name = tinyConfiguration(folder, changes, 'plain.finetune.json');
    const training = train(folder, name);
    const entry = workbench.page.locator('.pane .monaco-list-row', { hasText: 'plain · standard' });
    await entry.click();
    await workbench.monitor.page.locator('h1', { hasText: 'plain' }).waitFor();
    await workbench.monitor.status('Completed').waitFor();
    await training;
    await workbench.monitor.page.locator('.chart', { hasText: 'Attack success' }).waitFor(); // at its checkpoints
  });

  it('stands beside others that are active, each a click away', async () => {
    const monitor = await workbench.openMonitor();
    const started = [['one', 'standard'], ['two', 'kl']].map(([name, method]) => {
      tinyConfiguration(folder, { method, training: { maxSteps: 5000, batchSize: 4, maxLength: 128 } }, `${name}.finetune.json`);
      const runFolder = path.join(runsFolder(), name!);
      const training = train(folder, `${name}.finetune.json`, '--run-folder', runFolder);
      const ended = training.then(() => 'it was done', ({ message }: Error) => message);
      return { runFolder, training, ended };
    });
    try {
      const others = monitor.page.locator('.other');
      await monitor.status('Running').waitFor(); // the first of them is shown by itself
      await others.filter({ hasText: /Training \d+\s%.*Loss \d/s }).waitFor({ timeout: 60_000 });
      assert.strictEqual(await others.count(), 1);
      const [shown, other] = [await monitor.page.locator('h1').innerText(), await others.locator('.name').innerText()];
      assert.deepStrictEqual([shown, other.split(' · ')[0]].sort(), ['one', 'two']);
      await others.locator('.trend path[d^="M"]').waitFor();
      await workbench.screenshot('several');
      await assertAccessible(workbench, 'monitor');
      await others.click();
      await monitor.page.locator('h1', { hasText: other.split(' · ')[0]! }).waitFor();
      await others.locator('.name', { hasText: shown }).waitFor();
    } finally {
      for (const { training, runFolder, ended } of started) {
        const isRunning = training.child.kill('SIGKILL');
        const end = await ended;
        assert.ok(isRunning, `${runFolder} had ended before: ${end}`);
        fs.rmSync(runFolder, { recursive: true });
      }
    }
    await monitor.page.locator('.others').waitFor({ state: 'hidden' });
  });

  const themes = {
    light: ['Default Light Modern', 'vscode-light'],
    dark: ['Default Dark Modern', 'vscode-dark'],
    'hc-dark': ['Default High Contrast', 'vscode-high-contrast'],
    'hc-light': ['Default High Contrast Light', 'vscode-high-contrast-light'],
  };
  for (const [name, [theme, bodyClass]] of Object.entries(themes)) {
    it(`is readable in the theme ${name}`, async () => {
      // A theme that is written into the settings file is taken up by a window that is loaded anew.
      (await sharedServer()).setSettings({ ...userSettings, 'workbench.colorTheme': theme });
      await workbench.reload();
      await workbench.openMonitor();
      const body = workbench.monitor.page.locator(`body.${bodyClass}`);
      await body.waitFor();
      await workbench.monitor.page.locator('.chart canvas').first().waitFor();
      const [text, background] = await body.evaluate(element => {
        const style = getComputedStyle(element);
        return [style.color, style.getPropertyValue('--vscode-sideBar-background')] as const;
      });
      const ratio = contrast(text, background);
      await workbench.screenshot(`theme-${name}`);
      await workbench.monitor.page.locator('.chart', { hasText: 'Canary' }).scrollIntoViewIfNeeded();
      await workbench.screenshot(`theme-${name}-charts`);
      await workbench.monitor.page.locator('section', { hasText: 'Changes and notes' }).scrollIntoViewIfNeeded();
      await workbench.screenshot(`theme-${name}-changes`);
      await assertAccessible(workbench, 'monitor');
      assert.ok(ratio >= 4.5, `text against background: ${ratio.toFixed(1)} to 1`);
    });
  }

  it('is renamed, tagged, annotated, and deleted once it is of no more use', async () => {
    const { page, monitor } = workbench;
    const runs = page.locator('.pane', { has: page.locator('.pane-header', { hasText: 'Runs' }) }).locator('.monaco-list-row');
    const typed = async (command: string, text: string) => {
      await workbench.command(`Safe Fine-Tuning: ${command}`);
      const input = page.locator('.quick-input-widget:visible .quick-input-box input');
      await input.fill(text);
      await input.press('Enter');
      await input.waitFor({ state: 'hidden' });
    };
    const before = runFolders().length;
    await typed('Rename Run…', 'My <b>best</b>');
    await monitor.page.locator('h1', { hasText: 'My <b>best</b>' }).waitFor();
    await typed('Tag Run…', 'keep, keep, lr 1e-4');
    await runs.filter({ hasText: 'My <b>best</b>' }).filter({ hasText: '#keep #lr 1e-4' }).waitFor();
    await typed('Notes at Steps…', 'Here it was good');
    await monitor.page.locator('section', { hasText: 'Changes and notes' }).locator('li', { hasText: 'Here it was good' }).waitFor();
    await workbench.screenshot('annotated');
    await workbench.command('Safe Fine-Tuning: Delete Run…');
    await page.locator('.monaco-dialog-box', { hasText: 'My <b>best</b>' }).locator('.monaco-button', { hasText: 'Cancel' }).click();
    assert.strictEqual(runFolders().length, before, 'nothing is deleted by asking');
    await workbench.command('Safe Fine-Tuning: Delete Run…');
    await page.locator('.monaco-dialog-box .monaco-button', { hasText: 'Move to Trash' }).click();
    await page.locator('.monaco-dialog-box .monaco-button', { hasText: 'Delete Permanently' }).click(); // no trash on a server
    await runs.filter({ hasText: 'My <b>best</b>' }).waitFor({ state: 'detached' });
    assert.strictEqual(runFolders().length, before - 1);
  });
});

/** Complete checkpoints: their manifest is written last. */
function checkpoints(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  return fs.readdirSync(folder).filter(name => fs.existsSync(path.join(folder, name, 'manifest.json')));
}

/** Contrast ratio of two CSS colours, `rgb(…)` or `#rrggbb` (WCAG 2.2, relative luminance). */
function contrast(one: string, other: string): number {
  const luminance = (colour: string): number => {
    const channels = colour.startsWith('#') ? colour.slice(1).match(/../g)!.map(digits => parseInt(digits, 16)) : colour.match(/[\d.]+/g)!.map(Number);
    const linear = channels.slice(0, 3).map(channel => {
      const share = channel / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0]! + 0.7152 * linear[1]! + 0.0722 * linear[2]!;
  };
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light! + 0.05) / (dark! + 0.05);
}
