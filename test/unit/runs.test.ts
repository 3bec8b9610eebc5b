import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Run } from '../../src/trainerHost/run';
import { RunFolders } from '../../src/trainerHost/runFolders';
import { RunRegistry } from '../../src/trainerHost/runs';
import { attempt, batch } from './batches';
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
