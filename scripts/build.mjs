// TypeScript and style sheets → dist/ (what the package ships) and out/ (tests for the extension host).
//   node scripts/build.mjs [--minify]
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import * as esbuild from 'esbuild';
import { writeLicences } from './licences.mjs';
import { inRoot, root } from './paths.mjs';
import { fail, seconds } from './run.mjs';

/** Builds everything; with `minify` as it is packaged. */
export async function build({ minify = false } = {}) {
  fs.rmSync(inRoot('out'), { recursive: true, force: true }); // a test that was deleted must not run
  const common = { absWorkingDir: root, bundle: true, minify, sourcemap: !minify, logLevel: 'warning', metafile: true };
  const inNode = {
    ...common,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    external: ['vscode', 'mocha', 'onnxruntime-node'], // whose binaries are found relative to its own files
    mainFields: ['module', 'main'], // jsonc-parser's other form loads its files at run time
  };
  const inBrowser = { ...common, platform: 'browser', format: 'esm', target: 'es2022', outdir: 'dist/media' };
  const [inHost, inPages] = await Promise.all([
    esbuild.build({ ...inNode, entryPoints: { extension: 'src/extension.ts', worker: 'src/risk/worker.ts', tableWorker: 'src/datasets/table/worker.ts' }, outdir: 'dist' }),
    esbuild.build({ ...inBrowser, entryPoints: { monitor: 'media/monitor/main.ts', panel: 'media/panel/main.ts', compare: 'media/compare/main.ts', newrun: 'media/newrun/main.ts', viewer: 'media/viewer/main.ts', try: 'media/try/main.ts' } }),
    minify || esbuild.build({ ...inNode, entryPoints: testsForTheHost(), outdir: 'out/test/integration' }),
  ]);
  writeLicences(inRoot('dist/LICENCES.txt'), [inHost.metafile, inPages.metafile]);
}

const testsForTheHost = () =>
  fs
    .readdirSync(inRoot('test/integration'))
    .filter(name => name === 'index.ts' || name.endsWith('.test.ts'))
    .map(name => path.posix.join('test/integration', name));

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const began = Date.now();
  await build({ minify: process.argv.includes('--minify') }).catch(fail);
  console.log(`built dist/ in ${seconds(began)}`);
}
