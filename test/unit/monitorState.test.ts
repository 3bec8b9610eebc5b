import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { AnyEvent, RowColumns } from '../../src/protocol/messages';
import { Run } from '../../src/trainerHost/run';
import { RunState } from '../../src/trainerHost/runState';
import { batchRows, SeriesFeed } from '../../src/views/monitorModel';
import { drawnSeries } from '../../src/views/monitorProtocol';
import { lastRiskySteps, LastRiskyRows } from '../../src/views/riskyRows';
import { at, attempt, batch } from './batches';
import { until } from './until';

describe('SeriesFeed', () => {
  const grown = (state: RunState, from: number, to: number) => {
    for (let step = from; step <= to; step++) state.apply(at(batch(step, { total: step })));
    return state;
  };

  it('gives everything first, then what is new, then nothing', () => {
    const feed = new SeriesFeed(drawnSeries);
    const state = grown(new RunState(), 1, 3);
    const first = feed.next(state);
    assert.deepStrictEqual([first?.replace, first?.columns.step, first?.columns.kl], [true, [1, 2, 3], [null, null, null]]);
    assert.strictEqual(feed.next(state), undefined);
    const more = feed.next(grown(state, 4, 5));
    assert.deepStrictEqual([more?.replace, more?.columns.total], [false, [4, 5]]);
  });

  it('begins again when steps were taken back', () => {
    const feed = new SeriesFeed(drawnSeries);
    const state = grown(new RunState(), 1, 5);
    feed.next(state);
    state.apply(at(attempt(2, 2)));
    grown(state, 3, 3);
    const next = feed.next(state);
    assert.deepStrictEqual([next?.replace, next?.columns.step], [true, [1, 2, 3]]);
  });

  it('never lets the page hold more than twice the points that are drawn', async () => {
    const feed = new SeriesFeed(drawnSeries);
    const state = new RunState();
    let [points, most] = [0, 0];
    for (let step = 1; step <= 20_000; step += 100) {
      let next = feed.next(grown(state, step, step + 99));
      if (!next) await until(() => !!(next = feed.next(state)));
      points = (next?.replace ? 0 : points) + (next?.columns.step.length ?? 0);
      most = Math.max(most, points);
    }
    assert.ok(most <= 2400, `${most}`);
    assert.strictEqual(feed.next(state), undefined);
  });
});

describe('batchRows', () => {
  it('puts the riskiest row first, and an unscored one before it', () => {
    const rows = batch(1).rows;
    rows.risk.push(null);
    rows.hash.push('c'.repeat(16));
    rows.line.push(1);
    rows.file.push(0);
    rows.beta.push(1);
    rows.nll.push(null);
    rows.kl.push(null);
    assert.deepStrictEqual(batchRows(rows).map(({ line, risk }) => [line, risk]), [
      [1, null],
      [9, 0.9],
      [3, 0.1],
    ]);
  });
});

describe('the last risky rows', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'risky-'));
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const run = new Run(folder, log);
  const list = new LastRiskyRows(run);
  /** A step whose rows have these risks, on the lines from 1. */
  const step = (number: number, ...risk: (number | null)[]) => {
    const every = <T>(value: T): T[] => risk.map(() => value);
    const rows: RowColumns = { file: every(0), line: risk.map((_, index) => index + 1), hash: every('a'), risk, beta: every(0), nll: every(1), kl: every(null), tokens: every(10) };
    return batch(number, { riskMax: Math.max(...risk.map(value => value ?? 1)), rows });
  };
  const write = async (events: AnyEvent[]) => {
    fs.appendFileSync(path.join(folder, 'events.jsonl'), events.map(event => `${JSON.stringify(event)}\n`).join(''));
    await run.read();
  };
  const listed = async () => (await list.next())?.rows?.map(({ step, line, risk }) => [step, line, risk]);

  after(() => {
    run.dispose();
    fs.rmSync(folder, { recursive: true });
  });

  it('are none while nothing has been trained on, or nothing that is risky', async () => {
    await run.read();
    assert.strictEqual((await list.next())?.rows, null);
    await write(Array.from({ length: 3000 }, (_, index) => step(index + 1, 0.1, 0.499)));
    assert.deepStrictEqual(await listed(), []);
    assert.strictEqual(await list.next(), undefined, 'nothing new');
  });

  it('are the newest step’s first, and its riskiest row first; one without a score counts', async () => {
    await write([step(3001, 0.5, 0.1, 0.9), step(3002, 0.2), step(3003, null, 0.6)]);
    assert.deepStrictEqual(await listed(), [[3003, 1, null], [3003, 2, 0.6], [3001, 3, 0.9], [3001, 1, 0.5]]);
    await write([step(3004, 0.7, 0.8)]);
    assert.deepStrictEqual(await listed(), [[3004, 2, 0.8], [3004, 1, 0.7], [3003, 1, null], [3003, 2, 0.6], [3001, 3, 0.9]]);
    await write([step(3005, 0.2)]);
    assert.strictEqual(await list.next(), undefined, 'the list stays as it is');
  });

  it('of steps that a later attempt takes back are forgotten', async () => {
    await write([attempt(2, 3002), step(3003, 0.1)]);
    assert.deepStrictEqual(await listed(), [[3001, 3, 0.9], [3001, 1, 0.5]]);
  });

  it('are found far back, without a look at every step', () => {
    const { series } = new RunState();
    let looks = 0;
    for (let number = 1; number <= 20_000; number++) series.add(step(number, number === 17 || number === 8000 ? 0.7 : 0.1), 0, 1);
    const at = series.at.bind(series);
    series.at = (...given) => (looks++, at(...given));
    assert.deepStrictEqual(lastRiskySteps(series, 0.7, 0, series.length), [17, 8000]);
    assert.ok(looks < 2000, `${looks} looks`);
  });
});
