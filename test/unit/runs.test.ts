import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Run } from '../../src/trainerHost/run';
import { RunFolders } from '../../src/trainerHost/runFolders';
import { RunRegistry } from '../../src/trainerHost/runs';
import { SeriesFeed } from '../../src/views/monitorModel';
import { attempt, batch, measurement } from './batches';
import { until } from './until';

const log = { info: () => undefined, warn: () => undefined, error: () => undefined };

describe('a folder of many runs', function () {
  this.timeout(60_000);
  let folder: string;
  let registry: RunRegistry | undefined;

  beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'runs-'))));
  afterEach(() => {
    registry?.dispose();
    fs.rmSync(folder, { recursive: true });
  });

  const make = (id: string, ts: number): string => {
    const run = path.join(folder, id);
    fs.mkdirSync(run);
    fs.writeFileSync(path.join(run, 'launch.json'), JSON.stringify({ id, ts, argv: [], interpreter: 'python', configPath: 'c' }));
    return run;
  };

  it('is listed newest first, told of a few times, and followed as runs come and go', async () => {
    for (let number = 0; number < 1500; number++) make(`run-${number}`, 1000 * number);
    registry = new RunRegistry(() => [folder], log);
    let told = 0;
    registry.onDidChange(() => told++);
    await registry.scan();
    assert.deepStrictEqual([registry.runs.length, registry.runs[0]?.id, registry.current?.id], [1500, 'run-1499', 'run-1499']);
    assert.ok(told < 300, `${told}`);
    assert.strictEqual(registry.byId('run-7')?.id, 'run-7');
    make('late', 5000.5);
    fs.rmSync(path.join(folder, 'run-1499'), { recursive: true });
    await registry.scan();
    assert.deepStrictEqual([registry.runs.length, registry.byId('late')?.id, registry.byId('run-1499'), registry.current?.id], [1500, 'late', undefined, 'run-1498']);
  });

  it('notices what was done to any run that has ended, in turns', async () => {
    for (let number = 0; number < 1200; number++) make(`run-${number}`, 1000 * number);
    registry = new RunRegistry(() => [folder], log);
    await registry.scan();
    fs.writeFileSync(path.join(folder, 'run-3', 'meta.json'), JSON.stringify({ name: 'the third' }));
    for (let scans = 0; scans < 3; scans++) await registry.scan();
    assert.strictEqual(registry.byId('run-3')?.name, 'the third');
  });

  it('holds no folders that are none, and a run as soon as its first file is there', async () => {
    fs.mkdirSync(path.join(folder, 'empty'));
    fs.writeFileSync(path.join(folder, 'a file'), '');
    const folders = new RunFolders(folder);
    assert.deepStrictEqual(await folders.look(), []);
    fs.writeFileSync(path.join(folder, 'empty', 'run.json'), '{');
    assert.deepStrictEqual(await folders.look(), [path.join(folder, 'empty')]);
    assert.deepStrictEqual(await new RunFolders(path.join(folder, 'nowhere')).look(), []);
  });

  it('holds a run of which there are events only', async () => {
    const finished = { v: 1, seq: 3, ts: 3000, type: 'finished', status: 'completed', message: 'Completed.', resumable: false, adapter: null };
    const copied = path.join(folder, 'copied');
    fs.mkdirSync(copied);
    fs.writeFileSync(path.join(copied, 'events.jsonl'), [attempt(1, 0), batch(1), batch(2), finished].map(event => `${JSON.stringify(event)}\n`).join(''));
    registry = new RunRegistry(() => [folder], log);
    await registry.scan();
    const run = registry.current;
    assert.strictEqual(run?.id, 'copied');
    await until(() => run.status === 'completed');
    assert.deepStrictEqual([run.state.series.length, run.message], [2, 'Completed.']);
  });
});

