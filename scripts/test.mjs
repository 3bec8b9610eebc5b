// Every test, or one suite:  node scripts/test.mjs [lint|unit|trainer|integration|e2e|desktop] [grep]
// Without a suite: all but `desktop`, which needs a VS Code that can be downloaded.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { inRoot, python, root, screenshots } from './paths.mjs';
import { fail, handleInterrupts, pythonEnvironment, runProgram, seconds, UserError } from './run.mjs';
import { setUp } from './setup.mjs';

const bin = (...parts) => inRoot('node_modules', ...parts);
const inTrainer = { cwd: inRoot('trainer'), env: pythonEnvironment };

/** @typedef {{passed: number, failed: number, skipped: number}} Count */

async function lint() {
  await setUp('node', 'python');
  const ruff = ['-m', 'ruff'];
  const linted = ['--config', 'pyproject.toml', '.', '../bench', '../examples'];
  const checks = {
    'types (tsc)': [process.execPath, [bin('typescript/bin/tsc'), '--noEmit'], { cwd: root }],
    'TypeScript and scripts (eslint)': [process.execPath, [bin('eslint/bin/eslint.js'), '.', '--max-warnings=0'], { cwd: root }],
    'generated protocol': [process.execPath, [inRoot('scripts/generate-protocol.mjs'), '--check'], { cwd: root }],
    'generated messages': [process.execPath, [inRoot('scripts/extract-messages.mjs'), '--check'], { cwd: root }],
    'Python (ruff check)': [python, [...ruff, 'check', '--quiet', ...linted], inTrainer],
    'Python format (ruff format)': [python, [...ruff, 'format', '--check', '--quiet', ...linted], inTrainer],
    'Python types (mypy)': [python, ['-m', 'mypy', '--no-error-summary', 'safe_finetuning'], inTrainer],
  };
  const count = { passed: 0, failed: 0, skipped: 0 };
  for (const [title, [program, args, options]] of Object.entries(checks)) {
    const { code, output } = await runProgram(program, args, { ...options, output: 'capture' });
    if (output.trim()) console.log(output.trimEnd());
    console.log(`  ${code === 0 ? '✔' : '✖'} ${title}`);
    count[code === 0 ? 'passed' : 'failed'] += 1;
  }
  return count;
}

async function unit(grep) {
  await setUp('node', 'classifier');
  return mocha('test/unit/**/*.test.ts', grep);
}

async function e2e(grep) {
  await setUp('node', 'classifier', 'host', 'browser');
  await (await import('./package-vsix.mjs')).packageVsix();
  fs.rmSync(screenshots, { recursive: true, force: true });
  fs.mkdirSync(screenshots, { recursive: true });
  return mocha('test/e2e/**/*.test.ts', grep, ['--timeout=180000', '--slow=10000', '--bail']);
}

async function mocha(files, grep, options = []) {
  const select = grep ? ['--grep', grep] : [];
  const args = ['--import', 'tsx', bin('mocha/bin/mocha.js'), process.stdout.isTTY ? '--color' : '--no-color', ...options, ...select, files];
  const { code, output } = await runProgram(process.execPath, args, { cwd: root, env: pythonEnvironment, output: 'both' });
  return counted(output, code, { passed: 'passing', failed: 'failing', skipped: 'pending' });
}

async function trainer(grep) {
  await setUp('classifier', 'inspect');
  const select = grep ? ['-k', grep] : [];
  const { code, output } = await runProgram(python, ['-m', 'pytest', ...select], { ...inTrainer, output: 'both' });
  return counted(output, code, { passed: 'passed', failed: '(?:failed|errors?)', skipped: 'skipped' });
}

/** What a runner's closing lines say. A runner that fails without saying so counts as one failure. */
function counted(output, code, words) {
  const number = word => Number(new RegExp(`(\\d+)(?:\\x1b\\[\\d+m)* ${word}`, 'g').exec(output.slice(-20_000))?.[1] ?? 0);
  const count = { passed: number(words.passed), failed: number(words.failed), skipped: number(words.skipped) };
  if (code !== 0 && count.failed === 0) count.failed = 1;
  return count;
}

