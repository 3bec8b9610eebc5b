import assert from 'node:assert';
import fs from 'node:fs';
import { commandIds } from '../../src/common/commands';
import { monitorCommands } from '../../src/views/monitorProtocol';

interface Manifest {
  contributes: {
    commands: { command: string }[];
    menus: Record<string, { command: string }[]>;
    configuration: { properties: Record<string, object> };
    walkthroughs: { steps: { description: string; media: { svg: string }; completionEvents: string[] }[] }[];
  };
  capabilities: { untrustedWorkspaces: { restrictedConfigurations: string[] } };
}

const manifest = JSON.parse(fs.readFileSync('package.json', 'utf8')) as Manifest;
const texts = JSON.parse(fs.readFileSync('package.nls.json', 'utf8')) as Record<string, string>;
const sources = (function read(folder: string): string {
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .map(entry => (entry.isDirectory() ? read(`${folder}/${entry.name}`) : fs.readFileSync(`${folder}/${entry.name}`, 'utf8')))
    .join('\n');
})('src');

const same = (a: Iterable<string>, b: Iterable<string>) => assert.deepStrictEqual([...a].sort(), [...b].sort());

describe('the manifest', () => {
  it('and the list of commands are the same', () => {
    same(
      manifest.contributes.commands.map(({ command }) => command),
      Object.keys(commandIds),
    );
  });

  it('and the code register the same commands', () => {
    same(new Set([...sources.matchAll(/registerCommand\(\s*'(safeFinetuning\.\w+)'/g)].map(match => match[1]!)), Object.keys(commandIds));
  });

  it('offers in menus only commands that there are', () => {
    const offered = Object.values(manifest.contributes.menus).flat();
    for (const { command } of offered) assert.ok(command in commandIds, command);
    for (const command of monitorCommands) assert.ok(command in commandIds, command);
  });

  it('leads in texts and in the walkthrough only to commands and pictures that there are', () => {
    const links = Object.values(texts).flatMap(text => [...text.matchAll(/command:([\w.]+)/g)].map(match => match[1]!));
    const { steps } = manifest.contributes.walkthroughs[0]!;
    const events = steps.flatMap(({ completionEvents }) => completionEvents.map(event => event.replace('onCommand:', '')));
    for (const command of [...links, ...events]) assert.ok(command in commandIds, command);
    for (const { media, description } of steps) {
      assert.ok(fs.existsSync(media.svg), media.svg);
      assert.match(texts[description.replaceAll('%', '')]!, /\]\(command:/);
    }
    assert.strictEqual(steps.length, 5);
  });

  it('and its texts name the same keys', () => {
    const used = [...JSON.stringify(manifest).matchAll(/%([\w.]+)%/g)].map(match => match[1]!);
    same(new Set(used), Object.keys(texts));
  });

  it('reads only context keys that the code sets', () => {
    const conditions = JSON.stringify(manifest.contributes);
    const read = new Set([...conditions.matchAll(/safeFinetuning\.(?:hasRun|run(?:Active(?:Here)?|Paused|Resumable)|datasetOpen)/g)].map(match => match[0]));
    same(read, new Set([...sources.matchAll(/setContext\('([\w.]+)'/g)].map(match => match[1]!)));
  });

  it('and the typed settings are the same', () => {
    const settings = /interface Settings \{([^}]*)\}/.exec(sources)?.[1] ?? '';
    same(
      [...settings.matchAll(/'([\w.]+)'/g)].map(match => `safeFinetuning.${match[1]}`),
      Object.keys(manifest.contributes.configuration.properties),
    );
  });

  it('restricts the settings that start or read something else in an untrusted workspace', () => {
    const restricted = manifest.capabilities.untrustedWorkspaces.restrictedConfigurations;
    for (const name of restricted) assert.ok(name in manifest.contributes.configuration.properties, name);
    assert.ok(restricted.includes('safeFinetuning.python.interpreter'));
  });
});
