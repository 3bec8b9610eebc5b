/** Two windows, which are two processes, on one dataset or one run. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { changeFile } from '../../src/datasets/oneWindow';
import { reviewedHashes, withReviewed } from '../../src/datasets/reviewedFile';

const ROWS = 40;

describe('two windows on one dataset', function () {
  this.timeout(120_000);
  const folder = mkdtempSync(path.join(tmpdir(), 'windows-'));
  after(() => rmSync(folder, { recursive: true }));
  const inFolder = (name: string): string => path.join(folder, name);
  const linesOf = (name: string): string[] => readFileSync(inFolder(name), 'utf8').trim().split('\n');

  before(async () => {
    const entryPoints = ['mover.ts', 'reviewer.ts'].map(name => path.join(__dirname, name));
    await build({ entryPoints, outdir: folder, outExtension: { '.js': '.cjs' }, bundle: true, platform: 'node', logLevel: 'error' });
  });
  const moveAll = async (mine: string): Promise<string[]> => {
    const { stdout } = await promisify(execFile)(process.execPath, [inFolder('mover.cjs'), inFolder('rows.jsonl'), inFolder('rows.quarantine.jsonl'), mine]);
    return JSON.parse(stdout) as string[];
  };

  it('that move rows to quarantine at the same time lose none, and say what has changed beneath them', async () => {
    const rows = Array.from({ length: ROWS }, (_, index) => JSON.stringify({ prompt: `${['first', 'second', 'neither'][index % 3]} ${index}`, completion: 'So.' }));
    writeFileSync(inFolder('rows.jsonl'), rows.join('\n') + '\n');
    const said = (await Promise.all(['first', 'second'].map(moveAll))).flat();
    const [left, moved] = [linesOf('rows.jsonl'), linesOf('rows.quarantine.jsonl')];
    assert.deepEqual(left, rows.filter(row => row.includes('neither')), 'what nobody moved stays as it stood');
    assert.deepEqual([...moved].sort(), rows.filter(row => !row.includes('neither')).sort(), 'every row that was moved is there, once');
    for (const message of said) assert.match(message, /^rows\.jsonl has changed meanwhile, so nothing was moved|^rows\.jsonl, line \d+: the row has been edited or removed meanwhile/);
    assert.deepEqual(readdirSync(folder).filter(name => name.endsWith('~') || name.endsWith('.tmp')), []);
  });

  it('of which one was killed while it moved rows go on without it', async () => {
    const { pid } = spawnSync(process.execPath, ['--version']);
    writeFileSync(inFolder('rows.jsonl.changing~'), `${hostname()} ${pid}`);
    assert.deepEqual(await moveAll('neither'), []);
    assert.equal(readFileSync(inFolder('rows.jsonl'), 'utf8'), '');
    assert.equal(linesOf('rows.quarantine.jsonl').length, ROWS);
  });

  it('that mark rows as reviewed at the same time lose none, and leave the list as it was written otherwise', async () => {
    writeFileSync(inFolder('rows.reviewed.txt'), '\ufeff# Ours.\r\n', { mode: 0o640 });
    const markAll = (name: string) => promisify(execFile)(process.execPath, [inFolder('reviewer.cjs'), inFolder('rows.reviewed.txt'), name, String(ROWS)]);
    await Promise.all(['a', 'b', 'c'].map(markAll));
    const text = readFileSync(inFolder('rows.reviewed.txt'), 'utf8');
    assert.match(text, /^\ufeff# Ours\.\r\n([0-9a-f]{16} line \d+\r\n)+$/);
    assert.deepEqual([...reviewedHashes(text)].sort(), ['a', 'b', 'c'].flatMap(name => Array.from({ length: ROWS }, (_, row) => row.toString(16).padStart(15, '0') + name)).sort());
    assert.equal(statSync(inFolder('rows.reviewed.txt')).mode & 0o777, 0o640);
    assert.deepEqual(readdirSync(folder).filter(name => name.endsWith('~') || name.endsWith('.tmp')), []);
  });

  it('leave a list alone that is read-only, or no text', async () => {
    const list = inFolder('other.reviewed.txt');
    const mark = () => changeFile(list, text => withReviewed(text, [{ hash: 'a'.repeat(16), note: 'line 1' }]));
    writeFileSync(list, '# Ours.\n', { mode: 0o444 });
    await assert.rejects(mark(), /^UserError: other\.reviewed\.txt is read-only, so nothing was done\. Allow it to be written/);
    assert.equal(readFileSync(list, 'utf8'), '# Ours.\n');
    rmSync(list);
    writeFileSync(list, Buffer.from('# Größe\n', 'latin1'));
    await assert.rejects(mark(), /other\.reviewed\.txt is not valid UTF-8, so it was left as it is\. Save it with the encoding UTF-8/);
    assert.deepEqual(readFileSync(list), Buffer.from('# Größe\n', 'latin1'));
  });
});

describe('two windows on one run', function () {
  this.timeout(120_000);
  const folder = mkdtempSync(path.join(tmpdir(), 'windows-'));
  after(() => rmSync(folder, { recursive: true }));
  const noter = path.join(folder, 'noter.cjs');
  const run = path.join(folder, 'run');

  before(() => build({ entryPoints: [path.join(__dirname, 'noter.ts')], outfile: noter, bundle: true, platform: 'node', logLevel: 'error' }));

  it('that write notes at the same steps at the same time lose none', async () => {
    mkdirSync(run);
    writeFileSync(path.join(run, 'meta.json'), '{"name": "mine"}');
    await Promise.all(['first', 'second'].map(whose => promisify(execFile)(process.execPath, [noter, run, whose, String(ROWS)])));
    const { name, notes } = JSON.parse(readFileSync(path.join(run, 'meta.json'), 'utf8')) as { name: string; notes: { step: number; text: string }[] };
    assert.equal(name, 'mine');
    const wanted = Array.from({ length: ROWS }, (_, index) => ({ step: index + 1, texts: [`first ${index + 1}`, `second ${index + 1}`] }));
    assert.deepEqual(notes.map(({ step, text }) => ({ step, texts: text.split(' · ').sort() })), wanted);
    assert.deepEqual(readdirSync(run), ['meta.json'], 'nothing is left behind');
  });
});
