import assert from 'node:assert/strict';
import fc from 'fast-check';
import { findChangedBySaving } from '../../src/datasets/bytes';
import type { Place } from '../../src/datasets/formats/format';
import { datasetOf, isQuarantine, quarantineOf } from '../../src/datasets/quarantineFiles';
import type { Reading } from '../../src/datasets/reading';
import { readText, sourceOf } from './documents';

const eol = fc.constantFrom('\n', '\r\n');
const word = fc.string({ unit: fc.constantFrom('a', '"', ' ', '👋', 'é', ',', '\n'), maxLength: 6 });

/** Files of one row for each text, in every format, with something between them. */
const cell = (text: string): string => `"${text.replaceAll('"', '""')}"`;
const row = (text: string): string => JSON.stringify({ prompt: `?${text}`, completion: 'c' });
const FORMATS: [file: string, make: (texts: string[], eol: string) => string][] = [
  ['a.jsonl', (texts, eol) => texts.map(row).join(eol + eol)],
  ['b.jsonl', (texts, eol) => texts.map(text => row(text) + eol).join('')],
  ['a.json', (texts, eol) => `[${eol}${texts.map(text => `  ${row(text)}`).join(`,${eol}`)}${eol}]${eol}`],
  ['b.json', texts => `[${texts.map(row).join(', ')}]`],
  ['c.json', (texts, eol) => `{"data": [ ${texts.map(row).join(` ,${eol}`)} ], "n": 1}`],
  ['a.csv', (texts, eol) => `prompt,completion${eol}${texts.map(text => `${cell(`?${text}`)},c${eol}`).join('')}`],
  ['b.csv', (texts, eol) => ['prompt,completion', ...texts.map(text => `${cell(`?${text}`)},c`)].join(eol)],
];

const textsOf = ({ records }: Reading): string[] => records.map(({ text }) => text);

function applied(text: string, edits: { start: Place; end: Place; text: string }[]): string {
  const starts = [0, ...[...text.matchAll(/\r?\n/g)].map(({ index, 0: end }) => index + end.length)];
  const offset = ({ line, character }: Place): number => starts[line]! + character;
  const inOrder = edits.map(edit => ({ from: offset(edit.start), to: offset(edit.end), text: edit.text })).sort((a, b) => b.from - a.from);
  return inOrder.reduce((whole, { from, to, text }) => whole.slice(0, from) + text + whole.slice(to), text);
}

describe('moving rows to quarantine and back', () => {
  for (const [file, make] of FORMATS) {
    it(`keeps every row of both files, byte for byte (${file}, ${JSON.stringify(make(['x', 'y'], '\n'))})`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(word, { minLength: 1, maxLength: 6 }), fc.infiniteStream(fc.boolean()), fc.array(word, { maxLength: 3 }), eol, async (texts, choices, others, end) => {
          const source = make(texts, end);
          const from = await readText(source, file);
          assert.equal(from.records.length, texts.length);
          const moved = texts.flatMap((_, index) => (choices.next().value ? [index] : []));
          if (moved.length === 0) return;
          const removed = applied(source, from.format.removing(from.records, moved, sourceOf(source)).map(stretch => ({ ...stretch, text: '' })));
          const left = await readText(removed, file);
          assert.equal(left.broken, undefined, removed);
          assert.deepEqual(textsOf(left), textsOf(from).filter((_, index) => !moved.includes(index)));

          const target = others.length > 0 ? make(others, end) : from.format.empty(end);
          const to = await readText(target, file);
          const rows = moved.map(index => textsOf(from)[index]!);
          const { at, text } = from.format.adding(to, rows, sourceOf(target), end);
          const added = applied(target, [{ start: at, end: at, text }]);
          const together = await readText(added, file);
          assert.equal(together.broken, undefined, added);
          assert.deepEqual(textsOf(together), [...textsOf(to), ...rows]);
          assert.equal(added.length, target.length + text.length);
        }),
      );
    });
  }

  it('takes nothing but rows and what parts them', async () => {
    for (const [file, text, index, after] of [
      ['a.json', '[\n  {"a": 1},\n  {"b": 2},\n  {"c": 3}\n]\n', 1, '[\n  {"a": 1},\n  {"c": 3}\n]\n'],
      ['a.json', '[\n  {"a": 1},\n  {"b": 2}\n]\n', 1, '[\n  {"a": 1}\n]\n'],
      ['a.json', '[{"a": 1}]', 0, '[]'],
      ['a.csv', 'h\n"x\ny"\n\nz', 0, 'h\n\nz'],
      ['a.jsonl', '{}\n \n[]', 1, '{}\n \n'],
    ] as const) {
      const { format, records } = await readText(text, file);
      const stretches = format.removing(records, [index], sourceOf(text));
      assert.equal(applied(text, stretches.map(stretch => ({ ...stretch, text: '' }))), after);
    }
  });

  it('finds the line that an editor would not write back as it is', () => {
    const lineOf = (...parts: (string | number[])[]): number | undefined =>
      findChangedBySaving(Buffer.concat(parts.map(part => Buffer.from(part as string))))?.line;
    for (const kept of ['', 'é', 'a\n\nb', 'a\r\nb\r\n', '\ufeffa\n\ufffd\n']) assert.equal(lineOf(kept), undefined, kept);
    assert.equal(lineOf('a\n\n', [0xff], '\n', [0xc3], '\r\n'), 3);
    assert.equal(lineOf('\ufeffa\r\n', [0xc3], '\r\n'), 2);
    assert.equal(lineOf('a\r\nb\r\nc\nd\n'), 3);
    assert.equal(lineOf('a\nb\r\n'), 2);
    assert.equal(lineOf('a\rb\n'), 1);
  });

  it('names the quarantine after the dataset', () => {
    for (const [dataset, quarantine] of [
      ['/data/support.jsonl', '/data/support.quarantine.jsonl'],
      ['/data/a.b.csv', '/data/a.b.quarantine.csv'],
    ] as const) {
      assert.equal(quarantineOf(dataset), quarantine);
      assert.equal(datasetOf(quarantine), dataset);
      assert.ok(isQuarantine(quarantine) && !isQuarantine(dataset));
    }
    assert.ok(!isQuarantine('/data/quarantine.jsonl'));
  });
});
