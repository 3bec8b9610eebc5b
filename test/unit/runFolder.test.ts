import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { ProcessRecord, RunRecord } from '../../src/protocol/messages';
import {
  attemptLine,
  createRunFolder,
  currentProcess,
  deriveStatus,
  explainSilentEnd,
  furtherRunsFolders,
  hasCheckpoint,
  logFile,
  logTail,
  newRunId,
  readLaunchRecord,
  readMeta,
  readRunRecord,
  runFile,
  runsFolderIn,
  updateMeta,
  withNote,
  type StatusFacts,
} from '../../src/trainerHost/runFolder';

const now = 1_000_000_000_000;
const processAt = (startTime: number): ProcessRecord => ({ pid: 42, startTime, host: 'here' });
const record = (status: RunRecord['status'], startTime = 1000) => ({ status, process: processAt(startTime) }) as RunRecord;
const launch = { id: 'x', ts: now - 5000, argv: [], interpreter: 'python', configPath: 'c' };
const facts = (given: Partial<StatusFacts>): StatusFacts => ({
  alive: true,
  paused: false,
  cancelled: false,
  lastEvent: now - 1000,
  now,
  ...given,
});

describe('deriveStatus', () => {
  const cases: [string, Partial<StatusFacts>, string][] = [
    ['a living process runs', { record: record('running') }, 'running'],
    ['it is paused when it says so', { record: record('running'), paused: true }, 'paused'],
    ['a process that is gone without a word has failed', { record: record('running'), alive: false }, 'failed'],
    ['unless it was cancelled', { record: record('running'), alive: false, cancelled: true }, 'cancelled'],
    ['a last event counts before run.json says it', { record: record('running'), finished: { status: 'completed', ts: now } }, 'completed'],
    ['what run.json says at the end holds', { record: record('stopped'), alive: false }, 'stopped'],
    ['on another machine a recent event is enough', { record: record('running'), alive: undefined }, 'running'],
    ['on another machine silence is no sign of life', { record: record('running'), alive: undefined, lastEvent: now - 61_000 }, 'lost'],
    ['launched, and no run.json yet', { launch, launched: processAt(2000) }, 'starting'],
    ['launched, and gone before run.json', { launch, launched: processAt(2000), alive: false }, 'failed'],
    ['cancelled before run.json', { launch, launched: processAt(2000), alive: false, cancelled: true }, 'cancelled'],
    ['launched by somebody else a moment ago', { launch, alive: false }, 'starting'],
    ['launched by somebody else long ago', { launch: { ...launch, ts: now - 200_000 }, alive: false }, 'failed'],
    ['of events alone, while they come', { alive: undefined }, 'running'],
    ['of events alone that come no more', { alive: undefined, lastEvent: now - 61_000 }, 'lost'],
    ['of events alone to the last', { alive: undefined, finished: { status: 'completed', ts: now - 61_000 } }, 'completed'],
    ['a new attempt at a run that failed', { record: record('failed', 1000), launched: processAt(2000) }, 'starting'],
    ['the earlier attempt’s end is not the new one’s', { record: record('failed', 1000), launched: processAt(2000), finished: { status: 'failed', ts: 1_500_000 } }, 'starting'],
    ['nor while its start has not been read', { record: record('running', 2000), launched: processAt(2000), finished: { status: 'failed', ts: 1_500_000 } }, 'running'],
    ['a new attempt that died at once', { record: record('stopped', 1000), launched: processAt(2000), alive: false }, 'failed'],
    ['a new attempt that has begun', { record: record('running', 2000.5), launched: processAt(2000) }, 'running'],
  ];
  for (const [title, given, wanted] of cases) {
    it(`${title}: ${wanted}`, () => assert.strictEqual(deriveStatus(facts(given)), wanted));
  }

  it('asks about the process that was launched last', () => {
    assert.strictEqual(currentProcess({ record: record('failed', 1000), launched: processAt(2000) })?.startTime, 2000);
    assert.strictEqual(currentProcess({ record: record('running', 3000), launched: processAt(2000) })?.startTime, 3000);
  });
});

