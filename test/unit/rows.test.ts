import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { inRoot, python } from '../../scripts/paths.mjs';
import forms from '../../trainer/safe_finetuning/row_forms.json';
import type { Message } from '../../src/datasets/rowForms';
import { splitBytes } from '../../src/datasets/bytes';
import { spanOfMessage } from '../../src/datasets/findings';
import { placeIn } from '../../src/datasets/formats/format';
import { readJson, spanInJson } from '../../src/datasets/formats/jsonRecord';
import type { Reading } from '../../src/datasets/reading';
import { hashOf, pairsOf } from '../../src/datasets/rows';
import { readBytes, readText } from './documents';
import { inputs } from './inputs';

const folder = path.join(__dirname, '../fixtures/rows');
const expected = JSON.parse(readFileSync(path.join(folder, 'expected.json'), 'utf8')) as Record<string, object[]>;

/** In the form of expected.json. */
function summary({ format, records }: Reading): object[] {
  return records.map(record => {
    const line = record.start.line + 1;
    if ('problem' in record.read) {
      const { code, offset } = record.read.problem;
      return { line, code, column: placeIn(record, offset).character + 1 };
    }
    const read = format.read(record.text);
    assert.ok('row' in read);
    const pairs = pairsOf(read.row.messages).map(({ promptIndex, answerIndex }) => [promptIndex ?? null, answerIndex]);
    return { line, hash: record.read.hash, pairs };
  });
}

const awkward = fc.constantFrom('"', '\\', '\n', '👋🏽', '\ud83d', '\ude00', '\0', '\u2028', 'é');
const text = fc.string({ unit: fc.oneof(awkward, fc.string()) });
const message = fc.record<Message>({ role: fc.constantFrom('system', 'user', 'assistant'), content: text });
const conversation = fc.array(message, { maxLength: 6 });
const hasText = /[^\s\u0085\u001c-\u001f\ufeff]/;
const toAscii = (json: string): string =>
  json.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);

