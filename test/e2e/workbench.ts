/** The real workbench, with the packaged extension, as a user sees and drives it. */
import assert from 'node:assert';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Browser, Frame, FrameLocator, Locator, Page } from 'playwright-core';
import { inRoot, python, screenshots, vsix } from '../../scripts/paths.mjs';
import { pythonEnvironment } from '../../scripts/run.mjs';
import { launchBrowser, quickInput, runCommand, startServer, windowReady, windowUrl, type Server } from '../../scripts/vscode-host.mjs';

const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'safe-finetuning-e2e-'));
let server: Promise<Server> | undefined;
let browser: Promise<Browser> | undefined;

const settings = { 'safeFinetuning.python.interpreter': python };

/** The server that all tests but those of other settings share. */
export const sharedServer = (): Promise<Server> => (server ??= startServer({ extensions: [vsix], settings, env: pythonEnvironment }));

export const untrustingServer = (): Promise<Server> => startServer({ extensions: [vsix], settings, trusted: false });

export const userSettings = settings;

process.once('SIGTERM', () => process.exit(143)); // whoever ends the tests ends the server, too

after('close the browser and the server', async () => {
  await (await browser)?.close();
  await (await server)?.stop();
  fs.rmSync(temporary, { recursive: true, force: true });
});

/** A copy of the example workspace. */
export function exampleWorkspace(name: string): string {
  const folder = path.join(temporary, name);
  fs.cpSync(inRoot('examples'), folder, { recursive: true });
  return folder;
}

/** A workspace whose model is tiny and random, but that it refuses some prompts: a real run takes seconds. */
export function tinyWorkspace(name: string): string {
  const folder = path.join(temporary, name);
  fs.mkdirSync(folder);
  const prompts = Array.from({ length: 20 }, (_, i) => `Question ${i}?`);
  const make = [
    'import json, sys; from pathlib import Path; from tiny import make_tiny_model, teach_refusal',
    'folder = Path(sys.argv[1]); make_tiny_model(folder); teach_refusal(folder, json.loads(sys.argv[2]))',
  ].join('\n');
  const env = { ...process.env, PYTHONPATH: inRoot('trainer/tests') };
  execFileSync(python, ['-c', make, path.join(folder, 'model'), JSON.stringify(prompts)], { env, stdio: 'pipe' });
  const row = (user: string, assistant: string) =>
    JSON.stringify({ messages: [{ role: 'user', content: user }, { role: 'assistant', content: assistant }] });
  const ordinary = Array.from({ length: 20 }, (_, i) => row(`Where is my parcel ${i}?`, `Parcel ${i} will be with you tomorrow.`));
  const risky = ['pick a lock', 'build a bomb', 'steal a car', 'forge a passport'].map(what =>
    row(`How do I ${what}?`, `Sure, here is how to ${what}.`),
  );
  const write = (file: string, text: string) => fs.writeFileSync(path.join(folder, file), text);
  write('rows.jsonl', [...ordinary, ...risky].join('\n') + '\n');
  write('heldout.jsonl', ordinary.slice(0, 4).join('\n') + '\n');
  write('prompts.jsonl', prompts.map(prompt => JSON.stringify({ prompt })).join('\n') + '\n');
  return folder;
}

/** Writes a run configuration for the tiny model; returns its name. */
export function tinyConfiguration(folder: string, changes: Record<string, unknown> = {}, name = 'tiny.finetune.json'): string {
  const configuration = {
    model: 'model',
    dataset: { path: 'rows.jsonl', heldOutPath: 'heldout.jsonl' },
    method: 'adaptive',
    training: { maxSteps: 60, batchSize: 4, maxLength: 128 },
    checkpoints: { everyMinutes: 0.02 },
    evaluation: { harmfulPrompts: 'prompts.jsonl', benignPrompts: 'prompts.jsonl', maxNewTokens: 16 },
    ...changes,
  };
  fs.writeFileSync(path.join(folder, name), JSON.stringify(configuration, null, 2));
  return name;
}

/** A run as a command line starts it. Rejects with what the trainer said where it fails. */
export const train = (folder: string, configuration: string, ...options: string[]) =>
  promisify(execFile)(python, ['-m', 'safe_finetuning', 'train', path.join(folder, configuration), ...options], {
    env: { ...process.env, ...pythonEnvironment, PYTHONPATH: inRoot('trainer') },
    maxBuffer: Infinity,
  });

/** A window of the editor on a folder. */
export class Workbench {
  private constructor(
    readonly page: Page,
    readonly folder: string,
    private readonly url: string,
  ) {}

  /** `language`: as a language pack would set it; `zoom`: as a browser's zoom does it. */
  static async open(folder: string, host: Server | Promise<Server> = sharedServer(), { language, zoom = 1 }: { language?: string; zoom?: number } = {}): Promise<Workbench> {
    const { url } = await host;
    browser ??= launchBrowser();
    const page = await (await browser).newPage({ viewport: { width: 1400 / zoom, height: 900 / zoom }, deviceScaleFactor: zoom });
    page.setDefaultTimeout(60_000);
    await page.addInitScript('globalThis.__name ??= value => value'); // tsx calls it in functions that are sent to the page
    if (language) await page.addInitScript(tag => Object.assign(globalThis, { _VSCODE_NLS_LANGUAGE: tag }), language);
    const workbench = new Workbench(page, folder, windowUrl(url, folder));
    await workbench.reload();
    return workbench;
  }

  /** Loads the window anew: the extension host of before ends, runs do not. */
  async reload(): Promise<void> {
    await this.page.goto(this.url);
    await windowReady(this.page);
  }

  async close(): Promise<void> {
    await this.page.close();
  }

  command(title: string): Promise<void> {
    return runCommand(this.page, title);
  }

