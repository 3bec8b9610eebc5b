// Everything the other scripts need, each part only when it is missing or out of date.
//   node scripts/setup.mjs [node|python|classifier|model|host|browser|all …]
// Node's own modules only: this runs before anything is installed.
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { host, inRoot, python, root } from './paths.mjs';
import { fail, handleInterrupts, mustRun, pythonEnvironment, runProgram, step, UserError } from './run.mjs';

const readJson = file => JSON.parse(fs.readFileSync(file, 'utf8'));
// By its own script where npm started this one: on Windows `npm` is a batch file, which cannot be spawned.
const npmProgram = /npm-cli\.js$/.test(process.env.npm_execpath ?? '') ? [process.execPath, process.env.npm_execpath] : ['npm'];
const npm = (args, cwd) => mustRun(npmProgram[0], [...npmProgram.slice(1), ...args, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd });

/** npm keeps a list of what it installed: nothing to do when that holds all of package-lock.json. */
function nodeModulesAreCurrent(folder) {
  const list = path.join(folder, 'node_modules', '.package-lock.json');
  if (!fs.existsSync(list)) return false;
  const installed = readJson(list).packages;
  const wanted = Object.entries(readJson(path.join(folder, 'package-lock.json')).packages);
  return wanted.every(([name, { version, optional }]) => name === '' || optional || installed[name]?.version === version);
}

async function node() {
  if (nodeModulesAreCurrent(root)) return;
  await step('Node dependencies (npm ci)', () => npm(['ci'], root));
}

async function pythonPackages() {
  await node();
  const requirements = ['trainer/requirements.txt', 'trainer/requirements-dev.txt'].map(file => inRoot(file));
  const stamp = inRoot('.venv', 'requirements.sha256');
  const digest = digestOf(...requirements);
  if (fs.existsSync(python) && fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === digest) return;
  await step('Python environment .venv', async () => {
    await (await import('./python-environment.mjs')).create();
    fs.writeFileSync(stamp, digest);
  });
}

/** What benchmarks compare with. */
const benchPackages = () => environmentOnTop('Benchmark environment', 'bench-env', inRoot('bench', 'requirements.txt'));

/** What reads back the log that a measurement is exported as. */
const inspectPackages = () => environmentOnTop('Environment of Inspect', 'inspect-env', inRoot('trainer', 'requirements-inspect.txt'));

/** Packages on top of the trainer's environment and without a trace in it. */
async function environmentOnTop(title, name, requirements) {
  await pythonPackages();
  const folder = inRoot('build', name);
  const stamp = path.join(folder, 'requirements.sha256');
  const digest = digestOf(requirements, inRoot('trainer', 'requirements.txt'));
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === digest) return;
  await step(title, async () => {
    const script = [
      'import sys, sysconfig, venv, pathlib',
      'venv.create(sys.argv[1], clear=True, symlinks=sys.platform != "win32")',
      'own = pathlib.Path(sysconfig.get_path("purelib", vars={"base": sys.argv[1]}))',
      '(own / "trainer.pth").write_text(sysconfig.get_path("purelib"))',
    ];
    await mustRun(python, ['-c', script.join('\n'), folder]);
    await mustRun(python, ['-m', 'pip', '--python', path.join(folder, path.relative(inRoot('.venv'), python)), 'install', '--quiet', '-r', requirements]);
    fs.writeFileSync(stamp, digest);
  });
}

async function classifier() {
  await pythonPackages();
  const script = inRoot('trainer/training/classifier/export_encoder.py');
  const [adapter, firstStage] = ['adapter', 'first_stage'].map(name => inRoot(`trainer/training/classifier/${name}.safetensors`));
  const folder = inRoot('trainer/safe_finetuning/classifier');
  const built = ['encoder.onnx', 'tokenizer.json', 'first_stage.int8', 'encoder.stamp.json'].every(name => fs.existsSync(path.join(folder, name)));
  const build = () => mustRun(python, [script], { env: pythonEnvironment });
  // The script itself knows whether its results are current, but takes a moment to say so.
  if (!built) await step('Bundled classifier', build);
  else if (readJson(path.join(folder, 'encoder.stamp.json')).inputs !== digestOf(script, adapter, path.join(folder, 'encoder-fingerprint.json'), firstStage, path.join(folder, 'first_stage.json'))) {
    await step('Bundled classifier', build);
  }
}