describe('a run whose events are many', () => {
  it('is indexed when it has been read, read from there again, and tells how far the reading is', async function () {
    this.timeout(120_000);
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'run-'));
    const events = path.join(folder, 'events.jsonl');
    const steps = 20_000;
    const line = (step: number): string => `${JSON.stringify(batch(step, { nll: 1 / step }))}\n`;
    fs.writeFileSync(events, `${JSON.stringify(attempt(1, 0))}\n` + Array.from({ length: steps }, (_, index) => line(index + 1)).join(''));
    const first = new Run(folder, log);
    await first.read();
    assert.deepStrictEqual([first.state.series.length, first.readShare], [steps, null]);
    await until(() => fs.existsSync(path.join(folder, 'events.index')));
    first.dispose();

    fs.appendFileSync(events, line(steps + 1));
    const again = new Run(folder, log);
    let tolds = 0;
    again.onDidChange(() => tolds++);
    await again.read();
    assert.deepStrictEqual([again.state.series.length, again.state.latest?.step, tolds], [steps + 1, steps + 1, 2]);
    assert.deepStrictEqual((await again.rowsOf(77))?.hash, batch(77).rows.hash);
    again.dispose();
    fs.rmSync(folder, { recursive: true });
  });
});

describe('runs that were looked at', function () {
  this.timeout(60_000);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'runs-'));
  const registry = new RunRegistry(() => [folder], log, 0);
  const steps = 1000;
  const watchers = () => process.getActiveResourcesInfo().filter(kind => kind === 'FSEventWrap').length;
  after(() => {
    registry.dispose();
    fs.rmSync(folder, { recursive: true });
  });

  it('are let go with their steps and watchers once nobody does, and are read again when somebody does', async () => {
    for (const id of ['one', 'two', 'three']) {
      fs.mkdirSync(path.join(folder, id));
      fs.writeFileSync(path.join(folder, id, 'launch.json'), JSON.stringify({ id, ts: 1000, argv: [], interpreter: 'python', configPath: 'c' }));
      const events = [attempt(1, 0), ...Array.from({ length: steps }, (_, index) => batch(index + 1, { total: index + 1 })), measurement(steps, 50)];
      fs.writeFileSync(path.join(folder, id, 'events.jsonl'), events.map(event => `${JSON.stringify(event)}\n`).join(''));
    }
    const before = watchers();
    await registry.lookAgain();
    const [one, two, three] = ['one', 'two', 'three'].map(id => registry.byId(id)!) as [Run, Run, Run];
    const read = async () => {
      for (const run of [one, two, three]) await run.read();
    };
    await read();
    assert.deepStrictEqual([one, two, three].map(run => run.state.series.length), [steps, steps, steps]);
    assert.strictEqual(watchers() - before, 0, 'nobody sees them');
    const watches = [one, two, three].map(run => run.watch());
    await read();
    assert.strictEqual(watchers() - before, 3);

    registry.select(one);
    const held = two.hold();
    await read();
    await registry.lookAgain();
    assert.deepStrictEqual([one, two, three].map(run => run.state.series.length), [steps, steps, 0], 'the one that is shown and the one that is held stay');
    await until(() => watchers() - before === 2);
    assert.strictEqual(three.state.latest?.step, steps, 'how it ended is still known');

    registry.select(three);
    held.dispose();
    held.dispose();
    await registry.lookAgain();
    await three.read();
    assert.deepStrictEqual([one, two, three].map(run => run.state.series.length), [0, 0, steps]);
    await until(() => watchers() - before === 1);
    const { series, counts, measurements } = three.state;
    assert.deepStrictEqual([counts, measurements.length, series.at('total', steps - 1), series.at('attackSuccess', steps - 1)], [{ bad: 0, unknown: 0, repeated: 0 }, 1, steps, 50]);
    assert.deepStrictEqual((await three.rowsOf(9))?.line, batch(9).rows.line);
    for (const watch of watches) watch.dispose();
    await until(() => watchers() === before);
  });

  it('are told of as begun anew to those who copied their steps', async () => {
    const run = registry.byId('two')!;
    const feed = new SeriesFeed(['step']);
    const hold = run.hold();
    await run.read();
    assert.strictEqual(feed.next(run.state)?.columns.step.length, steps);
    hold.dispose();
    await registry.lookAgain();
    assert.deepStrictEqual(feed.next(run.state)?.columns.step, []);
    await run.read();
    assert.deepStrictEqual([feed.next(run.state)?.replace, run.state.series.length], [true, steps]);
  });
});
