import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { ALL_DECODABLE, NO_READING, readDocument, readUndecodable, type LineSource } from '../../src/datasets/reading';

const row = (prompt: string): string =>
  JSON.stringify({ messages: [{ role: 'user', content: prompt }, { role: 'assistant', content: 'Yes.' }] });
const texts = fc.array(fc.constantFrom('', row('a'), row('b'), row('c'), '{', '[]'), { maxLength: 12 });
const { signal } = new AbortController();

/** Counts how often each line is looked at. */
function source(lines: string[]): LineSource & { seen: string[] } {
  const seen: string[] = [];
  return { lineCount: lines.length, seen, lineAt: index => (seen.push(lines[index]!), lines[index]!) };
}

describe('reading a document', () => {
  it('after any edit is the same as reading it from the start', async () => {
    await fc.assert(
      fc.asyncProperty(texts, texts, texts, texts, async (start, before, after, end) => {
        const first = await readDocument(source([...start, ...before, ...end]), NO_READING, ALL_DECODABLE, signal);
        const edited = [...start, ...after, ...end];
        const again = await readDocument(source(edited), first, ALL_DECODABLE, signal);
        assert.deepEqual(again, await readDocument(source(edited), NO_READING, ALL_DECODABLE, signal));
        assert.deepEqual(again.texts, edited);
      }),
    );
  });

  it('reads only the changed lines again', async () => {
    const lines = Array.from({ length: 100 }, (_, index) => row(String(index)));
    const first = await readDocument(source(lines), NO_READING, ALL_DECODABLE, signal);
    const edited = lines.map((line, index) => (index === 50 ? row('changed') : line));
    const second = await readDocument(source(edited), first, ALL_DECODABLE, signal);
    assert.deepEqual(
      second.lines.flatMap((line, index) => (line === first.lines[index] ? [] : [index])),
      [50],
    );
  });

  it('gives way while it reads, and stops when the document changes', async () => {
    const lines = Array.from({ length: 20_000 }, (_, index) => row(String(index)));
    const cancellation = new AbortController();
    const document = source(lines);
    const reading = readDocument(document, NO_READING, ALL_DECODABLE, cancellation.signal);
    await setImmediate();
    cancellation.abort();
    await assert.rejects(reading, { name: 'AbortError' });
    assert.ok(document.seen.length < lines.length);
  });

  it('knows lines that are not UTF-8 by their text, however an editor shows them', async () => {
    const bytes = Buffer.concat([Buffer.from(`${row('é')}\n{"a": "`), Buffer.from([0xff, 0xfe]), Buffer.from('"}\n')]);
    const shown = await readUndecodable(bytes, true);
    assert.equal(shown('{"a": "\ufffd"}', 7)?.code, 'invalid-utf8');
    assert.equal(shown('{"a": "\ufffd\ufffd"}', 0)?.column, 8);
    assert.equal(shown('{"b": "\ufffd"}', 1), undefined);
    const otherEncoding = await readUndecodable(bytes, false);
    assert.equal(otherEncoding('{"a": "ÿþ"}', 1)?.column, 8);
    assert.equal(otherEncoding(row('Ã©'), 0), undefined);
    assert.equal(await readUndecodable(Buffer.from(row('\ufffd')), true), ALL_DECODABLE);
  });
});
