// The messages of src/ and media/ → l10n/bundle.l10n.json, which translations start from. `--check` only says whether it is stale.
import fs from 'node:fs';
import path from 'node:path';
import { getL10nJson } from '@vscode/l10n-dev';
import { inRoot, root } from './paths.mjs';

const target = inRoot('l10n/bundle.l10n.json');

const sources = ['src', 'media'].flatMap(folder =>
  fs.readdirSync(inRoot(folder), { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts')).map(name => path.join(folder, name)),
);
const messages = await getL10nJson(sources.map(file => ({ extension: '.ts', contents: fs.readFileSync(inRoot(file), 'utf8') })));
// In an order that does not depend on where they stand, so that few lines change with a move.
const sorted = Object.fromEntries(Object.entries(messages).sort(([a], [b]) => (a < b ? -1 : 1)));
const text = `${JSON.stringify(sorted, null, 2)}\n`;

if (!fs.existsSync(target) || fs.readFileSync(target, 'utf8') !== text) {
  if (process.argv.includes('--check')) {
    console.error(`${path.relative(root, target)} is stale: run \`npm run l10n\``);
    process.exit(1);
  }
  fs.mkdirSync(path.dirname(target), { recursive: true });
  fs.writeFileSync(target, text);
  console.log(`wrote ${path.relative(root, target)}: ${Object.keys(sorted).length} messages`);
}
