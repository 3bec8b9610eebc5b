import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Format } from '../../src/datasets/formats/format';
import { REFUSAL, refusedAnswers } from '../../src/datasets/refusedAnswers';
import { readText } from './documents';

describe('an answer that is replaced by a refusal', () => {
  let json: Format;
  let csv: Format;

  before(async () => {
    ({ format: json } = await readText(''));
    ({ format: csv } = await readText('instruction,input,output\n', 'a.csv'));
  });

  const replaced = (line: string, index: number, format = json): string => {
    let text = line;
    for (const { start, end, text: by } of refusedAnswers(format, line, index).reverse()) text = text.slice(0, start) + by + text.slice(end);
    return text;
  };
  const rowOf = (line: string) => {
    const read = json.read(line);
    assert.ok('row' in read, line);
    return read.row.messages;
  };

  it('is the one to the flagged prompt, in every form', () => {
    for (const [row, index, answer] of [
      [{ prompt: 'p', completion: 'yes' }, 0, 1],
      [{ instruction: 'p', output: 'yes', history: [['a', 'b']] }, 2, 3],
      [{ instruction: 'p', output: 'yes', history: [['a', 'b']] }, 0, 1],
      [{ system: 's', conversations: [{ from: 'human', value: 'p' }, { from: 'gpt', value: 'yes' }] }, 1, 2],
      [{ messages: [{ role: 'user', content: 'p' }, { role: 'assistant', content: [{ type: 'text', text: 'yes' }] }] }, 0, 1],
      [{ messages: [{ role: 'assistant', content: 'yes' }] }, 0, 0],
    ] as const) {
      const line = JSON.stringify(row);
      const before = rowOf(line);
      const after = rowOf(replaced(line, index));
      assert.deepEqual(after, before.map((message, at) => (at === answer ? { ...message, content: REFUSAL } : message)));
    }
  });

  it('leaves everything else of the line as it was written', () => {
    const text = fc.string({ maxLength: 12 });
    fc.assert(fc.property(fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 3 }), fc.nat(), (turns, at) => {
      const messages = turns.flatMap(([user, assistant]) => [
        { role: 'user', content: `?${user}` },
        { role: 'assistant', content: `!${assistant}` },
      ]);
      const index = 2 * (at % turns.length);
      const line = JSON.stringify({ id: 1, messages }, null, 1).replaceAll('\n', '\t');
      const answer = JSON.stringify(messages[index + 1]!.content);
      const after = replaced(line, index);
      assert.equal(after.length, line.length - answer.length + JSON.stringify(REFUSAL).length);
      assert.deepEqual(JSON.parse(after), { id: 1, messages: messages.map((m, i) => (i === index + 1 ? { ...m, content: REFUSAL } : m)) });
    }));
  });

  it('is none where the line is no row', () => {
    assert.deepEqual(refusedAnswers(json, '{"messages": []}', 0), []);
  });

  it('is a cell of a table', () => {
    assert.equal(replaced('"Add, please.",1,"Sure, ""here""\nis"', 0, csv), `"Add, please.",1,"${REFUSAL}"`);
    assert.equal(replaced('Add.,,Sure', 0, csv), `Add.,,"${REFUSAL}"`);
  });

  it('is none in a list that is written as text', () => {
    const messages = [{ role: 'user', content: 'p' }, { role: 'assistant', content: 'yes' }];
    assert.deepEqual(refusedAnswers(json, JSON.stringify({ messages: JSON.stringify(messages) }), 0), []);
  });
});
