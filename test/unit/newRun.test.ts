/** The form of a new run: what is typed becomes a configuration that the schema takes. */
import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import Ajv from 'ajv';
import fc from 'fast-check';
import { parse, type ParseError } from 'jsonc-parser';
import { configurationPath, freeName, nameProblem, pathFrom, writeNew } from '../../src/views/newRunFile';
import { baselineCards, configurationOf, configurationText, defaultText, descriptionOf, emptyRun, fieldOf, methodCards, readSetting, settingKeys, type NewRun } from '../../src/views/newRunModel';
import { cachedModels, hubCache, mayBeOnTheHub } from '../../src/views/modelsHere';

const schema = JSON.parse(fs.readFileSync('schema/run-config.schema.json', 'utf8')) as { properties: { method: { enum: string[] } } };
const { allowComments: _comments, allowTrailingCommas: _commas, ...pureSchema } = schema as object as Record<string, unknown>;
const isConfiguration = new Ajv({ strict: false }).compile(pureSchema);

/** What a text says, which must be valid. */
function said(text: string): Record<string, Record<string, unknown> | string> {
  const errors: ParseError[] = [];
  const value: unknown = parse(text, errors);
  assert.deepStrictEqual(errors, []);
  assert.ok(isConfiguration(value), JSON.stringify(isConfiguration.errors));
  return value as ReturnType<typeof said>;
}

const textOf = (run: NewRun): string => configurationText(configurationOf(run, 'example', 'support.jsonl'));

describe('a new run', () => {
  it('that nothing was changed in says model, dataset and method, each with a comment', () => {
    const text = textOf(emptyRun());
    assert.deepStrictEqual(said(text), { model: 'example', dataset: { path: 'support.jsonl' }, method: 'recommended' });
    assert.strictEqual(text.match(/^ *\/\/ The safe reference/m)?.length, 1);
    assert.match(text, /\/\/ Risky rows are held near the safe reference, and anchor rows/);
    assert.match(text, /\/\/ Everything else has a default/);
    assert.ok(text.split('\n').every(line => line.length <= 120), text);
  });

  it('says what differs, and nothing else', () => {
    const run = emptyRun();
    Object.assign(run.settings, { 'training.epochs': '3', 'training.learningRate': '1e-4', 'training.batchSize': ' 8 ', 'lora.rank': '', 'dataset.heldOutShare': '0.1', 'canary.maxDrop': '5' });
    const value = said(textOf({ ...run, method: 'kl' }));
    assert.deepStrictEqual(value, { model: 'example', dataset: { path: 'support.jsonl', heldOutShare: 0.1 }, method: 'kl', training: { epochs: 3, learningRate: 1e-4 }, canary: { maxDrop: 5 } });
    assert.match(textOf(run), /\/\/ The safety budget: how far/);
  });

  it('is a configuration that the schema takes, whatever is typed', () => {
    const text = fc.oneof(fc.string(), fc.double().map(String), fc.integer().map(String), fc.constantFrom('', '1e400', '-1', '0', '0.5', ' 3', 'NaN', '0x10', '1e-7'));
    const settings = fc.tuple(...settingKeys.map(() => text)).map(texts => Object.fromEntries(settingKeys.map((key, index) => [key, texts[index]!])) as NewRun['settings']);
    const method = fc.constantFrom(...[...methodCards, ...baselineCards].map(card => card.method));
    fc.assert(
      fc.property(settings, method, fc.string({ minLength: 1 }), (settings, method, dataset) => {
        const value = said(configurationText(configurationOf({ ...emptyRun(), settings, method }, 'a/b', dataset)));
        assert.strictEqual((value.dataset as { path: string }).path, dataset);
      }),
    );
  });

  it('has its defaults, limits and descriptions from the schema', () => {
    assert.deepStrictEqual(settingKeys.map(defaultText), ['2', '0.0002', '8', '1024', '16', '0.05', '0.5', '']);
    for (const key of settingKeys) assert.match(descriptionOf(key), /\.$/);
    assert.deepStrictEqual(readSetting('training.batchSize', '1.5'), { problem: 'Write a whole number.' });
    assert.deepStrictEqual(readSetting('training.epochs', '0'), { problem: 'It must be above 0.' });
    assert.deepStrictEqual(readSetting('dataset.heldOutShare', '0.6'), { problem: 'It must be at most 0.5.' });
    assert.deepStrictEqual(readSetting('training.maxLength', '4'), { problem: 'It must be at least 8.' });
    assert.deepStrictEqual(readSetting('risk.threshold', 'high'), { problem: 'Write a number, such as 0.5 or 2e-4.' });
    assert.ok('problem' in readSetting('training.maxLength', '1,024'));
    assert.deepStrictEqual(readSetting('canary.maxDrop', ''), { value: null });
  });

  it('has a card for every method', () => {
    const cards = [...methodCards, ...baselineCards].map(({ method }) => method);
    assert.deepStrictEqual([...cards].sort(), [...schema.properties.method.enum].sort());
    assert.strictEqual(cards[0], emptyRun().method);
  });

  it('puts what the trainer says beside the field that it is about', () => {
    const of = (id: 'model' | 'dataset' | 'rows' | 'configuration' | 'device', message: string) => fieldOf({ id, message });
    assert.strictEqual(of('model', '`model`: "x" has no chat template'), 'model');
    assert.strictEqual(of('rows', 'No row has a token to train on: the chat template cannot'), 'dataset');
    assert.strictEqual(of('rows', 'no token lies within the first 8 (`training.maxLength`)'), 'training.maxLength');
    assert.strictEqual(of('configuration', '`training.epochs`: input should be greater than 0'), 'training.epochs');
    assert.strictEqual(of('configuration', '`canary.onExceeded`: `raise-beta` goes with'), undefined);
    assert.strictEqual(of('device', 'no CUDA'), undefined);
  });
});