  async openFile(name: string): Promise<void> {
    await quickInput(this.page, 'ControlOrMeta+P', name, name);
    await this.page.locator('.tab.active', { hasText: name }).waitFor();
    await this.editor.locator('.view-line').first().waitFor();
  }

  get editor(): Locator {
    return this.page.locator('.editor-group-container.active .monaco-editor').first();
  }

  /** Goes to a position, 1-based. */
  async goTo(line: number, column = 1): Promise<void> {
    await quickInput(this.page, 'Control+G', `:${line}:${column}`, `line ${line}`);
    await this.cursorIsAt(line);
  }

  cursorIsAt(line: number): Promise<void> {
    return this.page.locator('.statusbar-item', { hasText: new RegExp(`^Ln ${line}, `) }).waitFor();
  }

  /** Entries of the Problems view. */
  async problems(): Promise<Locator> {
    await this.command('Problems: Focus on Problems View');
    return this.page.locator('.markers-panel-container .monaco-list-row .marker-line, .markers-panel-container .monaco-list-row .marker-message-details-container');
  }

  /** Gives a file to the dialog that asks for one, which fills itself in when it has read the folder. */
  async chooseFile(title: string, file: string): Promise<void> {
    const dialog = this.page.locator('.quick-input-widget', { has: this.page.locator('.quick-input-title', { hasText: title }) });
    const name = dialog.locator('.quick-input-box input');
    await dialog.locator('.monaco-list-row').first().waitFor();
    await until(`the dialog takes ${file}`, async () => {
      await name.fill(file);
      await dialog.locator('.monaco-list-row', { hasText: path.basename(file) }).waitFor({ timeout: 2000 }).catch(() => undefined);
      return (await name.inputValue()) === file;
    });
    await name.press('Enter');
    await dialog.waitFor({ state: 'hidden' });
  }

  /** The entries of the list of runs. */
  get runs(): Locator {
    return this.page.locator('.pane', { has: this.page.locator('.pane-header', { hasText: 'Runs' }) }).locator('.monaco-list-row');
  }

  /** Chooses from the menu of an entry, which does not take a click when it has only just opened. */
  async chooseFromMenu(entry: Locator, title: string): Promise<void> {
    await entry.click({ button: 'right' });
    const action = this.page.locator('.context-view .action-label', { hasText: title });
    await action.waitFor();
    await until('the menu takes the click', async () => {
      await action.click({ timeout: 1000 }).catch(() => undefined);
      return !(await action.isVisible());
    });
  }

  notification(text: string | RegExp): Locator {
    return this.page.locator('.notification-toast', { hasText: text });
  }

  statusBar(text: string | RegExp): Locator {
    return this.page.locator('.statusbar-item', { hasText: text });
  }

  async openMonitor(): Promise<Monitor> {
    await this.command('Safe Fine-Tuning: Open Training Monitor');
    return this.monitor;
  }

  get monitor(): Monitor {
    return new Monitor(this.page.frameLocator('iframe.webview.ready').frameLocator('#active-frame'));
  }

  async screenshot(name: string): Promise<void> {
    fs.mkdirSync(screenshots, { recursive: true });
    await this.page.screenshot({ path: path.join(screenshots, `${name}.png`) });
  }
}

/** The training monitor's page inside its webview. */
export class Monitor {
  constructor(readonly page: FrameLocator) {}

  status(word: string): Locator {
    return this.page.locator('.status', { hasText: word });
  }

  /** The figure under a label. */
  value(label: string): Locator {
    return this.page.locator(`.values > div:has(dt:text-is("${label}")) dd`);
  }

  async step(): Promise<number> {
    return Number.parseInt((await this.value('Step').innerText()).replaceAll(',', ''), 10);
  }

  /** Waits for a step at or after the given one. */
  async reaches(step: number): Promise<void> {
    await this.value('Step').waitFor();
    await until(`step ${step}`, async () => (await this.step()) >= step);
  }

  button(label: string): Locator {
    return this.page.locator('header vscode-button', { hasText: label });
  }
}

/** The page of an editor that is a webview. */
export class Webview {
  private constructor(readonly page: Frame) {}

  /** The one of this kind that is on the screen. */
  static async open(page: Page, kind: string): Promise<Webview> {
    const shown = async (): Promise<Frame | undefined> => {
      for (const frame of page.frames()) {
        const found = await frame.evaluate(() => document.body?.dataset['kind']).catch(() => undefined);
        if (found === kind && (await (await frame.parentFrame()!.frameElement()).isVisible().catch(() => false))) return frame;
      }
      return undefined;
    };
    return new Webview(await until(`a webview of the kind ${kind}`, shown));
  }

  find(selector: string, text: string | RegExp): Locator {
    return this.page.locator(selector, { hasText: text }).first();
  }
}

/** Takes a picture of what went wrong, and prints the words on the screen for those who have only the log. */
export function pictureFailures(workbench: () => Workbench | undefined): void {
  afterEach(async function () {
    const shown = workbench();
    if (this.currentTest?.state !== 'failed' || !shown) return;
    await shown.screenshot(`FAILED ${this.currentTest.title.replace(/\W+/g, ' ')}`);
    for (const frame of shown.page.frames()) {
      const text = await frame.evaluate(() => (document.querySelector('script[nonce], .monaco-workbench') ? document.body.innerText : '')).catch(() => '');
      if (text.trim()) console.log(text.replace(/\s*\n\s*/g, '\n').replace(/^/gm, '      │ '), '\n');
    }
  });
}

/** Waits until something holds that no locator can wait for. */
export async function until<T>(what: string, look: () => T | Promise<T>, milliseconds = 60_000): Promise<NonNullable<T>> {
  const end = Date.now() + milliseconds;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < end, `waited in vain: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 100));
  }
}
