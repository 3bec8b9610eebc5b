// The main job: sets everything up, opens a copy of the example in a real VS Code, starts its run there, and follows it.
//   npm start -- [--once] [--headless] [--desktop] [--port N]
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { inRoot, python, root, vsix } from './paths.mjs';
import { fail, handleInterrupts, interrupted, interruptSignal, mustRun, pythonEnvironment, step, UserError } from './run.mjs';
import { setUp } from './setup.mjs';

const usage = `npm start -- [options]
  --once       end after the run: exit code 0 when all of it worked
  --headless   the trainer's command line only, without VS Code
  --desktop    use the installed VS Code (its \`code\` command)
  --port N     port of VS Code's server (default: a free one)`;

const workspacesKept = 3;
const runBeginsWithinSeconds = 180;

function readOptions() {
  try {
    const { values } = parseArgs({
      options: { once: { type: 'boolean' }, headless: { type: 'boolean' }, desktop: { type: 'boolean' }, port: { type: 'string', default: '0' } },
    });
    const port = Number(values.port);
    if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Error(`--port ${values.port} is not a port`);
    // The server of VS Code that npm brings runs on Linux x64 only; elsewhere the installed one is used.
    const desktop = values.desktop || (!values.headless && (process.platform !== 'linux' || process.arch !== 'x64'));
    return { ...values, desktop, port };
  } catch (error) {
    throw new UserError(`${error.message}\n${usage}`);
  }
}

async function main() {
  const options = readOptions();
  const needsServer = !options.headless && !options.desktop;
  await setUp('node', 'classifier', 'model', ...(needsServer ? ['host', 'browser'] : []));
  if (!options.headless) await (await import('./package-vsix.mjs')).packageVsix();

  const workspace = freshWorkspace();
  const config = path.join(workspace, 'support.finetune.json');
  console.log(`workspace: ${workspace}`);

  const { cancelRun, comparison, followRuns, mirror, stopRun } = await import('./mirror.mjs');
  const runs = followRuns(workspace);
  const open = options.headless ? commandLine : options.desktop ? desktopWindow : serverWindow;
  const editor = await open(workspace, config, options);
  try {
    const run = await Promise.race([runs.begun, editor.failed, interrupted]);
    console.log(`run: ${run.folder}`);
    editor.runBegan();
    const stop = () => {
      console.log('▸ Asking the run to stop and save (Ctrl+C again: cancel it) …');
      void stopRun(run).catch(() => undefined); // it has ended by itself
    };
    interruptSignal.addEventListener('abort', stop);
    insist = () => void cancelRun(run).catch(() => undefined);
    if (interruptSignal.aborted) stop();
    await mirror(run);
    interruptSignal.removeEventListener('abort', stop);
    insist = leave;

    const adapter = path.join(run.folder, 'adapter');
    if (run.state.before) console.log(`\n${comparison(run.state)}\n`);
    if (fs.existsSync(adapter)) console.log(`adapter: ${adapter}`);
    const worked = run.status === 'completed' && fs.existsSync(adapter) && run.state.before && run.state.after;
    if (!worked) process.exitCode = 1;
    if (editor.url && !options.once && !interruptSignal.aborted) {
      console.log(`\nVS Code goes on serving at ${editor.url} until Ctrl+C.`);
      await interrupted.catch(() => undefined);
      const another = await runs.unfinished();
      if (another) {
        console.log(`▸ Asking run ${another.id} to stop and save …`);
        await stopRun(another);
        await mirror(another);
      }
    }
  } finally {
    await editor.close();
    const unfinished = await runs.unfinished(); // begun while the editor was closing, or something here went wrong
    if (unfinished) await cancelRun(unfinished);
    runs.dispose();
  }
}

/** The example, copied, so that what is tried on it stays out of the checkout. Old copies go. */
function freshWorkspace() {
  const folder = inRoot('build', 'workspaces');
  fs.mkdirSync(folder, { recursive: true });
  for (const old of fs.readdirSync(folder).sort().slice(0, -workspacesKept + 1)) {
    fs.rmSync(path.join(folder, old), { recursive: true, force: true });
  }
  const time = new Date().toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15);
  const workspace = path.join(folder, time);
  fs.cpSync(inRoot('examples'), workspace, { recursive: true });
  return workspace;
}

