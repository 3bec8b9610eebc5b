/** The run panel and the comparison of runs: from a curve to the rows behind it, in an editor tab. */
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import type { Locator } from 'playwright-core';
import { assertAccessible } from './accessibility';
import { pictureFailures, sharedServer, tinyConfiguration, tinyWorkspace, train, until, userSettings, Webview, Workbench } from './workbench';

const steps = 160;

describe('the run panel', () => {
  let folder: string;
  let workbench: Workbench;
  let panel: Webview;
  pictureFailures(() => workbench);

  before(async function () {
    this.timeout(480_000); // two runs and a window
    folder = tinyWorkspace('panel');
    const training = { maxSteps: steps, batchSize: 4, maxLength: 128 };
    await train(folder, tinyConfiguration(folder, { method: 'standard', training }, 'plain.finetune.json'));
    await train(folder, tinyConfiguration(folder, { method: 'adaptive', training: { ...training, learningRate: 1e-3 } }, 'held.finetune.json'));
    workbench = await Workbench.open(folder);
  });
  after(() => workbench?.close());

  /** As a user does it: what is open is written down first. */
  const reloadWindow = async () => {
    const loaded = workbench.page.waitForEvent('load');
    await workbench.command('Developer: Reload Window');
    await loaded;
    await workbench.page.locator('.monaco-workbench .statusbar-item').first().waitFor();
  };
  const chart = (title: string): Locator => panel.page.locator('.chart', { has: panel.page.locator(`h2:text-is("${title}")`) });
  const plot = (title: string) => chart(title).locator('.plot');
  const range = () => panel.page.locator('.toolbar-range');
  const press = async (title: string, key: string) => {
    await plot(title).focus();
    await workbench.page.keyboard.press(key);
  };
  /** Drags over a part of a chart, from one share of its width to another. */
  const drag = async (title: string, from: number, to: number, key?: 'Shift') => {
    await chart(title).scrollIntoViewIfNeeded();
    const box = (await chart(title).locator('.u-over').boundingBox())!;
    const y = box.y + box.height / 2;
    if (key) await workbench.page.keyboard.down(key);
    await workbench.page.mouse.move(box.x + from * box.width, y);
    await workbench.page.mouse.down();
    await workbench.page.mouse.move(box.x + ((from + to) / 2) * box.width, y);
    await workbench.page.mouse.move(box.x + to * box.width, y);
    await workbench.page.mouse.up();
    if (key) await workbench.page.keyboard.up(key);
  };
  const shownSteps = async (): Promise<[number, number]> => {
    const [, from, to] = /Steps (\d+)–(\d+) of/.exec(await range().innerText())!;
    return [Number(from), Number(to)];
  };

  it('opens from the monitor, with every chart', async () => {
    const monitor = await workbench.openMonitor();
    await monitor.page.locator('h1', { hasText: 'held' }).waitFor();
    await monitor.page.locator('header vscode-button[aria-label="Open Run Panel"]').click();
    panel = await Webview.open(workbench.page, 'panel');
    await panel.page.locator('h1', { hasText: 'held' }).waitFor();
    await workbench.page.locator('.tab.active', { hasText: 'held · adaptive' }).waitFor();
    for (const title of ['Loss', 'Risk and β', 'Risk of the rows', 'Canary', 'KL to the reference', 'Regularised rows', 'Gradient norm', 'Learning rate', 'Tokens per second', 'Step time', 'Memory']) {
      await chart(title).locator('canvas').waitFor();
    }
    assert.ok(await chart('GPU load').isHidden(), 'where none was read');
    assert.match(await chart('Loss').locator('.legend').innerText(), /total\s*\d/);
    assert.strictEqual(await plot('Loss').getAttribute('aria-valuemax'), String(steps));
    await workbench.screenshot('panel');
  });

  it('zooms all charts where one is dragged over, and shows every value of the part', async () => {
    await drag('Gradient norm', 0.25, 0.5);
    await range().waitFor();
    const [from, to] = await shownSteps();
    assert.ok(Math.abs(from - steps / 4) < 8 && Math.abs(to - steps / 2) < 8, `${from} to ${to}`);
    await chart('Loss').locator('summary').click();
    const cells = chart('Loss').locator('.as-table tbody tr td:first-child');
    await until('the table is of the part', async () => (await cells.first().innerText()) === String(to));
    await workbench.screenshot('panel-zoomed');
    await chart('Loss').locator('summary').click();
    await drag('Loss', 0.5, 0.2, 'Shift');
    await until('the part moves along', async () => (await shownSteps())[0] > from);
  });

  it('is all there for the keyboard', async () => {
    await press('Risk and β', '0');
    await range().waitFor({ state: 'hidden' });
    await press('Risk and β', '+');
    await range().waitFor();
    const [from] = await shownSteps();
    await press('Risk and β', 'Shift+ArrowLeft');
    await until('it moves along', async () => (await shownSteps())[0] < from);
    await press('Risk and β', 'Home');
    const told = /^Step \d+: mean [\d.]+, steps? \d+.*: \d+ rows? of risk/;
    await until('the rows of the step are told', async () => told.test((await plot('Risk of the rows').getAttribute('aria-valuetext')) ?? ''));
  });

  it('lists the rows of the steps that are shown, and leads to their lines', async () => {
    await panel.page.locator('vscode-button', { hasText: 'Rows of These Steps' }).click();
    const list = panel.page.locator('.range-rows');
    await list.locator('h2', { hasText: /^Steps \d+ to \d+: 2\d rows$/ }).waitFor();
    const added = (await list.locator('.added').allInnerTexts()).map(Number);
    assert.deepStrictEqual(added, [...added].sort((a, b) => b - a));
    await workbench.screenshot('panel-rows');
    await assertAccessible(workbench, 'panel');
    const link = list.locator('.link').first();
    const line = Number(/\d+$/.exec(await link.innerText()));
    await link.click();
    await workbench.page.locator('.tab.active', { hasText: 'rows.jsonl' }).waitFor();
    await workbench.cursorIsAt(line);
    await workbench.page.locator('.tab', { hasText: 'held · adaptive' }).click();
    panel = await Webview.open(workbench.page, 'panel');
    await range().waitFor(); // as it was left
  });

  it('lists the rows of a point', async () => {
    await press('Loss', 'Home');
    await press('Loss', 'Enter');
    await panel.page.locator('.charts .rows h2', { hasText: /^Step \d+: 4 rows$/ }).waitFor();
    await press('Loss', 'Escape');
    await range().waitFor({ state: 'hidden' });
  });

  it('smooths with the values behind, draws logarithms and leaves out outliers', async () => {
    const slider = panel.page.locator('input[type="range"]');
    await slider.fill('0.9');
    await panel.page.locator('.smoothing output', { hasText: '0.90' }).waitFor();
    for (const box of ['Log scale', 'Clip outliers']) await panel.page.locator('vscode-checkbox', { hasText: box }).click();
    await panel.page.locator('.chart-note', { hasText: /outside/ }).first().waitFor();
    await workbench.screenshot('panel-smoothed');
    for (const box of ['Log scale', 'Clip outliers']) await panel.page.locator('vscode-checkbox', { hasText: box }).click();
  });

  it('saves the data of a chart, and the chart as a picture', async () => {
    await drag('Loss', 0.5, 0.75);
    const [from, to] = await until('the part', () => shownSteps().catch(() => undefined));
    await chart('Loss').locator('.chart-actions vscode-button[aria-label$="as CSV"]').click();
    const file = path.join(folder, 'loss.csv');
    await workbench.chooseFile('The chart’s data: CSV', file);
    await workbench.notification('data is in loss.csv').waitFor();
    const lines = fs.readFileSync(file, 'utf8').trimEnd().split('\r\n');
    assert.strictEqual(lines[0], 'step,total,nll,kl,anchors,safetyTokens');
    assert.deepStrictEqual([lines.length - 1, lines[1]!.split(',')[0]], [to - from + 1, String(from)]);
    await workbench.command('Notifications: Clear All Notifications');
    await chart('Loss').locator('.chart-actions vscode-button[aria-label$="picture"]').click();
    const picture = path.join(folder, 'loss.svg');
    await workbench.chooseFile('The picture: SVG', picture);
    await workbench.notification('picture is in loss.svg').waitFor();
    const drawn = await panel.page.evaluate(svg => {
      const parsed = new DOMParser().parseFromString(svg, 'image/svg+xml');
      return [parsed.querySelector('parsererror'), parsed.querySelector('title')?.textContent, parsed.querySelectorAll('path, polyline').length > 0];
    }, fs.readFileSync(picture, 'utf8'));
    assert.deepStrictEqual(drawn, [null, 'Loss', true]);
    await workbench.command('Notifications: Clear All Notifications');
  });

  /** What an SVG that the page has saved of a chart has in it. */
  const savedPicture = async (title: string, name = title): Promise<{ description: string; legend: string[]; cells: number; ticks: number[] }> => {
    await chart(title).locator('.chart-actions vscode-button[aria-label$="picture"]').click();
    const picture = path.join(folder, `${name}.svg`);
    await workbench.chooseFile('The picture: SVG', picture);
    await workbench.notification(`picture is in ${name}.svg`).waitFor();
    await workbench.command('Notifications: Clear All Notifications');
    return panel.page.evaluate(svg => {
      const all = (selector: string) => [...new DOMParser().parseFromString(svg, 'image/svg+xml').querySelectorAll(selector)];
      const texts = (selector: string) => all(selector).map(({ textContent }) => textContent ?? '');
      return { description: texts('desc').join(), legend: texts('.chart-legend'), cells: all('path.chart-cell').length, ticks: texts('text[text-anchor="end"]').map(tick => Number(tick.replaceAll('−', '-'))) };
    }, fs.readFileSync(picture, 'utf8'));
  };

  it('saves the map of risks as a picture, too', async () => {
    const { description, legend, cells } = await savedPicture('Risk of the rows');
    assert.match(description, /Steps \d+–\d+: \d+ of \d+ rows at or above 0\.50\./);
    assert.deepStrictEqual(legend, ['rows below 0.50', 'rows at or above 0.50', 'mean']);
    assert.ok(cells >= 2, `${cells} kinds of cells`);
  });

  it('draws gradient norm and learning rate on a logarithmic scale, if that is wanted', async () => {
    const isEven = (ticks: readonly number[]) => ticks.length > 2 && ticks.every((tick, index) => index < 2 || Math.abs(tick - 2 * ticks[index - 1]! + ticks[index - 2]!) < 1e-9);
    for (const title of ['Gradient norm', 'Learning rate']) assert.ok(isEven((await savedPicture(title)).ticks), title);
    await panel.page.locator('vscode-checkbox', { hasText: 'Log scale' }).click();
    for (const title of ['Gradient norm', 'Learning rate']) {
      const { ticks } = await savedPicture(title, `${title} as a logarithm`);
      assert.ok(ticks.length > 2 && !isEven(ticks), `${title}: ${ticks.join()}`);
    }
    await workbench.screenshot('panel-logarithmic');
    await panel.page.locator('vscode-checkbox', { hasText: 'Log scale' }).click();
  });

  it('is there again as it was when the window is loaded anew', async () => {
    const before = await range().innerText();
    await reloadWindow();
    panel = await Webview.open(workbench.page, 'panel');
    await panel.page.locator('h1', { hasText: 'held' }).waitFor();
    await until('the part that was shown', async () => (await range().innerText().catch(() => '')) === before);
    assert.strictEqual(await panel.page.locator('input[type="range"]').inputValue(), '0.9');
  });

  it('compares runs: their curves, settings and results', async () => {
    await workbench.openMonitor();
    await workbench.runs.nth(0).click();
    await workbench.runs.nth(1).click({ modifiers: ['ControlOrMeta'] });
    await workbench.chooseFromMenu(workbench.runs.nth(1), 'Compare Runs…');
    panel = await Webview.open(workbench.page, 'compare');
    for (const title of ['Loss', 'NLL', 'Canary', 'Mean β', 'Mean risk', 'Learning rate']) await chart(title).locator('canvas').waitFor();
    assert.deepStrictEqual(await panel.page.locator('.run-list .name').allInnerTexts(), ['held · adaptive', 'plain · standard']);
    const differences = panel.page.locator('.differences tbody tr');
    const settings = await differences.locator('th').allInnerTexts();
    assert.deepStrictEqual(settings, ['method', 'training.learningRate']);
    assert.deepStrictEqual(await differences.first().locator('td').allInnerTexts(), ['adaptive', 'standard']);
    await panel.page.locator('.result tr.after', { hasText: '%' }).first().waitFor();
    await workbench.screenshot('compare');
    await assertAccessible(workbench, 'compare');
    await panel.page.locator('.choice select').selectOption('epoch');
    await until('the axis is epochs', async () => /^Epoch \d/.test((await plot('Loss').getAttribute('aria-valuetext')) ?? ''));
    await drag('Loss', 0.2, 0.6);
    await panel.page.locator('.toolbar-range', { hasText: 'Epoch' }).waitFor();
    await press('Loss', '0');
  });

  it('compares runs that are chosen in the palette, and the page comes back when the window is loaded anew', async () => {
    const { page } = workbench;
    await workbench.command('View: Close All Editors');
    await workbench.command('Safe Fine-Tuning: Compare Runs…');
    const rows = page.locator('.quick-input-list .monaco-list-row');
    await rows.nth(1).waitFor();
    for (const index of [0, 1]) await rows.nth(index).click();
    await page.keyboard.press('Enter');
    panel = await Webview.open(page, 'compare');
    await chart('Loss').locator('canvas').waitFor();
    await panel.page.locator('.choice select').selectOption('time');
    await until('the axis is time', async () => /^Training time \d/.test((await plot('Loss').getAttribute('aria-valuetext')) ?? ''));
    await reloadWindow();
    panel = await Webview.open(page, 'compare');
    await chart('Loss').locator('canvas').waitFor();
    assert.match((await plot('Loss').getAttribute('aria-valuetext'))!, /^Training time \d/);
  });

  const themes = {
    light: ['Default Light Modern', 'vscode-light'],
    dark: ['Default Dark Modern', 'vscode-dark'],
    'hc-dark': ['Default High Contrast', 'vscode-high-contrast'],
    'hc-light': ['Default High Contrast Light', 'vscode-high-contrast-light'],
  };
  for (const [name, [theme, bodyClass]] of Object.entries(themes)) {
    it(`is readable in the theme ${name}`, async () => {
      (await sharedServer()).setSettings({ ...userSettings, 'workbench.colorTheme': theme });
      await reloadWindow();
      panel = await Webview.open(workbench.page, 'compare');
      await panel.page.locator(`body.${bodyClass}`).waitFor();
      await chart('Loss').locator('canvas').waitFor();
      await workbench.screenshot(`compare-${name}`);
      await panel.page.locator('.differences').scrollIntoViewIfNeeded();
      await workbench.screenshot(`compare-${name}-tables`);
      await assertAccessible(workbench, 'compare');
      await workbench.command('Safe Fine-Tuning: Open Run Panel');
      panel = await Webview.open(workbench.page, 'panel');
      await chart('Risk of the rows').locator('canvas').waitFor();
      await workbench.screenshot(`panel-${name}`);
      await chart('Gradient norm').scrollIntoViewIfNeeded();
      await until('what comes on the screen says its values', async () => /\d/.test(await chart('Gradient norm').locator('.legend').innerText()));
      await workbench.screenshot(`panel-${name}-charts`);
      await assertAccessible(workbench, 'panel');
      await workbench.page.locator('.tab', { hasText: 'Compare 2 Runs' }).click();
    });
  }

  it('says so when its run is gone', async () => {
    await workbench.command('Safe Fine-Tuning: Open Run Panel');
    panel = await Webview.open(workbench.page, 'panel');
    await panel.page.locator('h1', { hasText: 'held' }).waitFor();
    const runsFolder = path.join(folder, '.safe-finetuning', 'runs');
    const run = fs.readdirSync(runsFolder).find(name => name.includes('adaptive'))!;
    fs.renameSync(path.join(runsFolder, run), path.join(folder, run));
    await panel.page.locator('h1', { hasText: 'This run is gone' }).waitFor();
    await workbench.screenshot('panel-gone');
    await assertAccessible(workbench, 'panel');
    fs.renameSync(path.join(folder, run), path.join(runsFolder, run));
    await panel.page.locator('h1', { hasText: 'held' }).waitFor();
  });

  it('are listed with what they have come to; one that is completed says why it cannot be resumed', async () => {
    const { page, runs } = workbench;
    await workbench.openMonitor();
    const held = runs.filter({ hasText: 'held · adaptive' });
    const description = await held.locator('.label-description').innerText();
    assert.match(description, /^completed · attack success \d+(\.\d)?\s%( · loss \d+\.\d+) · rows\.jsonl, heldout\.jsonl · /);
    await held.click();
    await workbench.chooseFromMenu(held, 'Resume Run From Checkpoint');
    await workbench.notification('is completed; there is nothing left to do').waitFor();
    await workbench.screenshot('runs-tree');
    await page.keyboard.press('Escape');
    await workbench.command('Notifications: Clear All Notifications');
  });

  it('are deleted together where several are selected, once that is confirmed', async () => {
    const { page, runs } = workbench;
    await runs.nth(0).click();
    await runs.nth(1).click({ modifiers: ['ControlOrMeta'] });
    await workbench.chooseFromMenu(runs.nth(1), 'Delete Run…');
    const asked = page.locator('.monaco-dialog-box', { hasText: 'Delete 2 runs?' });
    await asked.locator('.monaco-button', { hasText: 'Move to Trash' }).waitFor();
    assert.match(await asked.innerText(), /held · adaptive, [\s\S]*plain · standard, |plain · standard, [\s\S]*held · adaptive, /);
    await workbench.screenshot('delete-several');
    await asked.locator('.monaco-button', { hasText: 'Move to Trash' }).click();
    const again = page.locator('.monaco-dialog-box', { hasText: '2 runs could not be moved to the trash' }); // there is none on a server
    await again.locator('.monaco-button', { hasText: 'Delete Permanently' }).click();
    await until('both are gone', async () => (await runs.count()) === 0);
    assert.deepStrictEqual(fs.readdirSync(path.join(folder, '.safe-finetuning', 'runs')).filter(name => !name.startsWith('.')), []);
  });
});
