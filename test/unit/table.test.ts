import assert from 'node:assert/strict';
import { appendFileSync, existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { scoreOfRow } from '../../src/datasets/judging';
import { pairsOf } from '../../src/datasets/rows';
import { readDocument, textSource } from '../../src/datasets/reading';
import type { RowLocation } from '../../src/common/commands';
import { moveOnDisk } from '../../src/datasets/table/moveOnDisk';
import { LineFile, openSource, type RecordSource } from '../../src/datasets/table/sources';
import { Table } from '../../src/datasets/table/table';
import type { JudgedRow } from '../../src/datasets/table/tableProtocol';
import { inputs } from './inputs';

const FIXTURES = path.join(__dirname, '../fixtures/rows');

describe('the table of a dataset file', function () {
  this.timeout(20_000); // processors may be busy
  const folder = mkdtempSync(path.join(tmpdir(), 'table-'));
  const sources: RecordSource[] = [];
  afterEach(() => Promise.all(sources.splice(0).map(source => source.close())));
  after(() => rmSync(folder, { recursive: true }));

  const write = (name: string, content: string | Uint8Array): string => {
    const file = path.join(folder, name);
    writeFileSync(file, content);
    return file;
  };

  async function tableOf(file: string): Promise<Table> {
    const source = await openSource(file, path.join(folder, 'spool'));
    sources.push(source);
    const table = new Table(source, { file, spool: '', threshold: 0.5, reviewed: [], flag: true, expected: true, reading: 1 });
    await table.readAll(() => undefined);
    return table;
  }

  const line = (prompt: string, completion = 'yes'): string => JSON.stringify({ prompt, completion });
  const judged = (record: number, risk: number, more: Partial<JudgedRow> = {}): JudgedRow => ({ record, risk, refusal: false, messageIndex: 0, ...more });

  it('has the rows that an editor has, of every fixture', async () => {
    for (const name of readdirSync(FIXTURES).filter(each => /\.(jsonl|json|csv|tsv)$/.test(each) && each !== 'dataset_info.json')) {
      const file = path.join(FIXTURES, name);
      const text = new TextDecoder().decode(readFileSync(file));
      if (text.includes('\ufffd') || /\r(?!\n)/.test(text)) continue; // other bytes in the file than in an editor
      const { signal } = new AbortController();
      const expected = await readDocument(file, await textSource(text, signal), undefined, undefined, signal);
      const table = await tableOf(file);
      const names = table.names({ filter: 'all', order: 'file' }, Infinity);
      assert.deepEqual(
        names.map(({ line: at, hash }) => [at, hash]),
        expected.records.map(({ start, read }) => [start.line + 1, 'hash' in read ? read.hash : '0'.repeat(16)]),
        name,
      );
    }
  });

  it('reads lines of any length across the parts in which it reads', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.integer({ min: 0, max: 700_000 }), fc.constantFrom('\n', '\r\n')), { minLength: 1, maxLength: 6 }), fc.boolean(), async (lines, ends) => {
        const texts = lines.map(([length], index) => line(`${index}é👋${'ü'.repeat(length)}`));
        const content = lines.map(([, end], index) => texts[index]! + (index < lines.length - 1 || ends ? end : '')).join('');
        const table = await tableOf(write('lines.jsonl', content));
        const { rows } = table.page({ filter: 'all', order: 'file' }, 0, 10);
        assert.deepEqual(rows.map(row => [row.line, row.prompt.slice(0, 4)]), texts.map((_, index) => [index + 1, `${index}é👋`]));
        assert.equal(table.summary().counts.malformed, 0);
      }),
      { numRuns: inputs(40) },
    );
  });

  it('reads a line of 100 MB, and those around it', async () => {
    const table = await tableOf(write('long.jsonl', `${line('before')}\n${line('x'.repeat(100_000_000))}\n${line('after')}\n`));
    const { rows } = table.page({ filter: 'all', order: 'file' }, 0, 10);
    assert.deepEqual(rows.map(row => [row.line, row.prompt.slice(0, 6)]), [[1, 'before'], [2, 'xxxxxx'], [3, 'after']]);
    assert.equal(table.summary().counts.malformed, 0);
  });

  it('has the lines that an editor has, whatever ends them and wherever a part of the file does', async () => {
    const part = 1 << 20;
    for (const end of ['\n', '\r\n', '\r', '\n\r', '\r\r\n']) {
      for (const length of [part - 2, part - 1, part, part + 1]) {
        const content = `${'x'.repeat(length)}${end}${line('b')}${end}${end}${line('c')}${end}`;
        const expected = content.split(/\r\n|\r|\n/).flatMap((text, index) => (text ? [[index + 1, text]] : []));
        const source = await openSource(write('ends.jsonl', content), path.join(folder, 'spool'));
        const found: [number, string][] = [];
        for await (const { records } of source.records()) {
          for (const record of records) {
            assert.equal(source.textAt(record.offset, record.size).text, record.text);
            found.push([record.line, record.text]);
          }
        }
        await source.close();
        assert.deepEqual(found, expected, `${length} ${JSON.stringify(end)}`);
      }
    }
  });

  it('reads a file that is removed or cut meanwhile as far as it goes, and says so instead of showing its rows', async () => {
    const lines = Array.from({ length: 40_000 }, (_, index) => line(`prompt ${index}`));
    for (const [name, harm] of [['removed.jsonl', rmSync], ['cut.jsonl', (file: string) => truncateSync(file, 100)]] as const) {
      const file = write(name, lines.join('\n'));
      const source = await openSource(file, path.join(folder, 'spool'));
      const table = new Table(source, { file, spool: '', threshold: 0.5, reviewed: [], flag: true, expected: true, reading: 1 });
      let parts = 0;
      await table.readAll(() => parts++ || harm(file));
      assert.ok(parts > 0);
      if (name.startsWith('removed')) assert.equal(table.summary().counts.all, lines.length);
      else assert.ok(table.summary().counts.all < lines.length);
      assert.throws(() => table.page({ filter: 'all', order: 'file' }, 0, 10), name.startsWith('removed') ? /The file is gone/ : /The file has changed since it was read/);
      await source.close();
    }
  });

  it('shows rows by risk and by kind, and counts them', async () => {
    const table = await tableOf(write('kinds.jsonl', [line('a'), line('b'), '{"prompt": 1}', line('c', 'I cannot help with that.'), line('d'), line('e')].join('\n')));
    const hashes = table.names({ filter: 'all', order: 'file' }, 10).map(({ hash }) => hash);
    table.know([judged(0, 0.2), judged(1, 0.9), judged(3, 0, { refusal: true }), judged(4, 0.7)]);
    table.configure({ reviewed: [hashes[4]!] });
    const { counts, histogram, failed } = table.summary();
    assert.deepEqual(counts, { all: 6, flagged: 1, reviewed: 1, refusals: 1, malformed: 1, unjudged: 1 });
    assert.deepEqual([histogram[4], histogram[18], failed], [1, 1, 0]);
    const linesOf = (filter: 'all' | 'flagged' | 'unjudged'): number[] => table.page({ filter, order: 'risk' }, 0, 10).rows.map(row => row.line);
    assert.deepEqual(linesOf('all'), [2, 5, 1, 4, 3, 6]);
    assert.deepEqual(linesOf('flagged'), [2]);
    assert.deepEqual(linesOf('unjudged'), [6]);
    table.configure({ threshold: 0.1 });
    assert.deepEqual(linesOf('flagged'), [2, 1]);
    assert.equal(table.find({ filter: 'flagged', order: 'risk' }, { line: 1, hash: hashes[0]! }), 1);
    assert.equal(table.row(2).problem?.code, 'no-conversation');
    assert.equal(table.row(2).raw, '{"prompt": 1}');
  });

  it('judges a row by its worst pair, and shows that one', async () => {
    const turns = ['one', 'two', 'three', 'four'].map((content, index) => ({ role: index % 2 ? 'assistant' : 'user', content }));
    const table = await tableOf(write('turns.jsonl', JSON.stringify({ messages: turns })));
    const pairs = pairsOf(table.messages([0])[0]!.messages);
    assert.deepEqual(pairs.map(({ prompt, answer }) => [prompt, answer]), [['one', 'two'], ['three', 'four']]);
    table.know([{ record: 0, ...scoreOfRow(pairs, [{ risk: 0.1, refusal: false }, { risk: 0.8, refusal: false }]) }]);
    const [row] = table.page({ filter: 'flagged', order: 'file' }, 0, 1).rows;
    assert.deepEqual([row!.prompt, row!.answer, table.row(0).turns.findIndex(({ worst }) => worst)], ['three', 'four', 2]);
  });

  it('says that a file has changed instead of showing what stands there now', async () => {
    const file = write('changing.jsonl', `${line('a')}\n${line('b')}\n`);
    const table = await tableOf(file);
    writeFileSync(file, `${line('another')}\n${line('b')}\n`);
    assert.throws(() => table.row(1), /The file has changed/);
  });

  it('marks bytes that are no text', async () => {
    const table = await tableOf(write('bytes.jsonl', Buffer.concat([Buffer.from(`${line('a')}\n{"prompt": "`), Buffer.from([0xff]), Buffer.from(`"}\n${line('b')}`)])));
    assert.deepEqual(table.summary().counts.malformed, 1);
    assert.equal(table.row(1).problem?.code, 'invalid-utf8');
    assert.equal(table.row(2).line, 3);
  });
});

