import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { columnNamesOf } from '../../src/datasets/columnNames';
import { readText } from './documents';

describe('columns that a dataset names in its own way', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'names-'));
  const file = path.join(folder, 'rows.jsonl');
  const inform = (info: unknown): void => writeFileSync(path.join(folder, 'dataset_info.json'), typeof info === 'string' ? info : JSON.stringify(info));
  const tags = { role_tag: 'who', content_tag: 'says', user_tag: 'me', assistant_tag: 'bot' };

  it('are found where they stand', async () => {
    inform({ mine: { file_name: 'rows.jsonl', formatting: 'sharegpt', columns: { messages: 'turns' }, tags } });
    const row = { id: 1, turns: [{ who: 'me', says: 'Hello there' }, { who: 'bot', says: 'Hi.' }] };
    const { format, records } = await readText(`${JSON.stringify(row)}\n${JSON.stringify({ turns: [{ who: 'x', says: 'y' }] })}`, file);
    const read = format.read(records[0]!.text);
    assert.ok('row' in read);
    assert.deepEqual(read.row.paths, [['turns', 0, 'says'], ['turns', 1, 'says']]);
    const [, odd] = records;
    assert.ok(odd && 'problem' in odd.read);
    assert.deepEqual(odd.read.problem.path, ['turns', 0, 'who']);
    assert.match(odd.read.problem.reason, /unknown role "x"/);
  });

  it('are those of the quarantine, too', async () => {
    inform({ mine: { file_name: 'rows.jsonl', columns: { prompt: 'q', response: 'a' } } });
    const quarantine = path.join(folder, 'rows.quarantine.jsonl');
    assert.equal((await columnNamesOf(quarantine))?.id, (await columnNamesOf(file))?.id);
  });

  it('leave nothing out unsaid', async () => {
    inform({ mine: { file_name: 'rows.jsonl', columns: { prompt: 'q', response: 'a' } } });
    const { records } = await readText('{"q": "b", "a": "c", "tools": [{}]}\n{"q": "b", "a": "c", "image": "x.png"}\n{"q": "b", "a": "c", "tools": []}', file);
    assert.deepEqual(records.map(({ read }) => ('hash' in read ? 'row' : read.problem.code)), ['unsupported', 'unsupported', 'row']);
  });

  it('change nothing where an entry names none', async () => {
    inform({ a: { file_name: 'other.jsonl', columns: { prompt: 'x' } }, b: { file_name: 'rows.jsonl' }, c: null });
    assert.equal(await columnNamesOf(file), undefined);
  });

  it('are asked for in words where the file that names them is wrong, and the rows are shown all the same', async () => {
    for (const [info, why] of [
      ['{"a": ', /dataset_info\.json: /],
      [{ a: { file_name: 'rows.jsonl', formatting: 'odd' } }, /not one of alpaca, sharegpt/],
      [{ a: { file_name: 'rows.jsonl', columns: { prompt: 1 } } }, /`columns` of rows\.jsonl/],
      [{ b: { file_name: 'rows.jsonl', columns: { prompt: 'x' } }, 1: { file_name: 'rows.jsonl' } }, /two entries say different things/],
    ] as const) {
      inform(info);
      const { records, broken } = await readText('{"prompt": "a", "completion": "b"}', file);
      assert.match(broken!.reason, why);
      assert.ok('hash' in records[0]!.read);
    }
  });
});
