/** A run of a training script: it has a loss and a speed, no configuration, no risk and no rows. */
import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { AnyEvent, RunRecord } from '../../src/protocol/messages';
import { RunRegistry } from '../../src/trainerHost/runs';
import { configurationName, methodOf, outcomeText, runLabel } from '../../src/views/describe';
import { batchRows, detailsView, runView, SeriesFeed } from '../../src/views/monitorModel';
import { drawnSeries } from '../../src/views/monitorProtocol';
import { attempt, batch } from './batches';
import { until } from './until';

const nothing = { nll: null, riskMean: null, riskMax: null, betaMean: null, betaMax: null, tokens: null, rows: { file: [], line: [], hash: [], risk: [], beta: [], nll: [], kl: [], tokens: [] } };

describe('a run of a training script', () => {
  let folder: string;
  let registry: RunRegistry;
  const complaints: string[] = [];
  const log = { info: () => undefined, warn: (text: string) => complaints.push(text), error: (text: string) => complaints.push(text) };

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'script-'));
    registry = new RunRegistry(() => ['here', 'there', 'nowhere'].map(name => path.join(folder, name)), log);
    complaints.length = 0;
  });
  afterEach(() => {
    registry.dispose();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  const write = (place: string, status: RunRecord['status'], events: AnyEvent[]) => {
    const record: RunRecord = {
      ...{ v: 1, id: 'run', configPath: null, config: null, datasets: [], versions: {}, attempt: 1, status, message: 'Completed 2 steps.', parent: null },
      script: { name: 'sft', path: path.join(folder, 'sft.py'), model: 'tiny' },
      process: { pid: 1, startTime: 1000, host: 'elsewhere' },
    };
    const run = path.join(folder, place, 'run');
    fs.mkdirSync(run, { recursive: true });
    fs.writeFileSync(path.join(run, 'run.json'), JSON.stringify(record));
    fs.writeFileSync(path.join(run, 'events.jsonl'), events.map(event => `${JSON.stringify(event)}\n`).join(''));
  };

  it('is described without a method, a risk and rows', async () => {
    const dataset: AnyEvent = { v: 1, seq: 1, ts: 1, type: 'dataset', rows: 9, trained: null, heldOut: 0, flagged: 2, refusals: 0, reviewed: 0, unscored: 0, filtered: 0, invalid: [], truncated: [], unsupervised: [], totalSteps: 2 };
    write('here', 'completed', [attempt(1, 0), dataset, batch(1, nothing), batch(2, { ...nothing, tokensPerSecond: null, learningRate: null, total: 0.5 })]);
    await registry.scan();
    const run = registry.current ?? assert.fail('the run is there');
    await until(() => run.state.series.length === 2);
    assert.deepStrictEqual(complaints, []);
    assert.deepStrictEqual([configurationName(run), methodOf(run), runLabel(run)], ['sft', 'script', 'sft · script']);
    assert.match(outcomeText(run), /^Run sft completed/);
    const view = runView(run, Date.now());
    assert.deepStrictEqual([view.isScript, view.model, view.configuration, view.method], [true, 'tiny', 'sft', 'script']);
    assert.deepStrictEqual([view.current?.total, view.current?.riskMax, view.current?.tokensPerSecond], [0.5, null, null]);
    assert.deepStrictEqual([detailsView(run).dataset?.rows, detailsView(run).dataset?.trained], [9, null]);
    const columns = new SeriesFeed(drawnSeries).next(run.state)?.columns;
    assert.deepStrictEqual([columns?.total, columns?.riskMax, columns?.learningRate], [[1, 0.5], [null, null], [Math.fround(1e-4), null]]);
    assert.deepStrictEqual(batchRows((await run.rowsOf(1))!), []);
    assert.strictEqual(await run.rowsOf(3), undefined);
  });

  it('is told apart from one of the same name in another folder', async () => {
    write('here', 'completed', [attempt(1, 0)]);
    write('there', 'running', [{ ...attempt(1, 0), ts: Date.now() }]);
    await registry.scan();
    assert.deepStrictEqual(registry.runs.map(({ id }) => id).sort(), ['run', 'run~2']);
    assert.strictEqual(registry.byId('run~2')?.folder, path.join(folder, 'there', 'run'));
    await until(() => registry.byId('run~2')?.status === 'running'); // on another host, by its sign of life
  });
});
