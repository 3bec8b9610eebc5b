/* global document */
// Zooming in and out of a long run, and moving along, in its panel in a real VS Code: what each frame costs the page.
import { setTimeout as sleep } from 'node:timers/promises';
import { vsix } from '../../scripts/paths.mjs';
import { launchBrowser, runCommand, startServer, windowReady, windowUrl } from '../../scripts/vscode-host.mjs';

const gestureMilliseconds = 60; // between two keys that are held down, or two moves of a mouse
const zooms = 24;
const moves = 60;

/**
 * @param {string} workspace with the one run, which has been read before
 * @param {number} steps
 * @returns {Promise<{frames: number[], tasks: number[]}>} milliseconds of processor time: of script and drawing per frame, and of each task
 */
export async function measureZoom(workspace, steps, settings) {
  const server = await startServer({ extensions: [vsix], settings });
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
    await page.goto(windowUrl(server.url, workspace));
    await windowReady(page);
    await runCommand(page, 'Safe Fine-Tuning: Open Run Panel');
    const panel = await panelOf(page);
    await panel.locator(`.plot[aria-valuemax="${steps}"]`).first().waitFor({ timeout: 60_000 });
    await sleep(2000);
    await browser.startTracing(page, { categories: ['toplevel', 'devtools.timeline', 'disabled-by-default-devtools.timeline', 'devtools.timeline.frame', 'disabled-by-default-devtools.timeline.frame'] });
    await useCharts(page, panel);
    return costs(JSON.parse((await browser.stopTracing()).toString('utf8')).traceEvents);
  } finally {
    await browser.close();
    await server.stop();
  }
}

async function panelOf(page) {
  for (let tries = 0; tries < 300; tries++, await sleep(100)) {
    for (const frame of page.frames()) {
      if ((await frame.evaluate(() => document.body?.dataset.kind).catch(() => undefined)) === 'panel') return frame;
    }
  }
  throw new Error('The run panel did not open.');
}

async function useCharts(page, panel) {
  const plot = panel.locator('.plot').first();
  const press = async key => {
    await page.keyboard.press(key);
    await sleep(gestureMilliseconds);
  };
  await plot.focus();
  for (let number = 0; number < zooms; number++) await press('+');
  const box = await panel.locator('.u-over').first().boundingBox();
  const y = box.y + box.height / 2;
  await page.keyboard.down('Shift');
  await page.mouse.move(box.x + 0.9 * box.width, y);
  await page.mouse.down();
  for (let number = 0; number < moves; number++) {
    await page.mouse.move(box.x + (0.9 - (0.8 * number) / moves) * box.width, y);
    await sleep(gestureMilliseconds / 3);
  }
  await page.mouse.up();
  await page.keyboard.up('Shift');
  await plot.focus();
  for (let number = 0; number < zooms; number++) await press('-');
  await sleep(500);
}

/** Of the thread that runs the panel's script: the tasks with that script, or in which a frame is made, and what they take per frame. */
function costs(events) {
  const isOfPanel = ({ name, args }) => name === 'FunctionCall' && String(args?.data?.url).endsWith('/panel.js');
  const { pid, tid } = events.find(isOfPanel) ?? {};
  if (!pid) throw new Error('The trace has no script of the run panel.');
  const mine = events.filter(event => event.pid === pid && event.tid === tid).sort((a, b) => a.ts - b.ts);
  const timesOf = is => mine.filter(is).map(({ ts }) => ts);
  const begins = timesOf(({ name }) => name === 'BeginMainThreadFrame');
  const counted = timesOf(event => isOfPanel(event) || event.name === 'Commit');
  const tasks = mine.filter(({ name, tdur, ts, dur }) => name === 'RunTask' && tdur !== undefined && hasOneBetween(counted, ts, ts + dur));
  const frames = new Array(begins.length + 1).fill(0);
  for (const { ts, tdur } of tasks) frames[firstAfter(begins, ts)] += tdur / 1000;
  return { frames: frames.filter(cost => cost > 0), tasks: tasks.map(({ tdur }) => tdur / 1000) };
}

const hasOneBetween = (times, from, to) => times[firstAfter(times, from)] < to;

function firstAfter(times, time) {
  const index = times.findIndex(at => at >= time);
  return index < 0 ? times.length : index;
}