describe('the file of a new run', () => {
  let folder: string;
  before(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'new-run-'))));
  after(() => fs.rmSync(folder, { recursive: true }));

  it('is never written over another, and leaves nothing beside it', () => {
    const file = configurationPath(folder, 'a');
    writeNew(file, 'one');
    assert.throws(() => writeNew(file, 'two'), /a\.finetune\.json is there already/);
    assert.throws(() => writeNew(path.join(folder, 'none', 'x'), 'two'), /cannot be written/);
    assert.strictEqual(fs.readFileSync(file, 'utf8'), 'one');
    assert.deepStrictEqual(fs.readdirSync(folder), ['a.finetune.json']);
  });

  it('is called after the dataset, by a name that is free', () => {
    assert.strictEqual(freeName(folder, 'data/support.jsonl'), 'support');
    assert.strictEqual(freeName(folder, 'a.csv'), 'a-2');
    assert.strictEqual(freeName(folder, 'data.v1'), 'data.v1');
    assert.strictEqual(freeName(folder, 'data/*.csv'), 'run');
    assert.match(nameProblem(folder, 'a')!, /not overwritten/);
    for (const name of ['', ' ', 'a/b', '..', 'a\\b', 'x.']) assert.ok(nameProblem(folder, name), name);
    assert.strictEqual(nameProblem(folder, 'b 2'), undefined);
    assert.strictEqual(pathFrom(path.join(folder, 'x'), path.join(folder, 'y', 'z.csv')), '../y/z.csv');
  });
});

describe('the models on this machine', () => {
  it('are those in the cache that have a configuration', async () => {
    const home = fs.mkdtempSync(path.join(os.tmpdir(), 'hub-'));
    try {
      const cache = hubCache({ HF_HOME: home });
      assert.strictEqual(cache, path.join(home, 'hub'));
      assert.deepStrictEqual(await cachedModels(cache), []);
      for (const [name, file] of [['models--owner--chat', 'config.json'], ['models--owner--vision', 'README.md'], ['datasets--owner--rows', 'config.json'], ['models--alone', 'config.json']] as const) {
        fs.mkdirSync(path.join(cache, name, 'snapshots', 'abc'), { recursive: true });
        fs.writeFileSync(path.join(cache, name, 'snapshots', 'abc', file), '{}');
      }
      assert.deepStrictEqual(await cachedModels(cache), ['alone', 'owner/chat']);
      assert.strictEqual(hubCache({ HF_HUB_CACHE: '/c', HF_HOME: home }), '/c');
    } finally {
      fs.rmSync(home, { recursive: true });
    }
  });

  it('or names that the hub could know', () => {
    for (const name of ['gpt2', 'owner/model-1.5_b']) assert.ok(mayBeOnTheHub(name), name);
    for (const name of ['', 'a/b/c', '../x', './x', '/x', 'a b', 'x/..']) assert.ok(!mayBeOnTheHub(name), name);
  });
});
