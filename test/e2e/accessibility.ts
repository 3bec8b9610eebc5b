/** What axe-core finds in our pages that are on the screen, whether they fit their width, and whether lines can be told apart without colours. */
import assert from 'node:assert';
import axe from 'axe-core';
import type { Frame } from 'playwright-core';
import type { Workbench } from './workbench';

/** Fails with what is wrong and where; `kinds` are the pages that have to be there. */
export async function assertAccessible({ page }: Workbench, ...kinds: string[]): Promise<void> {
  const seen: string[] = [];
  await page.mouse.move(2, 2); // what is pointed at has other colours
  for (const frame of page.frames()) {
    const kind = await frame.evaluate(() => document.body?.dataset['kind']).catch(() => undefined);
    if (!kind || !(await isShown(frame))) continue;
    seen.push(kind);
    assert.deepStrictEqual(await violations(frame, kind === 'monitor' ? 'sideBar' : 'editor'), [], `axe on the page of the ${kind}`);
    assert.deepStrictEqual(await linesThatLookAlike(frame), [], `on the page of the ${kind}: lines of a chart that differ by their colour only`);
    const { wanted, given } = await frame.evaluate(() => ({ wanted: document.documentElement.scrollWidth, given: innerWidth }));
    assert.ok(wanted <= given, `the page of the ${kind} needs ${wanted} pixels and has ${given}`);
  }
  for (const kind of kinds) assert.ok(seen.includes(kind), `no page of the ${kind} among ${seen.join()}`);
}

async function isShown(frame: Frame): Promise<boolean> {
  const element = await frame.parentFrame()?.frameElement().catch(() => undefined);
  return (await element?.isVisible()) ?? false;
}

/** `part`: what of the workbench shines through the page, which axe does not see. */
async function violations(frame: Frame, part: 'editor' | 'sideBar'): Promise<string[]> {
  await frame.evaluate(axe.source);
  await frame.evaluate(name => (document.body.style.background = `var(--vscode-${name}-background)`), part);
  const found = await frame.evaluate(() => (globalThis as unknown as { axe: typeof axe }).axe.run(document, { resultTypes: ['violations'] }));
  await frame.evaluate(() => (document.body.style.background = ''));
  return found.violations.flatMap(({ id, help, nodes }) => nodes.map(({ html }) => `${id}: ${help}: ${html.slice(0, 200)}`));
}

/** WCAG 2.2, 1.4.1: whoever sees no colours tells lines by their dashes and points. */
function linesThatLookAlike(frame: Frame): Promise<string[]> {
  return frame.locator('.chart, .run-list').evaluateAll(charts =>
    charts.flatMap(chart => {
      const samples = [...chart.querySelectorAll('.sample, .swatch')];
      const looks = samples.map(sample => sample.querySelector('path')?.getAttribute('stroke-dasharray') ?? sample.className);
      return looks.filter((look, index) => looks.indexOf(look) < index).map(look => `${chart.textContent?.slice(0, 80)}: ${look}`);
    }),
  );
}
