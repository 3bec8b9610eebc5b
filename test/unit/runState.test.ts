import assert from 'node:assert';
import { RunState } from '../../src/trainerHost/runState';
import { sampleSteps } from '../../src/trainerHost/sampling';
import { Series } from '../../src/trainerHost/series';
import { panelSeries } from '../../src/views/panelProtocol';
import { at, attempt, batch, budget, measurement } from './batches';

const steps = (series: Series) => Array.from({ length: series.length }, (_, index) => series.at('step', index));

describe('RunState', () => {
  it('keeps every step, with what is missing as not a number', () => {
    const state = new RunState();
    for (let step = 1; step <= 600; step++) state.apply(at(batch(step, { total: step / 2, kl: step % 2 ? null : 0.5 }), step * 10));
    assert.strictEqual(state.series.length, 600);
    assert.strictEqual(state.series.at('total', 599), 300);
    assert.ok(Number.isNaN(state.series.at('kl', 0)));
    assert.strictEqual(state.series.at('kl', 1), 0.5);
    assert.deepStrictEqual(state.series.lineOf(77), { offset: 770, length: 1 });
    assert.strictEqual(state.series.lineOf(601), undefined);
    assert.strictEqual(state.latest?.step, 600);
  });

  it('forgets the steps that a new attempt begins before', () => {
    const state = new RunState();
    state.apply(at(attempt(1, 0)));
    for (let step = 1; step <= 5; step++) state.apply(at(batch(step)));
    state.apply(at({ v: 1, seq: 9, ts: 9, type: 'finished', status: 'failed', message: 'x', resumable: true, adapter: null }));
    const { generation } = state;
    state.apply(at(attempt(2, 3)));
    assert.deepStrictEqual(steps(state.series), [1, 2, 3]);
    assert.strictEqual(state.finished, undefined);
    assert.ok(state.generation > generation);
    state.apply(at(batch(4)));
    assert.deepStrictEqual(steps(state.series), [1, 2, 3, 4]);
  });

  it('knows what the canary said last and what was done, until a new attempt begins before it', () => {
    const state = new RunState();
    const common = { v: 1, seq: 1, ts: 5 } as const;
    state.apply(at(attempt(1, 0)));
    state.apply(at({ ...common, type: 'canary', reference: 12, prompts: 16 }));
    for (let step = 1; step <= 6; step++) state.apply(at(batch(step, { canary: step % 2 ? null : 12 - step })));
    state.apply(at(budget(4, { action: 'raise-beta' })));
    state.apply(at({ ...common, type: 'settings', step: 6, betaMin: null, betaMax: null, learningRate: 1e-5, by: 'command' }));
    state.apply(at(batch(7)));
    assert.deepStrictEqual([state.canary?.reference, state.series.latestOf('canary')], [12, 6]);
    assert.deepStrictEqual(state.interventions.map(({ type, step }) => [type, step]), [['budget', 4], ['settings', 6]]);
    state.apply(at(attempt(2, 5)));
    assert.strictEqual(state.series.latestOf('canary'), 8);
    assert.deepStrictEqual(state.interventions.map(({ type }) => type), ['budget']);
    assert.strictEqual(new RunState().series.latestOf('canary'), null);
  });

  it('tells a number that was none from one that was not asked for, and counts it', () => {
    const state = new RunState();
    state.apply(at(attempt(1, 0)));
    for (let step = 1; step <= 6; step++) state.apply(at(batch(step, { canary: step % 2 ? null : step })));
    assert.strictEqual(state.series.missing, 0);
    state.apply(at(batch(7, { canary: null, kl: null, notFinite: ['canary', 'kl', 'etaSeconds'] })));
    state.apply(at(batch(8, { riskMax: Infinity, tokensPerSecond: 1e300 })));
    const { series } = state;
    assert.strictEqual(series.missing, 4, 'canary, kl, risk and speed; the time that is left is no series');
    assert.deepStrictEqual([series.isOdd('canary', 5), series.isOdd('canary', 6), series.isOdd('canary', 4), series.isOdd('klMean', 6)], [false, true, false, false]);
    assert.strictEqual(series.latestOf('canary'), null, 'the last that was said of it is that it is no number');
    state.apply(at(batch(9, { total: null })));
    assert.strictEqual(series.missing, 5, 'an earlier trainer did not say so');
    state.apply(at(attempt(2, 6)));
    assert.deepStrictEqual([series.missing, series.latestOf('canary')], [0, 6]);
    state.apply(at(batch(7, { canary: 7 })));
    assert.deepStrictEqual([series.missing, series.isOdd('canary', 6), series.latestOf('canary')], [0, false, 7]);
  });

  it('knows at once that there was no canary in a long run', () => {
    const series = new Series();
    for (let step = 1; step <= 10_000; step++) series.add(batch(step), 0, 0);
    for (let look = 0; look < 200_000; look++) assert.ok(series.latestOf('canary') === null); // takes a minute where each step is looked at
  });

  it('knows what was measured, until a new attempt begins before it', () => {
    const state = new RunState();
    for (let step = 1; step <= 6; step++) {
      state.apply(at(batch(step)));
      if (step % 2 === 0) state.apply(at(measurement(step, step)));
    }
    const { generation } = state;
    state.apply(at(measurement(6, 9))); // again, of the same step
    assert.deepStrictEqual(state.measurements.map(({ step, metrics }) => [step, metrics.attackSuccess.count]), [[2, 2], [4, 4], [6, 9]]);
    assert.deepStrictEqual([state.series.at('attackSuccess', 5), state.series.latestOf('attackSuccess')], [9, 9]);
    assert.ok(Number.isNaN(state.series.at('attackSuccess', 4)));
    assert.ok(state.generation > generation, 'a step that was there has changed');
    state.apply(at(attempt(2, 4)));
    state.apply(at(batch(5)));
    state.apply(at(batch(6)));
    assert.deepStrictEqual([state.measurements.length, state.series.latestOf('attackSuccess')], [2, 4]);
    state.apply(at(measurement(0, 1))); // before the first step there is nothing to draw it at
    assert.strictEqual(state.measurements.length, 3);
  });

  it('keeps a roll-back, whose later steps no longer count, at the step that the run went back to', () => {
    const state = new RunState();
    const common = { v: 1, seq: 1, ts: 5, by: 'budget', learningRate: null } as const;
    state.apply(at(attempt(1, 0)));
    for (let step = 1; step <= 9; step++) state.apply(at(batch(step)));
    state.apply(at(attempt(2, 8)));
    state.apply(at({ ...common, type: 'settings', step: 8, betaMin: 0.5, betaMax: 1 }));
    state.apply(at(budget(9, { action: 'roll-back', backTo: 8 })));
    assert.deepStrictEqual(steps(state.series), [1, 2, 3, 4, 5, 6, 7, 8]);
    state.apply(at(attempt(3, 8)));
    assert.deepStrictEqual(state.interventions.map(({ type }) => type), ['settings', 'budget']);
    state.apply(at(attempt(4, 7)));
    assert.deepStrictEqual(state.interventions, []);
  });

  it('counts progress in training by its steps and elsewhere by its own events', () => {
    const state = new RunState();
    const common = { v: 1, seq: 1, ts: 5 } as const;
    state.apply(at({ ...common, type: 'phase', phase: 'scoring', message: 'Judging rows' }));
    state.apply(at({ ...common, type: 'progress', phase: 'scoring', done: 3, total: 10, unit: 'rows' }));
    assert.deepStrictEqual([state.phase?.done, state.phase?.total, state.phase?.message], [3, 10, 'Judging rows']);
    state.apply(at({ ...common, type: 'phase', phase: 'training', message: 'Training' }));
    state.apply(at(batch(2)));
    assert.deepStrictEqual([state.phase?.done, state.phase?.total, state.phase?.unit], [2, 1000, 'steps']);
    state.apply(at({ ...common, type: 'phase', phase: 'evaluating', message: 'Measuring' }));
    state.apply(at({ ...common, type: 'progress', phase: 'evaluating', done: 1, total: 4, unit: 'prompts' }));
    assert.deepStrictEqual([state.phase?.done, state.phase?.total, state.phase?.unit], [1, 4, 'prompts']);
    state.apply(at({ ...common, type: 'phase', phase: 'training', message: 'Going on' }));
    assert.deepStrictEqual([state.phase?.done, state.phase?.unit], [2, 'steps']);
    state.apply(at({ ...common, type: 'activity', paused: true }));
    assert.ok(state.paused);
  });
});

