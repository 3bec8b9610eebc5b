/** In a window whose display language is German. VS Code’s own words stay English: the server has no language pack. */
import assert from 'node:assert';
import { exampleWorkspace, pictureFailures, Webview, Workbench } from './workbench';

describe('in German', () => {
  let workbench: Workbench;
  pictureFailures(() => workbench);
  before(async () => (workbench = await Workbench.open(exampleWorkspace('german'), undefined, { language: 'de' })));
  after(() => workbench?.close());

  it('a dataset is told of, in the editor and by the worker behind the viewer', async () => {
    await workbench.openFile('support.jsonl');
    await workbench.page.locator('.codelens-decoration', { hasText: /^\d+ von \d+ Zeilen mit Risiko ab 0,50/ }).first().waitFor();
    await workbench.command('Safe Fine-Tuning: Open in Dataset Viewer');
    const { page } = await Webview.open(workbench.page, 'viewer');
    await page.locator('.filter', { hasText: 'Auffällig' }).waitFor();
    await page.locator('output', { hasText: /^\d+ Zeilen ab 0,50$/ }).waitFor();
    assert.equal(await page.locator('html').getAttribute('lang'), 'de');
  });

  it('the monitor says what to do first, and the form of a new run what is missing', async () => {
    await workbench.openMonitor();
    const monitor = await Webview.open(workbench.page, 'monitor');
    await monitor.find('.empty h1', 'Noch kein Lauf').waitFor();
    await workbench.command('Safe Fine-Tuning: New Run…');
    const { page } = await Webview.open(workbench.page, 'newrun');
    await page.locator('.preview-place', { hasText: 'Wählen Sie ein Modell und einen Datensatz aus' }).waitFor();
    await page.locator('#training-batchSize').fill('2.5');
    await page.locator('#training-batchSize-problem', { hasText: 'Geben Sie eine ganze Zahl ein.' }).waitFor();
    await workbench.screenshot('german');
  });
});
