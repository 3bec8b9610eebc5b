import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setEnvironmentData } from 'node:worker_threads';
import * as l10n from '@vscode/l10n';
import * as esbuild from 'esbuild';
import { bytes, decimal, integer, percent, signed } from '../../src/common/format';
import { inEnglish, isOne, language, setLanguage } from '../../src/common/language';
import { summary } from '../../src/datasets/report';
import { conversationOf } from '../../src/datasets/rowForms';
import { DatasetTable, type TableServices } from '../../src/datasets/table/datasetTable';
import { needActive } from '../../src/trainerHost/runControl';
import { spokenStatus } from '../../src/trainerHost/words';

type Texts = Record<string, string>;

const read = (file: string): Texts => JSON.parse(fs.readFileSync(file, 'utf8')) as Texts;
const messages = read('l10n/bundle.l10n.json');
/** Every message in brackets. */
const bracketed = Object.fromEntries(Object.entries(messages).map(([key, text]) => [key, `[${text}]`]));
const pseudo = { tag: 'de', messages: bracketed };
const english = language();

const placeholders = (text: string): string[] => [...text.matchAll(/\{\d+\}/g)].map(([found]) => found).sort();

describe('another language', () => {
  beforeEach(() => setLanguage(pseudo));
  afterEach(() => setLanguage(english));

  it('keeps every placeholder of every message', () => {
    for (const key of Object.keys(messages)) {
      const given = Array.from({ length: 10 }, (_, index) => `<${index}>`);
      const expected = messages[key]!.replace(/\{(\d)\}/g, '<$1>');
      assert.equal(l10n.t(key, ...(placeholders(key).length ? given : [])), `[${expected}]`);
    }
  });

  it('is what the extension speaks, each message as a whole', () => {
    assert.equal(spokenStatus('stopped', null), '[Run [stopped and saved]]');
    assert.throws(() => needActive(undefined, 'pause'), { message: '[There is no run to pause.]' });
    assert.match(JSON.stringify(conversationOf({ messages: 3 })), /\[`messages` is \[a number\], not a list\./);
  });

  it('has one message for one, another for many, and its own numbers in them', () => {
    const about = (rows: number) => summary({ rows, flagged: 0, reviewed: 0, broken: undefined, malformed: 0, threshold: 0.5, unscored: 0, unscoredReason: undefined });
    assert.equal(about(1), '[1 row], [0 flagged at 0,50]');
    assert.equal(about(1234), '[1.234 rows], [0 flagged at 0,50]');
    setLanguage({ tag: 'fr', messages: {} });
    assert.deepEqual([0, 1, 2].map(isOne), [true, true, false]);
  });

  it('writes its numbers its own way', () => {
    assert.deepEqual([decimal(0.1234), decimal(1e-5), integer(12_345), percent(0.005), signed(-1.5, 1), bytes(2.5e9)], ['0,123', '1,0e-5', '12.345', '0,5 %', '−1,5', '2,50 GB']);
  });

  it('is left for what is made for others', () => {
    assert.equal(inEnglish(() => `${spokenStatus('paused', null)} ${decimal(0.5)}`), 'Run paused 0.500');
    assert.equal(spokenStatus('paused', null), '[Run [paused]]');
    assert.throws(() => inEnglish(() => assert.fail()));
    assert.equal(language(), pseudo);
  });

  it('is spoken by workers too, in what they make only once as well', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'l10n-'));
    const tableWorker = path.join(folder, 'worker.cjs');
    await esbuild.build({ entryPoints: ['src/datasets/table/worker.ts'], outfile: tableWorker, bundle: true, platform: 'node', format: 'cjs', mainFields: ['module', 'main'], logLevel: 'silent' });
    const file = path.join(folder, 'd.jsonl');
    fs.writeFileSync(file, '{"other": 1}\n');
    setEnvironmentData('language', language());
    const services = { tableWorker, stalledAfterMs: 60_000, spoolFolder: () => Promise.resolve(folder) } as unknown as TableServices;
    const table = await DatasetTable.open(file, services, { threshold: 0.5, reviewed: [], flag: true, expected: true, reading: 1 });
    try {
      await table.whenRead();
      const { problem } = await table.call('row', 0);
      assert.match(problem!.reason, /^\[The row is no conversation\. \[A row looks like /);
    } finally {
      setEnvironmentData('language', undefined);
      table.dispose();
      fs.rmSync(folder, { recursive: true });
    }
  });

  it('is taken before anything that has messages is loaded', () => {
    const pages = fs.readdirSync('media').map(name => `media/${name}/main.ts`).filter(file => fs.existsSync(file));
    for (const file of ['src/extension.ts', 'src/risk/worker.ts', 'src/datasets/table/worker.ts', ...pages]) {
      const first = /^import .*?['"](.*)['"];/m.exec(fs.readFileSync(file, 'utf8'))?.[1];
      assert.match(first ?? '', /\/(host|worker|page)Language$/, file);
    }
  });
});

for (const tag of fs.readdirSync('l10n').flatMap(name => /^bundle\.l10n\.(.+)\.json$/.exec(name)?.[1] ?? [])) {
  describe(`the translation ${tag}`, () => {
    const pairs: [what: string, source: Texts, translated: Texts][] = [
      ['messages', messages, read(`l10n/bundle.l10n.${tag}.json`)],
      ['texts of the manifest', read('package.nls.json'), read(`package.nls.${tag}.json`)],
    ];
    for (const [what, source, translated] of pairs) {
      it(`has all ${what}, and no other`, () => {
        assert.deepEqual(Object.keys(source).filter(key => !translated[key]), [], 'missing');
        assert.deepEqual(Object.keys(translated).filter(key => !(key in source)), [], 'no longer there');
      });

      it(`keeps what its ${what} are filled with, link to and are drawn with`, () => {
        const kept = (text: string): string[] => [...placeholders(text), ...(text.match(/\(command:[^)]+\)|\$\([\w-]+\)|`[^`]+`|safeFinetuning(?:\.\w+)+/g) ?? [])].sort();
        for (const [key, text] of Object.entries(source)) assert.deepEqual(kept(translated[key] ?? text), kept(text), key);
      });
    }
  });
}
