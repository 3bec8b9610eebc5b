import assert from 'node:assert/strict';
import type { AnchoringReport } from '../../src/protocol/messages';
import { byCloseness, CloseRows } from '../../src/views/closeRows';

describe('rows close to harmful answers', () => {
  const report: AnchoringReport = {
    files: ['/real/a.jsonl', '/real/b.jsonl'],
    rows: [
      { file: 0, line: 1, hash: 'a'.repeat(16), similarity: -0.5 },
      { file: 0, line: 2, hash: 'b'.repeat(16), similarity: null },
      { file: 1, line: 1, hash: 'c'.repeat(16), similarity: 0.25 },
      { file: 1, line: 2, hash: 'c'.repeat(16), similarity: 0.25 },
      { file: 1, line: 3, hash: 'd'.repeat(16), similarity: 0.75 },
    ],
    closest: 1,
    invalid: [],
  };

  it('come the closest first, without those that nothing is known of', () => {
    assert.deepEqual(byCloseness(report).map(({ line, file }) => [file, line]), [[1, 3], [1, 1], [1, 2], [0, 1]]);
  });

  it('are told where they stand, and the closest are labelled, in the files as the editor names them', () => {
    const rows = new CloseRows();
    let changes = 0;
    rows.onDidChange(() => changes++);
    rows.set(report, '/here/x.finetune.json', file => file.replace('/real', '/here'));
    const [a, b] = [rows.of('/here/a.jsonl')!, rows.of('/here/b.jsonl')!];
    assert.equal(rows.of('/real/a.jsonl'), undefined);
    assert.deepEqual([...a.keys()], ['a'.repeat(16)]);
    assert.equal(b.get('d'.repeat(16))!.label, 'close to harmful answers: 1 of 4');
    assert.deepEqual([b.get('c'.repeat(16))!.label, a.get('a'.repeat(16))!.label], [undefined, undefined]);
    assert.match(b.get('c'.repeat(16))!.describe(), /x\.finetune\.json this row is 2 of 4 .*\(similarity \+0\.25;/);
    assert.match(a.get('a'.repeat(16))!.describe(), /is 4 of 4 .*\(similarity −0\.50;/);
    assert.deepEqual(rows.closest, [{ row: { path: '/here/b.jsonl', line: 3, hash: 'd'.repeat(16) }, similarity: 0.75 }]);
    rows.forget();
    assert.deepEqual(rows.closest, []);
    assert.equal(rows.of('/here/b.jsonl'), undefined);
    assert.equal(changes, 2);
    assert.throws(() => rows.forget(), /No rows are marked/);
  });
});
