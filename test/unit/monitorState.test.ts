import assert from 'node:assert';
import { RunState } from '../../src/trainerHost/runState';
import { batchRows, SeriesFeed } from '../../src/views/monitorModel';
import { drawnSeries } from '../../src/views/monitorProtocol';
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