/** The example's model: converted once into the user's cache, where it stays. */
async function exampleModel() {
  await pythonPackages();
  const make = 'from safe_finetuning.example_model import example_model_folder as make; make(lambda text: print(" ", text, flush=True))';
  const { code } = await runProgram(python, ['-c', make], { env: { ...pythonEnvironment, PYTHONPATH: inRoot('trainer') } });
  if (code !== 0) throw new UserError('The example model could not be made: the lines above say why.');
}

// Parts of VS Code's server that are loaded only by features which nothing here uses; half of its size.
const unusedByServer = [
  '@github/copilot-sdk', '@microsoft/mxc-sdk', '@devcontainers/cli', '@vscode/copilot-api', '@vscode/sandbox-runtime',
  '@vscode/sqlite3', '@vscode/windows-process-tree', '@vscode/windows-registry', 'kerberos', 'ssh2',
];

async function vscodeHost() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new UserError(
      `VS Code's server is packaged for Linux x64 only, this is ${process.platform} ${process.arch}. ` +
        'Install VS Code with its `code` command and use `npm start -- --desktop`, or `npm start -- --headless` without an editor.',
    );
  }
  const stamp = path.join(host.folder, 'node_modules', '.complete');
  const digest = digestOf(path.join(host.folder, 'package-lock.json')) + unusedByServer.join(' ');
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === digest) return;
  await step('VS Code (code-server)', async () => {
    await npm(['ci'], host.folder);
    // code-server's install script would do this, and compile modules that ship prebuilt in their packages.
    const server = path.join(host.server, 'lib', 'vscode');
    for (const name of ['package.json', 'npm-shrinkwrap.json']) {
      const content = readJson(path.join(server, name));
      for (const unused of unusedByServer) {
        delete content.dependencies?.[unused];
        delete content.packages?.[''].dependencies?.[unused];
      }
      fs.writeFileSync(path.join(server, name), JSON.stringify(content, null, 2));
    }
    await npm(['install', '--omit=dev'], server);
    const links = { 'remote-cli/code-server': 'code-linux.sh', 'helpers/browser.sh': 'browser-linux.sh' };
    for (const [link, target] of Object.entries(links)) {
      const place = path.join(server, 'bin', link);
      fs.rmSync(place, { force: true });
      fs.symlinkSync(target, place);
    }
    fs.writeFileSync(stamp, digest);
  });
}

/** A Chromium that can be driven: $CHROMIUM, or one of the system's. */
export function findBrowser() {
  const names = ['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'];
  const places = [process.env.CHROMIUM, ...names.map(name => `/usr/bin/${name}`)];
  return places.find(place => place && fs.existsSync(place));
}

async function browser() {
  if (findBrowser()) return;
  const packages = ['chromium-headless-shell', 'fonts-dejavu-core'];
  const advice = `Install it (Debian: apt-get install ${packages.join(' ')}), or set CHROMIUM to the path of a Chromium or Chrome.`;
  if (!fs.existsSync('/usr/bin/apt-get')) throw new UserError(`A browser is missing. ${advice}`);
  if (process.getuid?.() !== 0) throw new UserError(`A browser is missing, and only root may install it. ${advice}`);
  const apt = args => mustRun('apt-get', args, { env: { DEBIAN_FRONTEND: 'noninteractive' } });
  await step('Browser (chromium-headless-shell)', async () => {
    await apt(['update', '-qq']);
    await apt(['install', '-y', '-qq', '--no-install-recommends', ...packages]);
  });
}

function digestOf(...files) {
  const hash = crypto.createHash('sha256');
  for (const file of files) if (fs.existsSync(file)) hash.update(fs.readFileSync(file));
  return hash.digest('hex');
}

const parts = { node, python: pythonPackages, bench: benchPackages, inspect: inspectPackages, classifier, model: exampleModel, host: vscodeHost, browser };

/** Sets up the named parts, one after the other, with what they need. */
export async function setUp(...names) {
  const [major] = process.versions.node.split('.').map(Number);
  if (major < 20) throw new UserError(`Node 20 or newer is needed, this is ${process.version}.`);
  for (const name of names) {
    if (!Object.hasOwn(parts, name)) {
      throw new UserError(`There is no part named "${name}" to set up. Parts: ${Object.keys(parts).join(', ')}, all.`);
    }
    await parts[name]();
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  handleInterrupts();
  const names = process.argv.slice(2);
  const all = names.length === 0 || names.includes('all');
  setUp(...(all ? Object.keys(parts) : names)).catch(fail);
}