describe('explainSilentEnd', () => {
  it('takes the exception’s own message', () => {
    const tail = ['Traceback (most recent call last):', '  File "x.py", line 1', 'torch.OutOfMemoryError: CUDA out of memory.', '[W1] x'];
    assert.strictEqual(explainSilentEnd(tail, { code: 1, signal: null }), 'torch.OutOfMemoryError: CUDA out of memory.');
  });
  it('says what a kill often means', () => {
    assert.match(explainSilentEnd(['step 3'], { code: null, signal: 'SIGKILL' }), /ran out of memory/);
  });
  it('takes the last line of a trainer that refused its configuration', () => {
    assert.strictEqual(explainSilentEnd(['error: a.finetune.json:3:1: `metod` is not a setting.'], { code: 2, signal: null }), 'a.finetune.json:3:1: `metod` is not a setting.');
  });
  it('says so when nothing is known', () => assert.match(explainSilentEnd([], undefined), /without saying why/));
});

describe('furtherRunsFolders', () => {
  it('are those of the setting that are absolute', () => {
    assert.deepStrictEqual(furtherRunsFolders([' /mnt/cluster/runs/ ', 'runs', '', 3]), [path.resolve('/mnt/cluster/runs')]);
    assert.deepStrictEqual(furtherRunsFolders('/mnt'), []);
    assert.deepStrictEqual(furtherRunsFolders(undefined), []);
  });
});