describe('rows of a dataset', () => {
  for (const [name, lines] of Object.entries(expected)) {
    it(`reads ${name} as expected`, async () => {
      const file = path.join(folder, name);
      const reading = await readBytes(readFileSync(file), file);
      assert.equal(reading.broken, undefined);
      assert.deepEqual(summary(reading), lines);
    });
  }

  it('splits bytes into the lines of their text', () => {
    const pieces = fc.array(fc.constantFrom('\n', '\r\n', '\r', '\ufeff', 'a', 'é', '👋', ' '));
    fc.assert(fc.property(pieces, (parts) => {
      const whole = parts.join('');
      const lines = [...splitBytes(Buffer.from(whole))].map((bytes) => Buffer.from(bytes).toString());
      assert.deepEqual(lines, whole.replace(/^\ufeff/, '').split(/\r\n|\r|\n/));
    }));
  });

  it('takes any bytes without failing, and every problem lies in its record', async () => {
    const bytes = fc.oneof(fc.uint8Array({ maxLength: 80 }), text.map((line) => new Uint8Array(Buffer.from(line))));
    const name = fc.constantFrom('a.jsonl', 'a.json', 'a.csv', 'a.tsv');
    await fc.assert(fc.asyncProperty(bytes, name, async (content, file) => {
      for (const { read, text } of (await readBytes(content, file)).records) {
        if (!('problem' in read)) continue;
        const { offset, reason } = read.problem;
        assert.ok(offset >= 0 && offset <= text.length, `offset ${offset}`);
        assert.match(reason, /\.$/);
      }
    }), { numRuns: inputs(1000) });
  });

  it('reads every conversation as a row or says what is wrong, and the mutated line too', () => {
    fc.assert(fc.property(conversation, fc.nat(), fc.nat({ max: 4 }), text, (messages, at, length, inserted) => {
      const line = JSON.stringify({ messages });
      const read = readJson(line);
      const trains = messages.some(({ role, content }) => role === 'assistant' && hasText.test(content));
      assert.equal('row' in read, trains);
      const start = at % line.length;
      const mutated = readJson(line.slice(0, start) + inserted.replace(/[\r\n]/g, ' ') + line.slice(start + length));
      if ('problem' in mutated) assert.ok(mutated.problem.offset <= line.length + inserted.length);
    }));
  });

  it('finds the text of every message in the line, whatever its spelling', () => {
    fc.assert(fc.property(conversation, fc.boolean(), (messages, ascii) => {
      const plain = JSON.stringify({ id: 1, messages });
      const line = ascii ? toAscii(plain) : plain;
      messages.forEach(({ content }, index) => {
        const span = spanInJson(line, ['messages', index, 'content']);
        assert.ok(span);
        const spelled = line.slice(span.start, span.end);
        assert.equal(JSON.parse(content === '' ? spelled : `"${spelled}"`), content);
      });
    }));
  });

  it('knows where the text of every message stands, in every form', async () => {
    const { format } = await readText('');
    for (const bytes of splitBytes(readFileSync(path.join(folder, 'forms.jsonl')))) {
      const line = Buffer.from(bytes).toString();
      if (line === '') continue;
      const read = readJson(line);
            assert.ok('row' in read, line);
      read.row.messages.forEach(({ content }, index) => {
        const span = spanOfMessage(format, line, index);
        const spelled = span ? line.slice(span.start, span.end) : '';
        const [first] = content.split('\n'); // what is joined to it stands elsewhere
        assert.ok(content === '' || spelled.includes(first!), `${line} ${index}: ${spelled}`);
      });
    }
  });

  it('reads any object as the trainer does', () => {
    const odd = fc.constantFrom(null, true, 0, '', {}, [], [null], [['a', 'b']], [['a']], ' \u0085\ufeff\u001c');
    const oddly = <T>(usual: fc.Arbitrary<T>): fc.Arbitrary<unknown> => fc.oneof({ weight: 20, arbitrary: usual }, odd);
    const words = fc.oneof({ weight: 4, arbitrary: text }, fc.constantFrom(' \u0085\ufeff\u001c', 'And now?'));
    const part = fc.record({ type: fc.constantFrom('text', 'text', 'text', 'image'), text: words });
    const content = oddly(fc.oneof({ weight: 4, arbitrary: words }, fc.array(part, { maxLength: 3 })));
    const role = oddly(fc.constantFrom(...Object.keys(forms.roles), 'assistant', 'user', 'constructor'));
    const turnKeys = fc.constantFrom(...forms.unsupported.turn, 'weight', 'name');
    const turn = fc
      .tuple(fc.constantFrom(...forms.roleKeys), role, fc.constantFrom(...forms.contentKeys), content, fc.dictionary(turnKeys, odd, { maxKeys: 1 }))
      .map(([roleKey, is, contentKey, says, more]) => ({ ...more, [roleKey]: is, [contentKey]: says }));
    const turns = fc.array(oddly(turn), { minLength: 1, maxLength: 4 });
    const side = oddly(fc.oneof({ weight: 3, arbitrary: words }, turns));
    const listed = fc.tuple(fc.constantFrom(...forms.turns), oddly(turns)).map(([key, value]) => ({ [key]: value }));
    const exchanged = fc.tuple(fc.constantFrom(...forms.exchanges), side, side).map(([form, asked, said]) => ({ [form.prompt]: asked, [form.answer]: said }));
    const beside = fc.dictionary(fc.constantFrom(...forms.inputs, ...forms.systemKeys, 'history', 'id'), oddly(fc.oneof(words, fc.array(fc.tuple(words, words), { maxLength: 2 }))), { maxKeys: 2 });
    const rare = fc.dictionary(fc.constantFrom(...forms.unsupported.row), odd, { maxKeys: 1 });
    const row = fc.tuple(beside, fc.oneof({ weight: 5, arbitrary: fc.constant({}) }, rare), fc.oneof(listed, exchanged)).map(parts => Object.assign({}, ...parts) as object);
    const rows = fc.sample(row, { numRuns: 10_000, seed: 1 });
    const lines = rows.map(row => JSON.stringify(row));
    const file = path.join(mkdtempSync(path.join(tmpdir(), 'rows-')), 'rows.jsonl');
    writeFileSync(file, lines.join('\n'));
    const script = [
      'import json, sys; from pathlib import Path; from safe_finetuning.rows import read_dataset',
      'found = read_dataset(Path(sys.argv[1]))',
      'print(json.dumps({**{x.line: x.hash for x in found.rows}, **{x.line: x.code for x in found.problems}}))',
    ];
    const env = { ...process.env, PYTHONPATH: inRoot('trainer') };
    const output = execFileSync(python, ['-c', script.join('\n'), file], { env, maxBuffer: 1e8 }).toString();
    const byTrainer = JSON.parse(output) as Record<string, string>;
    const counts: Record<string, number> = {};
    const count = (kind: string) => (counts[kind] = (counts[kind] ?? 0) + 1);
    lines.forEach((line, index) => {
      const read = readJson(line);
      assert.equal('row' in read ? read.row.hash : read.problem.code, byTrainer[index + 1], line);
      if ('problem' in read) return count(read.problem.code);
      const paths = read.row.paths.map(([key]) => key);
      for (const kind of new Set([...paths, ...read.row.messages.map(message => message.role)])) count(`row with ${kind}`);
    });
    const rowKinds = [...forms.turns, ...forms.systemKeys, ...forms.exchanges.flatMap(({ prompt, answer }) => [prompt, answer]), 'history', 'tool'];
    const kinds = ['bad-message', 'empty', 'no-assistant', 'no-conversation', 'unknown-role', 'unsupported', ...rowKinds.map(kind => `row with ${kind}`)];
    assert.deepEqual(kinds.filter(kind => (counts[kind] ?? 0) < 50), [], JSON.stringify(counts));
  }).timeout(60_000);

  it('reads any file of every format as the trainer does', async () => {
    const good = fc.constantFrom({ prompt: 'p', completion: 'c' }, { prompt: 'q 👋', completion: 'é', note: [1, '}'] });
    const value = fc.oneof(good.map(row => JSON.stringify(row)), good.map(row => JSON.stringify(row, null, 1)), fc.json({ maxDepth: 2 }));
    const between = fc.constantFrom(', ', ',', ',\n', ' ,\r\n\t', ',', ',\n', ',,', ' ', '');
    const elements = fc.array(fc.tuple(value, between), { maxLength: 5 }).map(parts => parts.map(([v, b], i) => v + (i < parts.length - 1 ? b : '')).join(''));
    const around = fc.constantFrom(['[', ']'], [' [\n', '\n]\n'], ['{"data": [', ']}'], ['{"a": [1],\r\n"data" :[', '] , "b": {}}'], ['', ''], ['[', ''], ['{"data": 1, "x": [', ']}'], ['[', '] x']);
    const json = fc.tuple(around, elements).map(([[open, close], inner]) => open + inner + close);
    const token = fc.constantFrom('a', 'Hello', '"', '""', ' ', ',', ',', ';', '\t', '\n', '\n', '\r\n', '\r', '"x, y"', '"two\nlines"', '"a""b"', '\0', 'é👋', '\u2028');
    const header = fc.constantFrom('prompt,completion\n', 'prompt,completion\n', '"prompt";completion\r\n', 'prompt\tcompletion\n', '\n,prompt,completion\r', 'prompt,prompt,completion\n', '');
    const table = fc.tuple(header, fc.array(token, { maxLength: 20 })).map(([first, rest]) => first + rest.join(''));
    const line = fc.oneof({ weight: 3, arbitrary: good.map(row => JSON.stringify(row)) }, fc.array(token, { maxLength: 4 }).map(parts => parts.join('')), value, fc.constantFrom('', ' \t', '\ufeff', '{"prompt": "p", "completion": "c"', '{"prompt": "p",\r"completion": "c"}', '{"prompt": "p", "completion": "\\ud83d"}'));
    const lines = fc.array(fc.tuple(line, fc.constantFrom('\n', '\n', '\r\n', '\r', '\n\r')), { maxLength: 6 }).map(parts => parts.map(([text, end]) => text + end).join(''));
    const files: Record<string, string> = {};
    for (const [extension, contents] of [['jsonl', lines], ['json', json], ['csv', table], ['tsv', table]] as const) {
      fc.sample(contents, { numRuns: 10_000, seed: 2 }).forEach((text, index) => {
        files[`${index}.${extension}`] = text;
      });
    }
    const all = path.join(mkdtempSync(path.join(tmpdir(), 'files-')), 'all.json');
    writeFileSync(all, JSON.stringify(files));
    const script = [
      'import json, pathlib, sys',
      'from safe_finetuning.errors import LocatedError',
      'from safe_finetuning.rows import rows_of',
      'def read(name, text):',
      '  try: rows, problems = rows_of(pathlib.Path(name), text.encode())',
      '  except LocatedError: return "broken"',
      '  return sorted([x.line, x.hash] for x in rows) + sorted([x.line, x.code] for x in problems)',
      'files = json.loads(pathlib.Path(sys.argv[1]).read_text("utf-8"))',
      'print(json.dumps({name: read(name, text) for name, text in files.items()}))',
    ];
    const env = { ...process.env, PYTHONPATH: inRoot('trainer') };
    const output = execFileSync(python, ['-c', script.join('\n'), all], { env, maxBuffer: 1e9 }).toString();
    const byTrainer = JSON.parse(output) as Record<string, unknown>;
    const counts: Record<string, number> = {};
    const sorted = (found: [number, string][]) => found.sort(([a, x], [b, y]) => a - b || (x < y ? -1 : 1));
    for (const [name, text] of Object.entries(files)) {
      const { records, broken } = await readText(text.replace(/^\ufeff/, ''), name); // as an editor opens it
      const rows = records.flatMap(({ start, read }): [number, string][] => ('hash' in read ? [[start.line + 1, read.hash]] : []));
      const problems = records.flatMap(({ start, read }): [number, string][] => ('problem' in read ? [[start.line + 1, read.problem.code]] : []));
      assert.deepEqual(broken ? 'broken' : [...sorted(rows), ...sorted(problems)], byTrainer[name], `${name}: ${JSON.stringify(text)}`);
      for (const kind of broken ? ['broken'] : [...(rows.length ? ['row'] : []), ...problems.map(([, code]) => code)]) {
        const key = `${path.extname(name)} ${kind}`;
        counts[key] = (counts[key] ?? 0) + 1;
      }
    }
    const kinds = ['.jsonl row', '.jsonl not-json', '.jsonl not-object', '.jsonl no-conversation', '.jsonl nul', '.json row', '.json broken', '.json no-conversation', '.csv row', '.csv ragged', '.csv quote', '.csv nul', '.csv broken', '.tsv row', '.tsv ragged'];
    assert.deepEqual(kinds.filter(kind => (counts[kind] ?? 0) < 50), [], JSON.stringify(counts));
  }).timeout(120_000);

  it('of a repeated key finds the value that counts', () => {
    const line = '{"messages": 1, "messages": ["two"]}';
    const span = spanInJson(line, ['messages', 0]);
    assert.equal(span && line.slice(span.start, span.end), 'two');
    assert.equal(spanInJson(line, ['messages', 1]), undefined);
  });

  it('hashes what is trained on, not how it is written', () => {
    fc.assert(fc.property(conversation, conversation, (one, other) => {
      const respelled = JSON.parse(JSON.stringify(one, null, 2)) as Message[];
      assert.equal(hashOf(one), hashOf(respelled));
      const wellFormed = (messages: Message[]): string =>
        JSON.stringify(messages.map(({ role, content }) => [role, Buffer.from(content).toString()]));
      const same = wellFormed(one) === wellFormed(other);
      assert.equal(hashOf(one) === hashOf(other), same);
    }));
  });

  it('locates errors however deep and long a line is', () => {
    for (const line of ['['.repeat(200_000), `["${'\\n'.repeat(2_000_000)}`]) {
      const read = readJson(line);
      assert.ok('problem' in read && read.problem.code === 'not-json');
      assert.equal(read.problem.offset, line.startsWith('["') ? 1 : line.length);
    }
  });
});
