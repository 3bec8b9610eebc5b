import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { findUndecodable, readDocument } from '../../src/datasets/reading';
import { readText, sourceOf } from './documents';
import { inputs } from './inputs';

const row = (prompt: string): string =>
  JSON.stringify({ messages: [{ role: 'user', content: prompt }, { role: 'assistant', content: 'Yes.' }] });
const lines = fc.array(fc.constantFrom('', row('a'), row('b'), row('c'), '{', '[]'), { maxLength: 12 });
const cells = fc.array(fc.constantFrom('prompt,answer', 'question,answer', 'a,b', '"a', 'c",d', 'e', ''), { maxLength: 12 });

describe('reading a document', () => {
  it('after any edit is the same as reading it from the start', async () => {
    for (const [file, texts, [open, parting, close]] of [
      ['a.jsonl', lines, ['', '\n', '']],
      ['a.json', lines, ['[', ',\n', ']']],
      ['a.csv', cells, ['', '\n', '']],
    ] as const) {
      await fc.assert(
        fc.asyncProperty(texts, texts, texts, texts, async (start, before, after, end) => {
          const first = await readText(open + [...start, ...before, ...end].join(parting) + close, file);
          const edited = open + [...start, ...after, ...end].join(parting) + close;
          const asData = async (reading: ReturnType<typeof readText>) => {
            const { format, ...data } = await reading;
            return { ...data, format: format.id };
          };
          assert.deepEqual(await asData(readText(edited, file, first)), await asData(readText(edited, file)));
        }),
      );
    }
  });

  it('reads only the changed rows again', async () => {
    const texts = Array.from({ length: 100 }, (_, index) => row(String(index)));
    const first = await readText(texts.join('\n'));
    const second = await readText(texts.map((line, index) => (index === 50 ? row('changed') : line)).join('\n'), undefined, first);
    assert.deepEqual(
      second.records.flatMap(({ read }, index) => (read === first.records[index]!.read ? [] : [index])),
      [50],
    );
  });

  it('gives way while it reads, and stops when the document changes', async () => {
    const cancellation = new AbortController();
    const source = sourceOf(Array.from({ length: 20_000 }, (_, index) => row(String(index))).join('\n'));
    let seen = 0;
    const counting = { ...source, lineAt: (index: number) => (seen++, source.lineAt(index)) };
    const reading = readDocument('a.jsonl', counting, undefined, undefined, cancellation.signal);
    await setImmediate();
    cancellation.abort();
    await assert.rejects(reading, { name: 'AbortError' });
    assert.ok(seen <= source.lineCount);
  });

  it('reads a document of any length as one that is looked at as a whole', async () => {
    const json = fc.array(fc.constantFrom('[', ']', '{', '}', '{"data":', '[1,', '"a": ', '"data": [', ',', '{"a": 1}', '"b"', '1', 'tru', '', row('a')), { maxLength: 14 });
    const list = fc.array(fc.constantFrom(row('a'), '{"a":\n[1,\n2]}', '1', '"', '{]'), { maxLength: 14 }).map(rows => ['[', ...rows.map((text, index) => (index ? `,${text}` : text)), ']']);
    const delimited = fc.array(fc.constantFrom('prompt,answer', 'a,b X', '"X,', 'X",d', '"X""', 'e', '', ' X ', '";";";"'), { maxLength: 14 });
    const long = ' '.repeat(30_000); // a few lines fill a window
    const starts = async (text: string, file: string) => {
      const { records, broken, listStart, format } = await readText(text, file);
      const told = records.map(({ start, text: record, read }) => ({ start, record: record.replaceAll(long, ''), isRow: 'hash' in read }));
      const wrong = broken && { ...broken, place: { ...broken.place, character: broken.place.character % long.length } }; // at a line's end, too
      return { told, wrong, listStart, isOfLines: format.isOfLines };
    };
    for (const [file, texts] of [['a.json', json], ['b.json', list], ['a.csv', delimited], ['a.tsv', delimited]] as const) {
      await fc.assert(
        fc.asyncProperty(texts, async parts => {
          const padded = parts.map(part => part.replaceAll('X', `X${long}`)).join(file.endsWith('.json') ? `${long}\n` : '\n');
          assert.deepEqual(await starts(padded, file), await starts(parts.join('\n'), file));
        }),
        { numRuns: inputs(150) },
      );
    }
  }).timeout(60_000);

  it('knows lines that are not UTF-8 by their text, however an editor shows them', async () => {
    const bytes = Buffer.concat([Buffer.from(`${row('é')}\n{"a": "`), Buffer.from([0xff, 0xfe]), Buffer.from('"}\n')]);
    const shown = await findUndecodable(bytes, true);
    assert.equal(shown?.of('{"a": "\ufffd"}', 7)?.code, 'invalid-utf8');
    assert.equal(shown?.of('{"a": "\ufffd\ufffd"}', 0)?.offset, 7);
    assert.equal(shown?.of('{"b": "\ufffd"}', 1), undefined);
    const otherEncoding = await findUndecodable(bytes, false);
    assert.equal(otherEncoding?.of('{"a": "ÿþ"}', 1)?.offset, 7);
    assert.equal(otherEncoding?.of(row('Ã©'), 0), undefined);
    assert.equal(await findUndecodable(Buffer.from(row('\ufffd')), true), undefined);
  });

  it('reads a cell of millions of quotes', async () => {
    const { records } = await readText(`prompt,completion\n"${'""'.repeat(5_000_000)}",yes\n`, 'a.csv');
    assert.ok(records.length === 1 && 'hash' in records[0]!.read);
  }).timeout(20_000);

  it('takes what is not read line by line as broken where its bytes are', async () => {
    const bytes = Buffer.concat([Buffer.from('prompt,answer\na,b\nc,'), Buffer.from([0xff]), Buffer.from('\n')]);
    const undecodable = await findUndecodable(bytes, true);
    const { signal } = new AbortController();
    const broken = async (text: string) => (await readDocument('a.csv', sourceOf(text), undefined, undecodable, signal)).broken?.place;
    assert.deepEqual(await broken('prompt,answer\na,b\nc,\ufffd\n'), { line: 2, character: 2 });
    assert.equal(await broken('prompt,answer\na,b\nc,mended\n'), undefined);
  });
});