/** Mocha inside the extension host of code-server, on the extension as it lies in the checkout. */
async function integration(grep) {
  await setUp('node', 'classifier', 'host', 'browser');
  await (await import('./build.mjs')).build();
  const { runInExtensionHost } = await import('./vscode-host.mjs');
  return inTestWorkspace(grep, ({ workspace, settings, env }) =>
    runInExtensionHost(inRoot('out/test/integration/index.js'), workspace, { settings, env, extension: root }),
  );
}

/** The same suite in a VS Code for the desktop, which @vscode/test-electron downloads. */
async function desktop(grep) {
  await setUp('node', 'classifier');
  await (await import('./build.mjs')).build();
  const { runTests } = await import('@vscode/test-electron');
  return inTestWorkspace(grep, async ({ workspace, settings, env }) => {
    const userData = path.join(workspace, '..', 'user');
    fs.mkdirSync(path.join(userData, 'User'), { recursive: true });
    fs.writeFileSync(path.join(userData, 'User', 'settings.json'), JSON.stringify(settings));
    const code = await runTests({
      extensionDevelopmentPath: root,
      extensionTestsPath: inRoot('out/test/integration/index.js'),
      extensionTestsEnv: env,
      launchArgs: [workspace, '--user-data-dir', userData, '--disable-extensions', '--disable-workspace-trust'],
    });
    return code === 0;
  });
}

/** Gives the suite a copy of the example, runs it, and reads what it found. */
async function inTestWorkspace(grep, runSuite) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'safe-finetuning-test-'));
  const workspace = path.join(folder, 'workspace');
  const results = path.join(folder, 'results.json');
  fs.cpSync(inRoot('examples'), workspace, { recursive: true });
  try {
    const succeeded = await runSuite({
      workspace,
      settings: { 'safeFinetuning.python.interpreter': python },
      env: { ...pythonEnvironment, SAFE_FINETUNING_TEST_RESULTS: results, ...(grep ? { SAFE_FINETUNING_TEST_GREP: grep } : {}) },
    });
    if (!fs.existsSync(results)) {
      console.error('The tests did not report: they could not be loaded, or took too long.');
      return { passed: 0, failed: 1, skipped: 0 };
    }
    const { report, ...count } = JSON.parse(fs.readFileSync(results, 'utf8'));
    console.log(`${report}\n\n  ${count.passed} passing\n  ${count.failed} failing`);
    if (!succeeded && count.failed === 0) count.failed = 1;
    return count;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

const suites = { lint, unit, trainer, integration, e2e };

async function main([name, grep]) {
  if (name && name !== 'desktop' && !Object.hasOwn(suites, name)) {
    throw new UserError(`There is no suite "${name}". Suites: ${Object.keys(suites).join(', ')}, desktop.`);
  }
  if (name === 'unit' && !grep) process.env.FUZZ ??= 'quick'; // somebody waits; `npm test` tries every input
  const chosen = name === 'desktop' ? { desktop } : name ? { [name]: suites[name] } : suites;
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const [suite, runSuite] of Object.entries(chosen)) {
    const began = Date.now();
    console.log(`\n=== ${suite}`);
    const count = await runSuite(grep);
    if (count.passed + count.failed === 0) {
      console.error(`${suite}: no test ran`);
      count.failed = 1;
    }
    console.log(`=== ${suite}: ${count.passed} of ${count.passed + count.failed} passed (${seconds(began)})`);
    for (const key of Object.keys(total)) total[key] += count[key];
  }
  console.log(`\n${total.passed} passed, ${total.failed} failed${total.skipped ? `, ${total.skipped} skipped` : ''}`);
  process.exitCode = total.failed ? 1 : 0;
}

handleInterrupts();
await main(process.argv.slice(2)).catch(fail);
