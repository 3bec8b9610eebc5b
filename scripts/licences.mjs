// Of everything that others have written and that dist/ holds or the package carries: its name and its licence.
import fs from 'node:fs';
import path from 'node:path';
import { inRoot } from './paths.mjs';
import { UserError } from './run.mjs';

const CARRIED = ['onnxruntime-node', 'onnxruntime-common']; // beside the bundles (.vscodeignore)

/** `metafiles` say what esbuild has bundled. */
export function writeLicences(file, metafiles) {
  const bundled = metafiles.flatMap(({ inputs }) => Object.keys(inputs)).map(packageOf).filter(Boolean);
  const packages = [...new Set([...bundled, ...CARRIED])].sort();
  const parts = [
    'Safe Fine-Tuning for VS Code carries the work of others, under these licences.',
    'The weights of the bundled classifier are made of all-MiniLM-L6-v2 (Apache-2.0, whose text is below).',
    ...packages.map(licenceOf),
  ];
  fs.writeFileSync(file, `${parts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`);
}

/** `node_modules/@a/b/c.js` → `@a/b`. */
const packageOf = input => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];

function licenceOf(name) {
  const folder = inRoot('node_modules', name);
  const { version, license, homepage } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
  if (!license) throw new UserError(`${name} says no licence in its package.json: it must not be shipped before that is known.`);
  const texts = fs.readdirSync(folder).filter(found => /^(licen[cs]e|notices?)(\.|$)/i.test(found));
  const title = [`${name} ${version}`, license, homepage].filter(Boolean).join(' · ');
  return [title, ...texts.map(found => fs.readFileSync(path.join(folder, found), 'utf8').trim())].join('\n\n');
}
