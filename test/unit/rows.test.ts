import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import {
  hashOf, pairsOf, readLine, readLineBytes, spanOf, splitBytes, type Line, type Message,
} from '../../src/datasets/rows';

const folder = path.join(__dirname, '../fixtures/rows');
const expected = JSON.parse(readFileSync(path.join(folder, 'expected.json'), 'utf8')) as Record<string, object[]>;

/** In the form of expected.json. */
function summary(line: Line): object | undefined {
  if (line && 'row' in line) {
    const pairs = pairsOf(line.row.messages).map(({ promptIndex, answerIndex }) => [promptIndex ?? null, answerIndex]);
    return { hash: line.row.hash, pairs };
  }
  return line && { code: line.problem.code, column: line.problem.column };
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
    it(`reads ${name} as expected`, () => {
      const found = [...splitBytes(readFileSync(path.join(folder, name)))].flatMap((bytes, index) => {
        const found = summary(readLineBytes(bytes));
        return found ? [{ line: index + 1, ...found }] : [];
      });
      assert.deepEqual(found, lines);
    });
  }

  it('splits bytes into the lines of their text', () => {
    const pieces = fc.array(fc.constantFrom('\n', '\r\n', '\r', '\ufeff', 'a', 'é', '👋', ' '));
    fc.assert(fc.property(pieces, (parts) => {
      const whole = parts.join('');
      const lines = [...splitBytes(Buffer.from(whole))].map((bytes) => Buffer.from(bytes).toString());
      assert.deepEqual(lines, whole.replace(/^\ufeff/, '').split(/\r?\n/));
    }));
  });

  it('takes any bytes without failing, and every column lies on its line', () => {
    const bytes = fc.oneof(fc.uint8Array({ maxLength: 80 }), text.map((line) => new Uint8Array(Buffer.from(line))));
    fc.assert(fc.property(bytes, (content) => {
      for (const line of splitBytes(content)) {
        const read = readLineBytes(line);
        if (read && 'problem' in read) {
          const { column, reason } = read.problem;
          assert.ok(column >= 1 && column <= line.length + 1, `column ${column}`);
          assert.match(reason, /\.$/);
        }
      }
    }), { numRuns: 1000 });
  });

  it('reads every conversation as a row or says what is wrong, and the mutated line too', () => {
    fc.assert(fc.property(conversation, fc.nat(), fc.nat({ max: 4 }), text, (messages, at, length, inserted) => {
      const line = JSON.stringify({ messages });
      const read = readLine(line);
      const trains = messages.some(({ role, content }) => role === 'assistant' && hasText.test(content));
      assert.equal(read !== undefined && 'row' in read, trains);
      const start = at % line.length;
      const mutated = readLine(line.slice(0, start) + inserted.replace(/[\r\n]/g, ' ') + line.slice(start + length));
      if (mutated && 'problem' in mutated) assert.ok(mutated.problem.column <= line.length + inserted.length + 1);
    }));
  });

  it('finds the text of every message in the line, whatever its spelling', () => {
    fc.assert(fc.property(conversation, fc.boolean(), (messages, ascii) => {
      const plain = JSON.stringify({ id: 1, messages });
      const line = ascii ? toAscii(plain) : plain;
      messages.forEach(({ content }, index) => {
        const span = spanOf(line, ['messages', index, 'content']);
        assert.ok(span);
        const spelled = line.slice(span.start, span.end);
        assert.equal(JSON.parse(content === '' ? spelled : `"${spelled}"`), content);
      });
    }));
  });

  it('of a repeated key finds the value that counts', () => {
    const line = '{"messages": 1, "messages": ["two"]}';
    const span = spanOf(line, ['messages', 0]);
    assert.equal(span && line.slice(span.start, span.end), 'two');
    assert.equal(spanOf(line, ['messages', 1]), undefined);
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
      const read = readLine(line);
      assert.ok(read && 'problem' in read && read.problem.code === 'not-json');
      assert.equal(read.problem.column, line.startsWith('["') ? 2 : line.length + 1);
    }
  });
});
