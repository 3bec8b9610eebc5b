/** What axe-core finds in our pages that are on the screen, and whether they fit their width. */
import assert from 'node:assert';
import axe from 'axe-core';
import type { Frame } from 'playwright-core';
import type { Workbench } from './workbench';

/** Fails with what is wrong and where; `kinds` are the pages that have to be there. */
export async function assertAccessible({ page }: Workbench, ...kinds: string[]): Promise<void> {
  const seen: string[] = [];
  for (const frame of page.frames()) {
    const kind = await frame.evaluate(() => document.body?.dataset['kind']).catch(() => undefined);
    if (!kind || !(await isShown(frame))) continue;
    seen.push(kind);
    assert.deepStrictEqual(await violations(frame), [], `axe on the page of the ${kind}`);
    const { wanted, given } = await frame.evaluate(() => ({ wanted: document.documentElement.scrollWidth, given: innerWidth }));
    assert.ok(wanted <= given, `the page of the ${kind} needs ${wanted} pixels and has ${given}`);
  }
  for (const kind of kinds) assert.ok(seen.includes(kind), `no page of the ${kind} among ${seen.join()}`);
}

async function isShown(frame: Frame): Promise<boolean> {
  const element = await frame.parentFrame()?.frameElement().catch(() => undefined);
  return (await element?.isVisible()) ?? false;
}

async function violations(frame: Frame): Promise<string[]> {
  await frame.evaluate(axe.source);
  const found = await frame.evaluate(() => (globalThis as unknown as { axe: typeof axe }).axe.run(document, { resultTypes: ['violations'] }));
  return found.violations.flatMap(({ id, help, nodes }) => nodes.map(({ html }) => `${id}: ${help}: ${html.slice(0, 200)}`));
}
