// The VSIX for this platform, in build/.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { inRoot, root, target, vsix } from './paths.mjs';
import { fail, handleInterrupts, mustRun, step, UserError } from './run.mjs';

const largestMegabytes = 48; // for Linux x64; other platforms' binaries are larger

/** Packages the extension when something of it is newer than the last package. */
export async function packageVsix() {
  if (isCurrent()) return;
  await step('Package', async () => {
    const began = new Date();
    fs.mkdirSync(path.dirname(vsix), { recursive: true });
    const beside = `${vsix}.${process.pid}`;
    const ignoreFile = `${vsix}.ignore`;
    fs.writeFileSync(ignoreFile, fs.readFileSync(inRoot('.vscodeignore'), 'utf8').replace('linux/x64', target.replace('-', '/')));
    // Builds through the script vscode:prepublish.
    const options = ['--no-rewrite-relative-links', '--target', target, '--ignoreFile', ignoreFile, '--out', beside];
    await mustRun(process.execPath, [inRoot('node_modules/@vscode/vsce/vsce'), 'package', ...options], { cwd: root });
    const megabytes = fs.statSync(beside).size / 1e6;
    if (target === 'linux-x64' && megabytes > largestMegabytes) {
      fs.rmSync(beside);
      throw new UserError(`The package has ${megabytes.toFixed(1)} MB, more than ${largestMegabytes} MB: look at .vscodeignore.`);
    }
    fs.utimesSync(beside, began, began); // what is edited meanwhile is newer than the package
    fs.renameSync(beside, vsix);
    console.log(`  ${path.relative(root, vsix)}: ${megabytes.toFixed(1)} MB`);
  });
}

/** Is the package newer than everything that goes into it? */
function isCurrent() {
  if (!fs.existsSync(vsix)) return false;
  const packaged = fs.statSync(vsix).mtimeMs;
  const sources = ['src', 'media', 'schema', 'l10n', 'examples', 'trainer/safe_finetuning', 'trainer/pyproject.toml', 'trainer/requirements.txt',
    'package.json', 'package-lock.json', 'README.md', 'CHANGELOG.md', 'LICENSE', '.vscodeignore', 'scripts/build.mjs', 'scripts/licences.mjs'];
  const texts = fs.readdirSync(root).filter(name => name.startsWith('package.nls.'));
  return [...sources, ...texts].every(source => newest(inRoot(source)) < packaged);
}

function newest(place) {
  const stat = fs.statSync(place, { throwIfNoEntry: false });
  if (!stat?.isDirectory()) return stat?.mtimeMs ?? 0;
  const inside = fs.readdirSync(place).filter(name => name !== '__pycache__').map(name => newest(path.join(place, name)));
  return Math.max(stat.mtimeMs, ...inside);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  handleInterrupts();
  await packageVsix().catch(fail);
}
