import assert from 'node:assert/strict';
import fc from 'fast-check';
import { additionOf, deletionsOf, findChangedBySaving, type Place } from '../../src/datasets/quarantineEdit';
import { isQuarantine, quarantinePath } from '../../src/datasets/report';

const eol = fc.constantFrom('\n', '\r\n');
const line = fc.string({ unit: fc.constantFrom('a', '"', ' ', '👋', 'é') });
const lines = fc.array(line, { minLength: 1, maxLength: 8 });

/** Lines with their ends, as they lie in a file. */
const pieces = (text: string): string[] => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];

describe('moving rows to quarantine', () => {
  it('keeps every line of both files, byte for byte', () => {
    fc.assert(
      fc.property(lines, fc.infiniteStream(fc.boolean()), lines, eol, eol, (dataset, choices, quarantine, end, quarantineEnd) => {
        const document = { lineCount: dataset.length, lineAt: (index: number) => dataset[index]! };
        const moved = dataset.flatMap((text, index) => (text !== '' && choices.next().value ? [index] : []));
        const before = dataset.join(end);
        const offset = ({ line, character }: Place): number =>
          dataset.slice(0, line).join(end).length + (line > 0 ? end.length : 0) + character;
        let after = before;
        for (const { start, end: stop } of deletionsOf(moved, document).reverse()) {
          after = after.slice(0, offset(start)) + after.slice(offset(stop));
        }
        // What is left are the other lines as they were, in their order.
        const kept = pieces(before).filter((_, index) => !moved.includes(index));
        assert.equal(after, kept.join(''));

        const quarantined = quarantine.join(quarantineEnd);
        const rows = moved.map(index => dataset[index]!);
        const added = additionOf(rows, quarantine.at(-1)!, quarantineEnd);
        if (moved.length === 0) return;
        const contents = (text: string): string[] => text.split(/\r?\n/).filter(content => content !== '');
        assert.deepEqual(contents(quarantined + added), [...contents(quarantined), ...rows]);
        assert.ok((quarantined + added).startsWith(quarantined) && added.endsWith(quarantineEnd));
      }),
    );
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
    assert.equal(quarantinePath('/data/support.jsonl'), '/data/support.quarantine.jsonl');
    assert.equal(quarantinePath('/data/a.b.jsonl'), '/data/a.b.quarantine.jsonl');
    assert.ok(isQuarantine('/data/support.quarantine.jsonl'));
    assert.ok(!isQuarantine('/data/quarantine.jsonl'));
  });
});
