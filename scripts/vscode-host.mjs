// A real VS Code: code-server on a free loopback port with throw-away user data, and a Chromium for its window.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { host, inRoot } from './paths.mjs';
import { interrupted, mustRun, UserError } from './run.mjs';
import { findBrowser } from './setup.mjs';

const entry = path.join(host.server, 'out', 'node', 'entry.js');

/** @type {Record<string, unknown>} */
const quietSettings = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'workbench.enableExperiments': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'telemetry.telemetryLevel': 'off',
  'extensions.autoCheckUpdates': false,
  'extensions.ignoreRecommendations': true,
  'update.showReleaseNotes': false,
  'chat.disableAIFeatures': true,
  'git.enabled': false,
  'security.workspace.trust.startupPrompt': 'never',
};

const { contributes } = JSON.parse(fs.readFileSync(inRoot('package.json'), 'utf8'));
const machineSettings = new Set(
  [contributes.configuration].flat().flatMap(({ properties }) =>
    Object.entries(properties)
      .filter(([, { scope }]) => scope?.startsWith('machine'))
      .map(([name]) => name),
  ),
);

/**
 * @typedef {object} Server
 * @property {string} url
 * @property {string} log path of the server's own output
 * @property {(settings: Record<string, unknown>) => void} setSettings those of the user, beside the quiet ones, and of the machine
 * @property {() => Promise<void>} stop ends the server and whatever it started, but not detached trainers
 */

/**
 * Starts the server.
 * @param {object} [options]
 * @param {string[]} [options.extensions] VSIX files to install
 * @param {Record<string, unknown>} [options.settings] of the user and the machine
 * @param {boolean} [options.trusted] every folder is trusted (default), or none is
 * @param {boolean} [options.testDriver] lets a window load an extension and its tests from source
 * @param {Record<string, string>} [options.env] for the extension host
 * @param {number} [options.port] default: a free one
 * @returns {Promise<Server>}
 */
export async function startServer({ extensions = [], settings = {}, trusted = true, testDriver = false, env = {}, port = 0 } = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'safe-finetuning-code-'));
  // Of the settings of a user, a window on a remote machine, as these are, in time drops those of a machine.
  const setSettings = added => {
    const [ofMachine, ofUser] = [true, false].map(machine =>
      Object.fromEntries(Object.entries(added).filter(([name]) => machineSettings.has(name) === machine)),
    );
    write('Machine', ofMachine);
    write('User', { ...quietSettings, 'security.workspace.trust.enabled': !trusted, ...ofUser });
  };
  const write = (whose, values) => {
    fs.mkdirSync(path.join(folder, 'user', whose), { recursive: true });
    fs.writeFileSync(path.join(folder, 'user', whose, 'settings.json'), JSON.stringify(values, null, 2));
  };
  fs.writeFileSync(path.join(folder, 'config.yaml'), '');
  setSettings(settings);

  const places = [
    '--user-data-dir', path.join(folder, 'user'),
    '--extensions-dir', path.join(folder, 'extensions'),
    '--config', path.join(folder, 'config.yaml'),
  ];
  const program = { cwd: folder, env: { ...outsideOfEditors(), XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder, ...env } };
  for (const file of extensions) await mustRun(host.node, [entry, ...places, '--install-extension', file], program);

  const child = spawn(
    host.node,
    [
      entry, ...places, '--auth', 'none', '--bind-addr', `127.0.0.1:${port}`, '--disable-telemetry', '--disable-update-check',
      '--disable-getting-started-override', ...(trusted ? ['--disable-workspace-trust'] : []),
      ...(testDriver ? ['--vscode-option', 'enable-smoke-test-driver'] : []),
      // Were this process killed outright, the server would see its output closed, and the extension host wait this long.
      '--reconnection-grace-time', '20',
    ],
    { ...program, detached: true, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const endGroup = signal => {
    try {
      process.kill(-child.pid, signal);
    } catch {
      // the group is gone
    }
  };
  const killAtExit = () => {
    endGroup('SIGKILL');
    fs.rmSync(folder, { recursive: true, force: true });
  };
  process.on('exit', killAtExit);
  const exited = new Promise(resolve => child.once('exit', resolve));

  const log = path.join(folder, 'server.log');
  const url = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new UserError(`VS Code's server did not start within a minute:\n${fs.readFileSync(log, 'utf8')}`)), 60_000);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', chunk => {
        fs.appendFileSync(log, chunk);
        output = (output + chunk).slice(-10_000);
        const address = /HTTP server listening on (http:\/\/[^\s/]+)/.exec(output)?.[1];
        if (address) resolve(address);
        if (address) clearTimeout(timer);
      });
    }
    child.once('error', reject);
    void exited.then(code => {
      clearTimeout(timer);
      const taken = /EADDRINUSE/.test(output) && `Port ${port} is taken: choose another one with --port.`;
      reject(new UserError(taken || `VS Code's server ended with exit code ${code}:\n${output}`));
    });
  });

  return {
    url,
    log,
    setSettings,
    async stop() {
      endGroup('SIGTERM');
      const timer = setTimeout(endGroup, 5000, 'SIGKILL');
      await exited;
      clearTimeout(timer);
      process.off('exit', killAtExit);
      killAtExit();
    },
  };
}

