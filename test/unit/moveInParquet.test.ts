import assert from 'node:assert/strict';
import { appendFileSync, chmodSync, existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { UserError } from '../../src/common/userError';
import { moveInParquet, type SplitRows } from '../../src/datasets/table/moveInParquet';

/** The content is the trainer's affair (trainer/tests/test_parquet_rows.py): here a file is a line of letters. */
const splitLetters: SplitRows = ({ dataset, rows, taken, rest, behind }) => {
  const wanted = new Set(readFileSync(rows, 'utf8').trim().split('\n').map(line => Number(line.split(' ')[0])));
  const letters = [...readFileSync(dataset, 'utf8')];
  const some = (inside: boolean): string => letters.filter((_, index) => wanted.has(index + 1) === inside).join('');
  writeFileSync(taken, (behind ? readFileSync(behind, 'utf8') : '') + some(true), { flag: 'wx' });
  writeFileSync(rest, some(false), { flag: 'wx' });
  return Promise.resolve();
};

describe('rows of a Parquet file', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'parquet-'));
  const dataset = path.join(folder, 'd.parquet');
  const quarantine = path.join(folder, 'd.quarantine.parquet');
  const { signal } = new AbortController();
  const rows = (...lines: number[]) => lines.map(line => ({ path: dataset, line, hash: 'a'.repeat(16) }));
  const contents = () => [dataset, quarantine].map(file => (existsSync(file) ? readFileSync(file, 'utf8') : undefined));
  beforeEach(() => {
    rmSync(quarantine, { force: true });
    writeFileSync(dataset, 'abcdef');
  });
  afterEach(() => assert.deepEqual(readdirSync(folder).filter(name => /tmp|~/.test(name)), [], 'nothing is left beside'));
  after(() => rmSync(folder, { recursive: true }));

  it('go to a new file, then behind those that are there, and each move can be undone', async () => {
    chmodSync(dataset, 0o640);
    const first = await moveInParquet(rows(2, 4), quarantine, splitLetters, signal);
    assert.deepEqual(contents(), ['acef', 'bd']);
    assert.deepEqual([dataset, quarantine].map(file => statSync(file).mode & 0o777), [0o640, 0o640]);
    const second = await moveInParquet(rows(1), quarantine, splitLetters, signal);
    assert.deepEqual(contents(), ['cef', 'bda']);
    await assert.rejects(first.undo(), /d\.parquet or d\.quarantine\.parquet has changed since/);
    await second.undo();
    assert.deepEqual(contents(), ['acef', 'bd']);
    await first.undo();
    assert.deepEqual(contents(), ['abcdef', undefined]);
  });

  it('leave no new file behind when the first move is undone', async () => {
    await (await moveInParquet(rows(1), quarantine, splitLetters, signal)).undo();
    assert.deepEqual(contents(), ['abcdef', undefined]);
  });

  it('stay where they are when they cannot be split, and when it is cancelled', async () => {
    const failing: SplitRows = async (split, of) => {
      await splitLetters(split, of);
      throw new UserError('Nothing was moved. The disk is full.');
    };
    await assert.rejects(moveInParquet(rows(1), quarantine, failing, signal), /The disk is full/);
    const cancelled = new AbortController();
    const stopped: SplitRows = () => Promise.resolve(cancelled.abort());
    await assert.rejects(moveInParquet(rows(1), quarantine, stopped, cancelled.signal), { name: 'AbortError' });
    assert.deepEqual(contents(), ['abcdef', undefined]);
  });

  it('are not moved over what others write meanwhile, and the quarantine is as it was', async () => {
    writeFileSync(quarantine, 'xy');
    const slow: SplitRows = async (split, of) => {
      await splitLetters(split, of);
      appendFileSync(dataset, 'g');
    };
    await assert.rejects(moveInParquet(rows(1), quarantine, slow, signal), /d\.parquet has changed meanwhile, so nothing was moved/);
    assert.deepEqual(contents(), ['abcdefg', 'xy']);
  });

  it('move while those of another file hang', async () => {
    const other = path.join(folder, 'other.parquet');
    writeFileSync(other, 'xyz');
    let goOn = (): void => undefined;
    const hanging: SplitRows = async (split, of) => {
      await new Promise<void>(resolve => (goOn = resolve));
      await splitLetters(split, of);
    };
    const stuck = moveInParquet([{ ...rows(1)[0]!, path: other }], path.join(folder, 'other.quarantine.parquet'), hanging, signal);
    await (await moveInParquet(rows(1), quarantine, splitLetters, signal)).forget();
    goOn();
    await (await stuck).undo();
    assert.deepEqual(contents(), ['bcdef', 'a']);
    rmSync(other);
  });

  it('stay in a file that is read-only, and out of one', async () => {
    for (const file of [dataset, quarantine]) {
      writeFileSync(quarantine, 'xy');
      chmodSync(file, 0o444);
      await assert.rejects(moveInParquet(rows(1), quarantine, splitLetters, signal), new RegExp(`${path.basename(file)} is read-only, so nothing was done`));
      assert.deepEqual(contents(), ['abcdef', 'xy']);
      chmodSync(file, 0o644);
    }
  });

  it('move in the file that a link leads to', async () => {
    const real = path.join(folder, 'real.parquet');
    writeFileSync(real, 'abc');
    rmSync(dataset);
    symlinkSync(real, dataset);
    await (await moveInParquet(rows(3), quarantine, splitLetters, signal)).forget();
    assert.ok(lstatSync(dataset).isSymbolicLink());
    assert.equal(readFileSync(real, 'utf8'), 'ab');
    rmSync(dataset);
    rmSync(real);
  });
});