/** The trainer's own command line, in a process group of its own: the terminal's Ctrl+C is passed on once. */
function commandLine(workspace, config) {
  const child = spawn(python, ['-m', 'safe_finetuning', 'train', config], {
    cwd: workspace,
    env: { ...process.env, ...pythonEnvironment, PYTHONPATH: inRoot('trainer') },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', text => (said = (said + text).slice(-5000)));
  const ended = new Promise(resolve => child.once('close', resolve));
  let began = false;
  return {
    failed: ended.then(code => {
      throw new UserError(`The trainer ended with exit code ${code} before its run began:\n${said}`);
    }),
    runBegan: () => (began = true),
    async close() {
      if (!began) child.kill();
      await ended;
    },
  };
}

/** VS Code's server with the packaged extension, and a headless window that starts the run as a user would. */
async function serverWindow(workspace, config, { once, port }) {
  const { launchBrowser, runCommand, startServer, windowReady, windowUrl } = await import('./vscode-host.mjs');
  const server = await step('VS Code', () =>
    startServer({ extensions: [vsix], port, env: pythonEnvironment, settings: { 'safeFinetuning.python.interpreter': python } }),
  );
  const url = windowUrl(server.url, workspace);
  console.log(`\nVS Code: ${url}\n`);
  if (!once) openInUsersBrowser(url);

  let browser;
  const startRun = async () => {
    browser = await launchBrowser();
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
    page.setDefaultTimeout(60_000);
    await page.goto(url);
    await windowReady(page);
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: path.basename(config) }).dblclick();
    await page.locator('.tab.active', { hasText: path.basename(config) }).waitFor();
    await runCommand(page, 'Safe Fine-Tuning: Start Run');
    console.log('▸ Safe Fine-Tuning: Start Run');
    const error = page.locator('.notification-toast:has(.codicon-error) .notification-list-item-message, .monaco-dialog-box').first();
    await error.waitFor({ timeout: runBeginsWithinSeconds * 1000 }).catch(() => {
      throw new UserError(`No run began within ${runBeginsWithinSeconds} s.`);
    });
    throw new UserError(`The window says: ${(await error.innerText()).trim()}`);
  };
  let began = false;
  const closeWindow = async () => browser?.close();
  return {
    url,
    failed: startRun().catch(error => {
      if (!began) throw error; // the window was closed
      return new Promise(() => undefined);
    }),
    /** The run goes on without a window; an idle one would only take from its processors. */
    runBegan() {
      began = true;
      void closeWindow();
    },
    async close() {
      began = true;
      await closeWindow();
      await server.stop();
    },
  };
}

/** Where there is a display. Without a browser there, the printed address is enough. */
function openInUsersBrowser(url) {
  if (!process.env.DISPLAY && !process.env.WAYLAND_DISPLAY) return;
  spawn('xdg-open', [url], { stdio: 'ignore', detached: true }).once('error', () => undefined).unref();
}

/** The installed VS Code with settings and extensions of its own. There a person presses Start Run. */
async function desktopWindow(workspace, config) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'safe-finetuning-desktop-'));
  const places = ['--user-data-dir', path.join(folder, 'user'), '--extensions-dir', path.join(folder, 'extensions')];
  const code = process.platform === 'win32' ? 'code.cmd' : 'code';
  const settings = path.join(folder, 'user', 'User', 'settings.json');
  fs.mkdirSync(path.dirname(settings), { recursive: true });
  fs.writeFileSync(settings, JSON.stringify({ 'safeFinetuning.python.interpreter': python, 'security.workspace.trust.enabled': false }));
  try {
    await mustRun(code, [...places, '--install-extension', vsix], { cwd: root });
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    throw new UserError('VS Code\'s `code` command was not found. Install VS Code, and its "Shell Command: Install \'code\' command in PATH".');
  }
  const closed = mustRun(code, [...places, '--new-window', '--wait', workspace, config]);
  console.log('VS Code opens: press Start Run in the title bar of support.finetune.json.');
  return {
    failed: closed.then(() => {
      throw new UserError('VS Code was closed before a run began.');
    }),
    runBegan() {},
    async close() {
      await closed.catch(() => undefined);
      fs.rmSync(folder, { recursive: true, force: true });
    },
  };
}

const leave = () => process.exit(130);
let insist = leave;
handleInterrupts(() => insist());
await main().catch(fail);