/** An editor around us, or its terminal, must not be mistaken for the one that is started. */
function outsideOfEditors() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(VSCODE_|ELECTRON_|CODE_SERVER_|npm_|NODE_OPTIONS$)/.test(name)));
}

/** A headless Chromium. It leaves signals to the script that drives it. */
export function launchBrowser() {
  return chromium.launch({
    executablePath: findBrowser(),
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
  });
}

/**
 * The address of a window on a folder.
 * @param {string} url the server's
 * @param {string} folder
 * @param {{extension?: string, tests?: string}} [development] an extension's source folder and its tests' entry
 */
export function windowUrl(url, folder, { extension, tests } = {}) {
  const remote = file => `vscode-remote://${new URL(url).host}${file}`;
  const payload = [];
  if (extension) payload.push(['extensionDevelopmentPath', remote(extension)]);
  if (tests) payload.push(['extensionTestsPath', remote(tests)]);
  return `${url}/?folder=${encodeURI(folder)}${payload.length ? `&payload=${encodeURIComponent(JSON.stringify(payload))}` : ''}`;
}

/**
 * Waits until the window can be used.
 * @param {import('playwright-core').Page} page
 */
export async function windowReady(page) {
  await page.locator('.monaco-workbench').waitFor();
  await page.locator('.explorer-folders-view .monaco-list-row').first().waitFor();
}

/**
 * Opens VS Code's input at the top with a key, types, and accepts the entry that comes up.
 * A window that is busy or just starting loses keys and knows no extension yet: what does not show is tried again.
 * @param {import('playwright-core').Page} page
 * @param {string} key
 * @param {string} text
 * @param {string} entry part of the wanted entry's text
 */
export async function quickInput(page, key, text, entry) {
  const input = page.locator('.quick-input-widget input');
  const found = page.locator('.quick-input-list .monaco-list-row.focused', { hasText: entry });
  const soon = { timeout: 3000 };
  await input.waitFor({ state: 'hidden' }); // the one before
  for (let tries = 0; tries < 20 && !(await found.isVisible()); tries++) {
    if (tries) await page.keyboard.press('Escape'); // the list is made when it opens: it may have been too early
    await page.keyboard.press(key);
    await input
      .fill(text, soon)
      .then(() => found.waitFor(soon))
      .catch(() => undefined);
  }
  await found.waitFor(soon);
  await input.press('Enter'); // wherever the focus is by now, this is not for an editor
  await found.waitFor({ state: 'hidden' });
}

/**
 * Runs a command as a user does, from the palette.
 * @param {import('playwright-core').Page} page
 * @param {string} title as the palette shows it
 */
export const runCommand = (page, title) => quickInput(page, 'F1', `>${title}`, title);

const extensionHostMinutes = 10; // a machine with other things to do takes three times as long

/**
 * Loads an extension from source in a window and calls `run()` of a module in its extension host.
 * @param {string} entry the module, built for Node
 * @param {string} folder the workspace
 * @param {{extension: string, settings?: Record<string, unknown>, env?: Record<string, string>}} options
 * @returns {Promise<boolean>} whether `run()` resolved
 */
export async function runInExtensionHost(entry, folder, { extension, settings, env }) {
  const server = await startServer({ testDriver: true, settings, env });
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage();
    // The window calls this with the exit code when `run()` has settled.
    const over = new Promise(resolve => page.exposeFunction('codeAutomationExit', resolve));
    await page.goto(windowUrl(server.url, folder, { extension, tests: entry }));
    const late = new Promise(resolve => setTimeout(resolve, extensionHostMinutes * 60_000, 'late').unref());
    const code = await Promise.race([over, late, interrupted]);
    if (code === 'late') console.error(`Not over after ${extensionHostMinutes} minutes.\n${fs.readFileSync(server.log, 'utf8').slice(-5000)}`);
    return code === 0;
  } finally {
    await browser.close();
    await server.stop();
  }
}
