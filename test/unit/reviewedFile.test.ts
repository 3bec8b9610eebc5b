import assert from 'node:assert/strict';
import fc from 'fast-check';
import { reviewedFileOf, reviewedHashes, withoutReviewed, withReviewed } from '../../src/datasets/reviewedFile';

const hash = fc.stringMatching(/^[0-9a-f]{16}$/);
const others = fc.array(fc.constantFrom('# why', '', '0123456789abcdef line 1', 'fedcba9876543210'), { maxLength: 4 });
const file = fc.tuple(others, fc.constantFrom('\n', '\r\n'), fc.boolean()).map(([lines, eol, ends]) => lines.join(eol) + (ends ? eol : ''));
const rows = fc.array(fc.record({ hash, note: fc.constantFrom('line 3, risk 0.93', 'line 9') }), { minLength: 1, maxLength: 4 });

describe('the list of reviewed rows', () => {
  it('has what was put into it, and is what it was when that is taken out again', () => {
    fc.assert(
      fc.property(file, rows, (text, added) => {
        const before = reviewedHashes(text);
        const marked = withReviewed(text, added);
        assert.deepEqual(reviewedHashes(marked), new Set([...before, ...added.map(row => row.hash)]));
        const isNew = new Set(added.map(row => row.hash).filter(one => !before.has(one)));
        const unmarked = withoutReviewed(marked, isNew);
        const lines = (content: string): string[] => content.split(/\r?\n/).filter(line => line !== '');
        if (text !== '') assert.deepEqual(lines(unmarked), lines(text));
        assert.equal(withReviewed(marked, added), marked);
      }),
    );
  });

  it('says what it is, and what a row was when it was reviewed', () => {
    const text = withReviewed('', [{ hash: '0123456789abcdef', note: 'line 3, risk 0.93' }]);
    assert.match(text, /^# Rows that were reviewed.*\n0123456789abcdef line 3, risk 0\.93\n$/);
    assert.equal(reviewedFileOf('/data/support.v2.csv'), '/data/support.v2.reviewed.txt');
    assert.deepEqual(reviewedHashes('\ufeff0123456789abcdef\n0123456789abcdef0\nline 1'), new Set(['0123456789abcdef']));
  });
});