describe('a run folder', () => {
  let runs: string;
  beforeEach(() => (runs = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'runs-')), 'deep', 'runs')));
  afterEach(() => fs.rmSync(path.dirname(path.dirname(runs)), { recursive: true, force: true }));
  const create = (id = newRunId('adaptive')) => createRunFolder(runs, { ...launch, id });

  it('has a name that sorts by time and says the method', () => {
    const id = newRunId('filter', new Date('2026-11-22T17:15:30Z'));
    assert.match(id, /^20261122-171530-filter-[0-9a-z]{2}$/);
  });

  it('is its owner’s alone and hidden from git', function () {
    if (process.platform === 'win32') this.skip();
    const folder = create();
    assert.strictEqual(fs.statSync(folder).mode & 0o777, 0o700);
    assert.strictEqual(fs.readFileSync(path.join(runs, '.gitignore'), 'utf8'), '*\n');
    assert.strictEqual(readLaunchRecord(folder)?.interpreter, 'python');
  });

  it('lies in a folder of the user’s without hiding what is there from git', () => {
    fs.mkdirSync(runs, { recursive: true });
    create();
    assert.ok(!fs.existsSync(path.join(runs, '.gitignore')));
  });

  it('is hidden from git in the usual place, whoever made that', () => {
    const usual = runsFolderIn(runs, '');
    fs.mkdirSync(usual, { recursive: true });
    createRunFolder(usual, launch);
    assert.ok(fs.existsSync(path.join(usual, '.gitignore')));
  });

  it('is by default where the manifest says, never the workspace itself', () => {
    const manifest = JSON.parse(fs.readFileSync('package.json', 'utf8')) as {
      contributes: { configuration: { properties: Record<string, { default: string }> } };
    };
    const usual = manifest.contributes.configuration.properties['safeFinetuning.runs.folder']!.default;
    for (const configured of [usual, '', ' ']) assert.strictEqual(runsFolderIn('/w', configured), path.resolve('/w', usual));
    assert.strictEqual(runsFolderIn('/w', '/elsewhere'), path.resolve('/elsewhere'));
  });

  it('that cannot be written is named, with what to do', () => {
    fs.mkdirSync(path.dirname(runs), { recursive: true });
    fs.writeFileSync(runs, 'a file');
    assert.throws(() => create(), (error: Error) => error.message.includes(runs) && /setting|set safeFinetuning/.test(error.message));
  });

  it('keeps what others wrote into meta.json', async () => {
    const folder = create();
    await updateMeta(folder, () => ({ name: 'my run' }));
    await updateMeta(folder, () => ({ tags: ['a'] }));
    assert.deepStrictEqual(readMeta(folder), { name: 'my run', tags: ['a'] });
    fs.writeFileSync(path.join(folder, 'meta.json'), '{ torn');
    assert.deepStrictEqual(readMeta(folder), {});
    for (const pid of ['1; calc', '1', 1.5, -1, 0]) {
      fs.writeFileSync(path.join(folder, 'meta.json'), JSON.stringify({ name: 'n', launched: { ...processAt(1), pid } }));
      assert.deepStrictEqual(readMeta(folder), { name: 'n' });
    }
  });

  it('has tags and notes as people write them into meta.json', () => {
    const folder = create();
    const written = (meta: unknown) => {
      fs.writeFileSync(path.join(folder, 'meta.json'), JSON.stringify(meta));
      return readMeta(folder);
    };
    assert.deepStrictEqual(written({ notes: 'try 5e-5' }), { notes: [{ step: 0, text: 'try 5e-5' }] });
    assert.deepStrictEqual(written({ notes: [{ step: 3, text: 'here' }, { step: 'x' }, null], tags: ['a', 1] }), {
      notes: [{ step: 3, text: 'here' }],
      tags: ['a'],
    });
    assert.deepStrictEqual(written({ name: 1, notes: 7, tags: 'a' }), { notes: [] });
  });

  it('has one note a step, in their order', () => {
    const at = (step: number, text: string) => ({ step, text });
    assert.deepStrictEqual(withNote([at(5, 'e')], at(2, 'b'), ''), [at(2, 'b'), at(5, 'e')]);
    assert.deepStrictEqual(withNote([at(2, 'b'), at(5, 'e')], at(5, 'f'), 'e'), [at(2, 'b'), at(5, 'f')]);
    assert.deepStrictEqual(withNote([at(2, 'b')], at(2, ''), 'b'), undefined);
  });

  it('keeps a note that another window has written at the same step', () => {
    const at = (step: number, text: string) => ({ step, text });
    assert.deepStrictEqual(withNote([at(2, 'theirs')], at(2, 'ours'), ''), [at(2, 'theirs · ours')]);
    assert.deepStrictEqual(withNote([at(2, 'theirs')], at(2, ''), 'both saw this'), [at(2, 'theirs')]);
    assert.deepStrictEqual(withNote([], at(2, 'ours'), 'both saw this'), [at(2, 'ours')]);
  });

  it('keeps a meta.json that cannot be read beside the new one', async () => {
    const folder = create();
    fs.writeFileSync(path.join(folder, 'meta.json'), '{ "notes": "mine", }');
    await updateMeta(folder, () => ({ cancelled: true }));
    assert.deepStrictEqual(readMeta(folder), { cancelled: true });
    assert.strictEqual(fs.readFileSync(path.join(folder, 'meta.json.damaged'), 'utf8'), '{ "notes": "mine", }');
  });

  it('with a run.json that is not one says which field is wrong', () => {
    const folder = create();
    assert.strictEqual(readRunRecord(folder), undefined);
    fs.writeFileSync(runFile(folder), '{"v": 1}');
    assert.throws(() => readRunRecord(folder), /run\.json is not what was expected: .*required property/);
  });

  it('can be resumed from once a checkpoint has its manifest', () => {
    const folder = create();
    const checkpoint = path.join(folder, 'checkpoints', 'step-10');
    fs.mkdirSync(checkpoint, { recursive: true });
    assert.ok(!hasCheckpoint(folder));
    fs.writeFileSync(path.join(checkpoint, 'manifest.json'), '{}');
    assert.ok(hasCheckpoint(folder));
  });

  it('shows the last lines of the latest attempt only', () => {
    const folder = create();
    const log = `${attemptLine(['python'])}old\n${attemptLine(['python', '--resume'])}a\rb\r\n\nc\n`;
    fs.writeFileSync(logFile(folder), `${'x'.repeat(100_000)}\n${log}`);
    assert.deepStrictEqual(logTail(folder), ['a', 'b', 'c']);
    assert.deepStrictEqual(logTail(folder, 1), ['c']);
  });
});