describe('sampleSteps', () => {
  it('keeps all steps while they are few', () => {
    const series = new Series();
    for (let step = 1; step <= 10; step++) series.add(batch(step), 0, 0);
    assert.deepStrictEqual(sampleSteps(series, ['total'], 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('keeps the lowest canary, though it is asked at some steps only', () => {
    const series = new Series();
    for (let step = 1; step <= 50_000; step++) {
      series.add(batch(step, { canary: step % 10 ? null : step === 23_450 ? -3 : 5 }), 0, 0);
    }
    const chosen = sampleSteps(series, panelSeries, 1200);
    assert.ok(chosen.length <= 1200);
    assert.ok(chosen.includes(23_449));
    assert.ok(chosen.filter(index => Number.isFinite(series.at('canary', index))).length > 200);
  });

  it('keeps the steps at which a value was no number, and of very many of them some', () => {
    const noNumber = (every: number) => {
      const series = new Series();
      for (let step = 1; step <= 10_000; step++) series.add(batch(step, step % every === 0 ? { canary: null, notFinite: ['canary'] } : {}), 0, 0);
      return sampleSteps(series, panelSeries, 1200).filter(index => series.isOdd('canary', index));
    };
    assert.deepStrictEqual(noNumber(3456), [3455, 6911]);
    assert.ok(noNumber(2).length >= 250 && noNumber(1).length <= 1200);
  });

  it('keeps the steps after which the model was measured', () => {
    const series = new Series();
    for (let step = 1; step <= 50_000; step++) series.add(batch(step), 0, 0);
    series.addMeasurement(measurement(23_456, 3));
    assert.ok(sampleSteps(series, panelSeries, 1200).includes(23_455));
  });

  it('keeps every peak of loss and risk, and both ends, of a long run', () => {
    const series = new Series();
    for (let step = 1; step <= 50_000; step++) {
      series.add(batch(step, { total: step === 12_345 ? 99 : 1 + Math.sin(step), riskMax: step === 33_333 ? 0.99 : 0.1 }), 0, 0);
    }
    const chosen = sampleSteps(series, panelSeries, 1200);
    assert.ok(chosen.length <= 1200);
    assert.deepStrictEqual(chosen, [...new Set(chosen)].sort((a, b) => a - b));
    for (const index of [12_344, 33_332, 49_999]) assert.ok(chosen.includes(index), `${index}`);
  });

  it('keeps every peak of every series of a long run', function () {
    this.timeout(20_000);
    const [series, plain] = [new Series(), batch(1)];
    const peaked = panelSeries.filter(name => name in plain && name !== 'step');
    const peaks = new Map<number, [name: string, value: number]>();
    peaked.forEach((name, at) => peaks.set(20_001 + 801 * at, [name, 5000]).set(120_001 + 801 * at, [name, -5000]));
    const noise = ['gradNorm', 'kl', 'tokensPerSecond', 'stepSeconds', 'total', 'riskMean'];
    for (let step = 1; step <= 160_000; step++) {
      const [name, value] = peaks.get(step) ?? [];
      series.add({ ...plain, step, ts: step, ...Object.fromEntries(noise.map((one, at) => [one, Math.sin(step * (at + 1))])), ...(name && { [name]: value }) }, 0, 0);
    }
    const chosen = new Set(sampleSteps(series, panelSeries, 1200));
    assert.ok(chosen.size <= 1200 && chosen.size > 600, `${chosen.size}`);
    for (const [step, [name]] of peaks) assert.ok(chosen.has(step - 1), `${name} at ${step}`);
  });

  it('keeps the peaks of a part that begins and ends anywhere', () => {
    const series = new Series();
    for (let step = 1; step <= 50_000; step++) series.add(batch(step, { gradNorm: step === 30_123 ? 5000 : Math.sin(step) }), 0, 0);
    const chosen = sampleSteps(series, ['gradNorm'], 100, { from: 29_999, to: 41_234 });
    assert.ok(chosen.length <= 100 && chosen.includes(30_122));
    assert.deepStrictEqual([chosen[0], chosen.at(-1)], [29_999, 41_233]);
  });
});