describe('rows of a file that no document holds', function () {
  this.timeout(20_000);
  const folder = mkdtempSync(path.join(tmpdir(), 'moving-'));
  after(() => rmSync(folder, { recursive: true }));
  const { signal } = new AbortController();
  const row = (text: string): string => JSON.stringify({ prompt: text, completion: 'yes' });
  const dataset = path.join(folder, 'large.jsonl');
  const quarantine = path.join(folder, 'large.quarantine.jsonl');
  const namesOf = async (file: string): Promise<RowLocation[]> => {
    const source = await LineFile.open(file);
    const found: RowLocation[] = [];
    for await (const { records } of source.records()) {
      for (const { line, text } of records) {
        const read = source.format.read(text);
        if ('row' in read) found.push({ path: file, line, hash: read.row.hash });
      }
    }
    await source.close();
    return found;
  };

  it('move to quarantine and back, all others as they were, and an undo brings every byte back', async () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 20 });
    const end = fc.constantFrom('\n', '\r\n', '\r', '\n\n', '\n \t\n');
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(text, end, fc.boolean()), { minLength: 1, maxLength: 12 }), fc.boolean(), fc.boolean(), async (rows, endsWithLine, bom) => {
        const content = (bom ? '\ufeff' : '') + rows.map(([said, lineEnd], index) => row(said) + (index < rows.length - 1 || endsWithLine ? lineEnd : '')).join('');
        writeFileSync(dataset, content);
        rmSync(quarantine, { force: true });
        const names = await namesOf(dataset);
        const chosen = names.filter((_, index) => rows[index]![2]);
        if (chosen.length === 0) return;
        const moved = await moveOnDisk(chosen, quarantine, signal, () => undefined);
        assert.deepEqual((await namesOf(quarantine)).map(({ hash }) => hash), chosen.map(({ hash }) => hash));
        assert.deepEqual((await namesOf(dataset)).map(({ hash }) => hash), names.filter((_, index) => !rows[index]![2]).map(({ hash }) => hash));
        await moved.undo();
        assert.equal(readFileSync(dataset, 'utf8'), content);
        assert.equal(existsSync(quarantine), false);
        const again = await moveOnDisk(chosen, quarantine, signal, () => undefined);
        const back = await moveOnDisk(await namesOf(quarantine), dataset, signal, () => undefined);
        assert.deepEqual((await namesOf(dataset)).map(({ hash }) => hash).sort(), names.map(({ hash }) => hash).sort());
        assert.equal(readFileSync(quarantine, 'utf8'), '');
        await Promise.all([again.forget(), back.forget()]);
      }),
      { numRuns: inputs(150) },
    );
    rmSync(quarantine, { force: true });
    assert.deepEqual(readdirSync(folder), ['large.jsonl']);
  });

  it('stay where they are when one has been edited, or the move is cancelled', async () => {
    const content = [row('a'), row('b'), row('c')].join('\n');
    writeFileSync(dataset, content);
    const [first, second] = await namesOf(dataset);
    await assert.rejects(moveOnDisk([first!, { ...second!, hash: first!.hash }], quarantine, signal, () => undefined), /large\.jsonl, line 2: the row has been edited/);
    await assert.rejects(moveOnDisk([second!, { ...first!, hash: second!.hash }], quarantine, signal, () => undefined), /large\.jsonl, line 1: the row has been edited/);
    const cancelled = new AbortController();
    await assert.rejects(moveOnDisk([first!], quarantine, cancelled.signal, () => cancelled.abort()), { name: 'AbortError' });
    assert.equal(readFileSync(dataset, 'utf8'), content);
    assert.deepEqual(readdirSync(folder), ['large.jsonl']);
  });

  it('move one after the other when they are told to at once', async () => {
    writeFileSync(dataset, Array.from({ length: 30 }, (_, index) => row(`r${index}`)).join('\r\n'));
    rmSync(quarantine, { force: true });
    const names = await namesOf(dataset);
    const told = [3, 7];
    const moves = await Promise.allSettled(told.map(index => moveOnDisk([names[index]!], quarantine, signal, () => undefined)));
    const moved = told.filter((_, move) => moves[move]!.status === 'fulfilled');
    assert.ok(moved.includes(3), 'no move makes row 3 stand in another line');
    for (const move of moves) {
      if (move.status === 'fulfilled') await move.value.forget();
      else assert.match(String(move.reason), /line 8: the row has been edited or removed/); // row 3 went first: it stands in another line now
    }
    assert.deepEqual((await namesOf(dataset)).map(({ hash }) => hash), names.filter((_, index) => !moved.includes(index)).map(({ hash }) => hash));
    assert.deepEqual(readFileSync(quarantine, 'utf8').split('\r\n').sort(), ['', ...moved.map(index => row(`r${index}`))]);
  });

  it('move in the file that a link leads to, and never over what others have written', async () => {
    const real = path.join(folder, 'real.jsonl');
    writeFileSync(real, [row('a'), row('b')].join('\n'));
    rmSync(dataset);
    symlinkSync(real, dataset);
    rmSync(quarantine, { force: true });
    const names = await namesOf(dataset);
    await (await moveOnDisk(names.slice(0, 1), quarantine, signal, () => undefined)).forget();
    assert.ok(lstatSync(dataset).isSymbolicLink());
    assert.equal(readFileSync(real, 'utf8'), row('b'));
    const cancelled = new AbortController();
    const failing = moveOnDisk(await namesOf(dataset), quarantine, cancelled.signal, share => {
      if (share > 0.5) appendFileSync(quarantine, row('of another'));
      if (share > 0.5) cancelled.abort();
    });
    await assert.rejects(failing, { name: 'AbortError' });
    assert.ok(readFileSync(quarantine, 'utf8').includes('of another'));
    rmSync(dataset);
    rmSync(real);
    rmSync(quarantine);
  });

  it('are not brought back over changes made since', async () => {
    writeFileSync(dataset, [row('a'), row('b')].join('\n'));
    const moved = await moveOnDisk((await namesOf(dataset)).slice(0, 1), quarantine, signal, () => undefined);
    writeFileSync(dataset, row('another'));
    await assert.rejects(moved.undo(), /has changed since/);
    assert.equal(readFileSync(dataset, 'utf8'), row('another'));
    await moved.forget();
  });
});
