/** The views where there is little room: a side bar of 200 pixels, and a browser that shows everything twice as large. */
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import type { Frame } from 'playwright-core';
import { assertAccessible } from './accessibility';
import { pictureFailures, sharedServer, tinyConfiguration, tinyWorkspace, train, until, Webview, Workbench } from './workbench';

const sideBarPixels = 200;

describe('where there is little room', () => {
  let folder: string;
  let workbench: Workbench;
  pictureFailures(() => workbench);

  before(async function () {
    this.timeout(480_000); // two runs and a window
    folder = tinyWorkspace('narrow');
    const lines = fs.readFileSync(path.join(folder, 'rows.jsonl'), 'utf8').trim().split('\n');
    fs.writeFileSync(path.join(folder, 'harmless.jsonl'), `${lines.slice(0, 20).join('\n')}\n`);
    const training = { maxSteps: 24, batchSize: 4, maxLength: 128 };
    const dataset = { path: 'harmless.jsonl', heldOutPath: 'heldout.jsonl' };
    await train(folder, tinyConfiguration(folder, { method: 'adaptive', training, safetyTokens: {} }, 'a-rather-long-name-of-a-configuration.finetune.json'));
    await train(folder, tinyConfiguration(folder, { method: 'standard', training, dataset }, 'harmless.finetune.json'));
    workbench = await Workbench.open(folder);
  });
  after(() => workbench?.close());

  const long = () => workbench.runs.filter({ hasText: 'a-rather-long-name' });
  const sideBarWidth = async () => (await workbench.page.locator('#workbench\\.parts\\.sidebar').boundingBox())!.width;
  const narrowSideBar = async () => {
    const { page } = workbench;
    await until(`a side bar of ${sideBarPixels} pixels`, async () => {
      const { x, width } = (await page.locator('#workbench\\.parts\\.sidebar').boundingBox())!;
      await page.mouse.move(x + width, 300);
      await page.mouse.down();
      await page.mouse.move(x + sideBarPixels, 300, { steps: 5 });
      await page.mouse.up();
      return Math.abs((await sideBarWidth()) - sideBarPixels) <= 1;
    });
    await page.mouse.move(2, 2);
  };
  const monitorPage = async () => (await Webview.open(workbench.page, 'monitor')).page;

  /** What is cut off: beyond the edge of the page, or within its own box, and not said to be by an ellipsis or to be scrolled to. */
  const cutOff = (page: Frame): Promise<string[]> =>
    page.evaluate(() => {
      const scrolls = (element: Element): boolean => {
        for (let at: Element | null = element; at && at !== document.body; at = at.parentElement) {
          if (/auto|scroll/.test(getComputedStyle(at).overflowX)) return true;
        }
        return false;
      };
      const isShown = (element: Element): boolean => element.checkVisibility() && !element.closest('.unseen, .uplot, svg, [aria-hidden="true"]');
      const nameOf = (element: Element) => `${element.localName}.${element.className}: ${(element.textContent ?? '').trim().slice(0, 60)}`;
      const found = document.documentElement.scrollWidth > document.documentElement.clientWidth ? ['the page scrolls sideways'] : [];
      for (const element of document.body.querySelectorAll('*')) {
        if (!isShown(element) || scrolls(element)) continue;
        const { right, left, width } = element.getBoundingClientRect();
        if (width > 0 && (right > innerWidth + 1 || left < -1)) found.push(`outside: ${nameOf(element)}`);
        const { overflowX, textOverflow } = getComputedStyle(element);
        if (overflowX !== 'visible' && textOverflow !== 'ellipsis' && element.scrollWidth > element.clientWidth + 1) found.push(`cut: ${nameOf(element)}`);
      }
      return found;
    });

  /** Goes through the page with the Tab key, from its first control to its last; every one of them is on the screen when it has the focus. */
  const assertReachable = async (page: Frame): Promise<void> => {
    const focusable = 'a[href], button, input, select, summary, [tabindex="0"], vscode-button, vscode-checkbox';
    const controls = await page.evaluate(selector => {
      const all = [...document.querySelectorAll<HTMLElement>(selector)].filter(control => control.checkVisibility() && !control.matches(':disabled, [disabled]'));
      all.forEach((control, index) => (control.dataset['control'] = String(index)));
      all[0]?.focus();
      return all.map(control => `${control.localName}.${control.className}: ${(control.getAttribute('aria-label') ?? control.textContent ?? '').trim().slice(0, 60)}`);
    }, focusable);
    assert.ok(controls.length > 5);
    const reached = new Set<number>();
    for (let presses = 0; presses < 2 * controls.length; presses++) {
      const at = await page.evaluate(() => {
        const control = document.activeElement?.closest<HTMLElement>('[data-control]');
        if (!control) return undefined;
        const { left, right, top, bottom } = control.getBoundingClientRect();
        return { index: Number(control.dataset['control']), isSeen: left >= -1 && right <= innerWidth + 1 && bottom > 0 && top < innerHeight };
      });
      if (!at) break;
      assert.ok(at.isSeen, `not on the screen when it has the focus: ${controls[at.index]}`);
      reached.add(at.index);
      await workbench.page.keyboard.press('Tab');
    }
    assert.deepStrictEqual(controls.filter((_, index) => !reached.has(index)), [], 'not reached by the Tab key');
  };

  const assertFits = async (kind: 'monitor' | 'panel' | 'compare', picture: string): Promise<void> => {
    const { page } = await Webview.open(workbench.page, kind);
    await page.locator('.chart canvas').first().waitFor();
    await workbench.screenshot(picture);
    assert.deepStrictEqual(await cutOff(page), [], kind);
    await assertReachable(page);
    await workbench.screenshot(`${picture}-end`);
    await assertAccessible(workbench, kind);
  };

  it('the monitor fits into a side bar of 200 pixels, its charts, rows and results', async () => {
    await workbench.openMonitor();
    await long().click();
    await workbench.monitor.page.locator('h1', { hasText: 'a-rather-long-name' }).waitFor();
    await narrowSideBar();
    const page = await monitorPage();
    assert.ok(await page.evaluate(() => innerWidth) <= sideBarPixels);
    await page.locator('.rows tbody tr').first().waitFor();
    await page.locator('section[aria-label="Last risky rows"]').scrollIntoViewIfNeeded();
    await workbench.screenshot('narrow-risky-rows');
    await page.locator('h1').scrollIntoViewIfNeeded();
    await assertFits('monitor', 'narrow-monitor');
  });

  it('says that there was no risky row where there was none', async () => {
    await workbench.runs.filter({ hasText: 'harmless' }).click();
    const page = await monitorPage();
    await page.locator('section[aria-label="Last risky rows"]', { hasText: 'None so far: no row of risk 0.50 or more has been trained on.' }).waitFor();
    await assertFits('monitor', 'narrow-monitor-harmless');
  });

  it('the run panel and the comparison fit at 200 %, beside such a side bar', async () => {
    await workbench.close();
    workbench = await Workbench.open(folder, sharedServer(), { zoom: 2 });
    await workbench.openMonitor();
    await long().click();
    await workbench.monitor.page.locator('section[aria-label="Last risky rows"] .link').first().waitFor(); // it comes last
    await narrowSideBar();
    await assertFits('monitor', 'zoomed-monitor');
    await workbench.command('Safe Fine-Tuning: Open Run Panel');
    await assertFits('panel', 'zoomed-panel');
    await workbench.runs.nth(0).click();
    await workbench.runs.nth(1).click({ modifiers: ['ControlOrMeta'] });
    await workbench.chooseFromMenu(workbench.runs.nth(1), 'Compare Runs…');
    await assertFits('compare', 'zoomed-compare');
    await workbench.command('View: Close Primary Side Bar');
    await assertFits('compare', 'zoomed-compare-alone');
  });

  it('the safety tokens of a run go into its configuration at the press of a button of its panel', async () => {
    await workbench.close();
    workbench = await Workbench.open(folder);
    await workbench.openMonitor();
    await long().click();
    await workbench.command('Safe Fine-Tuning: Open Run Panel');
    const { page } = await Webview.open(workbench.page, 'panel');
    const tokens = page.locator('section', { has: page.locator('h2:text-is("Safety tokens")') });
    await tokens.locator('tbody th').first().waitFor();
    const listed = await tokens.locator('tbody th').allInnerTexts();
    assert.ok(listed.length > 0);
    await tokens.locator('vscode-button', { hasText: 'Edit in Configuration' }).click();
    await workbench.page.locator('.tab.active', { hasText: 'a-rather-long-name-of-a-configuration.finetune.json' }).waitFor();
    await workbench.page.keyboard.press('ControlOrMeta+S');
    const file = path.join(folder, 'a-rather-long-name-of-a-configuration.finetune.json');
    const { safetyTokens } = await until('it is saved', () => {
      const configuration = JSON.parse(fs.readFileSync(file, 'utf8')) as { safetyTokens: { tokens?: string[] } };
      return configuration.safetyTokens.tokens && configuration;
    });
    assert.deepStrictEqual(safetyTokens.tokens!.map(token => JSON.stringify(token)), listed);
  });
});
