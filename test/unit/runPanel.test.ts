/** What the run panel and the comparison show, without a window. */
import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import type { RowColumns, RunConfig } from '../../src/protocol/messages';
import { Run } from '../../src/trainerHost/run';
import { RunState } from '../../src/trainerHost/runState';
import { sampleSteps } from '../../src/trainerHost/sampling';
import { riskBins, type IndexRange, type SeriesName } from '../../src/trainerHost/series';
import { asLook, wholeRun, type Look } from '../../src/views/chartProtocol';
import { runsMessage } from '../../src/views/compareModel';
import { panelSeries } from '../../src/views/panelProtocol';
import { configDifferences, flatten } from '../../src/views/configDifference';
import type { ChartSpec } from '../../media/charts/chartSpec';
import { pictureOf, type Shown } from '../../media/charts/picture';
import { csvLine, writeCsv } from '../../src/views/csv';
import { riskLines, seriesLines, stepsIn } from '../../src/views/seriesLines';
import { SeriesFeed } from '../../src/views/monitorModel';
import { aggregateRows, likelihoodWeight } from '../../src/views/rangeRows';
import { riskyFrom, type RiskMap } from '../../src/views/riskMap';
import { RiskMapFeed } from '../../src/views/riskMapFeed';
import { extentOf, layOver, type RunColumns } from '../../media/compare/layOver';
import { growing, percentiles, positive } from '../../media/charts/values';
import { Smoother } from '../../src/views/smoothing';
import { at, attempt, batch, measurement } from './batches';
import { until } from './until';

const rows = (values: Partial<RowColumns>): RowColumns => ({ file: [0], line: [1], hash: ['a'], risk: [0], beta: [0], nll: [1], kl: [null], tokens: [], ...values });

const grown = (steps: number, values: (step: number) => Parameters<typeof batch>[1] = () => ({}), state = new RunState()) => {
  const first = state.series.length + 1;
  for (let step = first; step < first + steps; step++) state.apply(at(batch(step, values(step))));
  return state;
};

describe('a series that is looked at in part', () => {
  const look = (range: [number, number], smoothing = 0): Look => ({ axis: 'step', range, smoothing });

  it('is sent in full where that is few enough, with some on either side', async () => {
    const state = grown(50_000, step => ({ total: step }));
    const part = await message(new SeriesFeed(['step', 'total'], look([20_000, 20_400])), state);
    assert.deepStrictEqual([part.columns.step[0], part.columns.step.at(-1)], [19_799, 20_600]);
    assert.strictEqual(part.columns.step.length, 802, 'every step');
    assert.deepStrictEqual(part.extent, [1, 50_000]);
  });

  it('keeps the peaks of the part where it is not', async () => {
    const peaks = { lowest: 31_111, highest: 32_222, risky: 33_333, unsafe: 34_440 };
    const state = grown(60_000, step => ({
      total: step === peaks.lowest ? 0 : step === peaks.highest ? 9 : 5,
      riskMax: step === peaks.risky ? 1 : 0.2,
      canary: step % 10 ? null : step === peaks.unsafe ? -3 : 5,
    }));
    const { columns } = await message(new SeriesFeed(['step', 'total', 'riskMax', 'canary'], look([30_000, 40_000])), state);
    assert.ok(columns.step.length <= 2400);
    for (const [name, step] of Object.entries(peaks)) assert.ok(columns.step.includes(step), name);
  });

  it('grows only while new steps fall into it', () => {
    const feed = new SeriesFeed(['step'], look([90, 110]));
    const state = grown(100);
    assert.strictEqual(feed.next(state)?.columns.step.at(-1), 100);
    assert.deepStrictEqual(feed.next(grown(10, undefined, state))?.columns.step.at(-1), 110);
    grown(500, undefined, state);
    assert.strictEqual(feed.next(state)?.columns.step.at(-1), 120);
    const later = feed.next(grown(10, undefined, state));
    assert.deepStrictEqual([later?.columns.step, later?.extent], [[], [1, 620]]);
    assert.strictEqual(feed.next(state), undefined);
  });

  it('is chosen in turns, and what came meanwhile comes next', async () => {
    const state = grown(100_000, step => ({ total: Math.sin(step), gradNorm: Math.cos(step) }));
    let told = 0;
    const feed = new SeriesFeed(panelSeries, wholeRun, () => told++);
    assert.strictEqual(feed.next(state), undefined, 'it is more than fits into a turn');
    assert.ok(feed.isBehind);
    grown(3, undefined, state);
    await until(() => told > 0);
    const first = feed.next(state);
    assert.deepStrictEqual([first?.columns.step.at(-1), first?.replace, feed.isBehind, told], [100_000, true, true, 1]);
    await until(() => told > 1);
    assert.deepStrictEqual(first?.columns.step, sampleSteps(state.series, panelSeries, 1200, { from: 0, to: 100_000 }).map(index => index + 1));
    assert.deepStrictEqual(feed.next(state)?.columns.step, [100_001, 100_002, 100_003]);
    assert.ok(!feed.isBehind);
    feed.lookAt(look([1, 90_000]));
    assert.strictEqual(feed.next(state), undefined);
    feed.lookAt(look([1, 4]));
    assert.deepStrictEqual(feed.next(state)?.columns.step.slice(0, 3), [1, 2, 3], 'what is no longer looked at is given up');
  });

  /** The next message, however many turns it takes. */
  const message = async <Name extends SeriesName>(feed: SeriesFeed<Name>, state: RunState) => {
    let found = feed.next(state);
    await until(() => !!(found ??= feed.next(state)));
    return found!;
  };
  const smoothed = (feed: SeriesFeed<'step' | 'total' | 'kl'>, state: RunState) => message(feed, state);
  const wave = (step: number) => ({ total: Math.sin(step / 7) + (step % 3), kl: step % 2 ? null : 1 });

  it('is smoothed as the whole is, also when it goes on', async () => {
    const state = grown(3000, wave);
    const smoother = new Smoother(0.9);
    const whole = Array.from({ length: 3000 }, (_, index) => smoother.next(state.series.at('total', index))!);
    const feed = new SeriesFeed(['step', 'total', 'kl'], look([2800, 2990], 0.9));
    const first = await smoothed(feed, state);
    first.columns.step.forEach((step, index) => assert.ok(Math.abs(first.smoothed!.total[index]! - whole[step! - 1]!) < 1e-3));
    assert.deepStrictEqual(first.smoothed!.kl.map(value => value === null), first.columns.kl.map(value => value === null), 'gaps stay');
    const more = await smoothed(feed, grown(1, wave, state));
    assert.ok(Math.abs(more.smoothed!.total[0]! - smoother.next(state.series.at('total', 3000))!) < 1e-3);
    feed.lookAt(look([1, 4], 0.9));
    assert.ok(Math.abs(feed.next(state)!.smoothed!.total[2]! - whole[2]!) < 1e-3, 'another part is there at once');
  });

  it('is smoothed anew from where steps were taken back', async () => {
    const state = grown(100, wave);
    const feed = new SeriesFeed(['step', 'total', 'kl'], look([1, 200], 0.9));
    await smoothed(feed, state);
    state.apply(at(attempt(2, 50)));
    grown(80, step => ({ total: -step }), state);
    const [again, fresh] = [await smoothed(feed, state), await smoothed(new SeriesFeed(['step', 'total', 'kl'], look([1, 200], 0.9)), state)];
    assert.deepStrictEqual(again.smoothed, fresh.smoothed);
  });

  it('is smoothed in turns, once, and not to the end where another look comes first', async () => {
    const state = grown(30_000, wave);
    const read: number[] = [];
    const { series } = state;
    const at = series.at.bind(series);
    series.at = (name, index) => {
      if (name === 'kl') read.push(index);
      return at(name, index);
    };
    let told = 0;
    const feed = new SeriesFeed(['step', 'total', 'kl'], look([10, 20], 0.5), () => told++);
    assert.strictEqual(feed.next(state), undefined, 'it is more than fits into a turn');
    feed.lookAt(look([10, 20], 0.9));
    feed.next(state);
    await until(() => told > 0);
    assert.ok(feed.next(state));
    assert.strictEqual(told, 1, 'the first look is told nothing');
    read.length = 0;
    feed.lookAt(look([20_000, 20_010], 0.9));
    state.apply({ event: measurement(5, 1), offset: 0, length: 1 });
    assert.ok(feed.next(state));
    assert.ok(read.length < 100, `${read.length} values read again`);
  });

  it('is what a page may ask for', () => {
    assert.deepStrictEqual(asLook({ axis: 'step', range: [5, 2], smoothing: 1 }), { axis: 'step', range: null, smoothing: 0 });
    assert.deepStrictEqual(asLook({ axis: 'x', range: [NaN, 2], smoothing: 'a' } as unknown as Look), { axis: 'step', range: null, smoothing: 0 });
    assert.deepStrictEqual(asLook({ axis: 'time', range: [1, 2], smoothing: 0.5 }), { axis: 'time', range: [1, 2], smoothing: 0.5 });
  });
});

describe('what follows from the rows of a step', () => {
  it('is their share that is regularised, and the KL of those', () => {
    const { series } = grown(1, () => ({ rows: rows({ beta: [0.5, 0, 0.2, 0], kl: [0.4, null, 0.2, null], risk: [1, 0, 0.35, null] }) }));
    assert.strictEqual(series.at('regularisedShare', 0), 0.5);
    assert.ok(Math.abs(series.at('klMean', 0) - 0.3) < 1e-6);
    assert.deepStrictEqual(
      Array.from({ length: riskBins }, (_, bin) => series.rowsInBin(0, bin)),
      [1, 0, 0, 1, 0, 0, 0, 0, 0, 2],
      'an unscored row counts as 1',
    );
    assert.ok(Number.isNaN(grown(1, () => ({ rows: rows({}) })).series.at('klMean', 0)));
  });
});

describe('the map of risks', () => {
  const total = (counts: readonly number[]) => counts.reduce((sum, rows) => sum + rows, 0);
  /** However many turns it takes: a slow machine needs some for what is done at once elsewhere. */
  const whole = async (feed: RiskMapFeed, state: RunState, range: IndexRange): Promise<RiskMap> => {
    for (;;) {
      const map = feed.next(state, range);
      if (map) return map;
      await setImmediate();
    }
  };

  it('calls whole bins risky, and the edge that it counts from is one of theirs', () => {
    assert.deepStrictEqual([0, 0.1, 0.5, 0.74, 0.75, 0.76, 0.97, 1].map(riskyFrom), [0, 1, 5, 7, 7, 8, 9, 9]);
  });

  it('counts every row once, however many steps share a column', async () => {
    const state = grown(1000, step => ({ rows: rows({ risk: [step === 777 ? 0.95 : 0.05, 0.5] }) }));
    const map = await whole(new RiskMapFeed(), state, { from: 0, to: 1000 });
    assert.ok(map.first.length <= 160 && map.first.length > 100);
    assert.strictEqual(total(map.counts), 2000);
    const column = map.first.findIndex((first, index) => first <= 777 && map.last[index]! >= 777);
    assert.strictEqual(map.counts[column * riskBins + 9], 1);
    assert.deepStrictEqual([map.first[0], map.last.at(-1)], [1, 1000]);
  });

  it('grows with the run, and is what it would have been at once', async () => {
    const feed = new RiskMapFeed();
    const state = new RunState();
    for (const steps of [1, 3, 150, 7, 200, 900]) {
      grown(steps, step => ({ rows: rows({ risk: [(step % 100) / 100] }) }), state);
      const { length } = state.series;
      const map = await whole(feed, state, { from: 0, to: length });
      assert.strictEqual(total(map.counts), length);
      assert.strictEqual(map.last.at(-1), length);
      map.first.forEach((first, column) => {
        const inside = Array.from({ length: map.last[column]! - first + 1 }, (_, index) => (first + index) % 100);
        const expected = Array.from({ length: riskBins }, (_, bin) => inside.filter(risk => Math.floor(risk / 10) === bin).length);
        assert.deepStrictEqual(map.counts.slice(column * riskBins, (column + 1) * riskBins), expected);
      });
      assert.strictEqual(feed.next(state, { from: 0, to: length }), undefined);
    }
  });

  it('begins again when steps were taken back', async () => {
    const feed = new RiskMapFeed();
    const state = grown(10);
    await whole(feed, state, { from: 0, to: 10 });
    state.apply(at(attempt(2, 4)));
    assert.strictEqual((await whole(feed, state, { from: 0, to: 4 })).last.at(-1), 4);
  });

  it('of a long run takes several turns, says when it is there, and gives up what nobody waits for', async () => {
    const state = grown(400, step => ({ rows: rows({ risk: [(step % 100) / 100] }) }));
    const counted = state.series.rowsIn.bind(state.series);
    state.series.rowsIn = (...asked) => {
      for (const until = performance.now() + 0.1; performance.now() < until; ); // as slow as for a million steps
      return counted(...asked);
    };
    const forgotten = new RiskMapFeed(() => assert.fail('nobody waits for it'));
    assert.strictEqual(forgotten.next(state, { from: 0, to: 400 }), undefined);
    forgotten.dispose();
    let [told, length] = [0, 400];
    const feed = new RiskMapFeed(() => told++);
    const next = () => feed.next(state, { from: 0, to: length });
    assert.strictEqual(next(), undefined);
    length = grown(3, undefined, state).series.length;
    await until(() => told === 1);
    assert.strictEqual(total(next()!.counts), 400);
    await until(() => told === 2); // of what came meanwhile
    assert.strictEqual(total(next()!.counts), 406); // two rows each
  });
});

describe('the rows of a range of steps', () => {
  const seen = [
    rows({ line: [3, 9], hash: ['a', 'b'], file: [0, 0], risk: [0.1, 0.9], beta: [0, 0.5], nll: [1, 2], kl: [null, 0.4] }),
    rows({ line: [9], hash: ['b'], risk: [null], beta: [1], nll: [4], kl: [0.1] }),
    rows({ line: [3], hash: ['a'], file: [1], nll: [null] }),
  ];

  it('are each listed once, by what they added to the loss', () => {
    const found = aggregateRows(seen, beta => 1 - beta);
    assert.deepStrictEqual(found.map(({ file, line, times }) => [file, line, times]), [
      [0, 9, 2],
      [0, 3, 1],
      [1, 3, 1],
    ]);
    const [b, a, unmeasured] = found;
    assert.deepStrictEqual([b!.riskMax, b!.nllMean], [null, 3]);
    assert.ok(Math.abs(b!.pull - ((0.5 * 0.4) / 2 + 0.1)) < 1e-12, 'without their tokens, rows of a step count alike');
    assert.ok(Math.abs(b!.contribution - ((0.5 * 2 + 0.5 * 0.4) / 2 + 0.1)) < 1e-12);
    assert.deepStrictEqual([a!.riskMax, a!.contribution, unmeasured!.nllMean], [0.1, 0.5, null]);
  });

  it('add to the loss by their tokens: a long row more than a short one of a higher mean', () => {
    const step = rows({ file: [0, 0], line: [3, 9], hash: ['short', 'long'], risk: [0, 0], beta: [0, 0.5], nll: [5, 2], kl: [null, 1], tokens: [2, 498] });
    const [long, short] = aggregateRows([step], () => 1);
    assert.deepStrictEqual([long!.hash, short!.hash], ['long', 'short']);
    assert.ok(Math.abs(long!.contribution - (498 * 2.5) / 500) < 1e-12 && Math.abs(long!.pull - (498 * 0.5) / 500) < 1e-12);
    const loss = (2 * 5 + 498 * (2 + 0.5)) / 500;
    assert.ok(Math.abs(long!.contribution + short!.contribution - loss) < 1e-12, 'together they are the loss');
  });

  it('are ranked by their tokens in the steps that tell them, and by their means in those that do not', () => {
    const step = rows({ file: [0, 0], line: [3, 9], hash: ['short', 'long'], risk: [0, 0], beta: [0, 0], nll: [5, 2], kl: [null, null] });
    assert.deepStrictEqual(aggregateRows([step], () => 1).map(({ hash }) => hash), ['short', 'long']);
    assert.deepStrictEqual(aggregateRows([step, { ...step, tokens: [2, 498] }, { ...step, tokens: [2, 498] }], () => 1).map(({ hash }) => hash), ['long', 'short']);
  });

  it('weigh as their method does', () => {
    const config = (method: RunConfig['method'], form: 'convex' | 'additive') => ({ method, regularisation: { form } }) as RunConfig;
    assert.strictEqual(likelihoodWeight(config('adaptive', 'convex'))(0.25), 0.75);
    assert.strictEqual(likelihoodWeight(config('recommended', 'additive'))(0.25), 1);
    assert.strictEqual(likelihoodWeight(config('kl', 'convex'))(0.3), 1);
    assert.strictEqual(likelihoodWeight(undefined)(0.3), 1);
  });
});

describe('a run that is read again', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'run-'));
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const run = new Run(folder, log);
  before(async () => {
    const lines = Array.from({ length: 3000 }, (_, index) => JSON.stringify(batch(index + 1, { rows: rows({ line: [index + 1] }) })));
    fs.writeFileSync(path.join(folder, 'events.jsonl'), `${lines.join('\n')}\n`);
    run.hold();
    await until(() => run.state.series.length === 3000);
  });
  after(() => {
    run.dispose();
    fs.rmSync(folder, { recursive: true });
  });

  it('gives the rows of a range of steps', async () => {
    const { steps, read } = await run.rowsBetween(10, 12.5, 2000);
    assert.deepStrictEqual([steps, read.map(({ line }) => line[0])], [3, [10, 11, 12]]);
    assert.deepStrictEqual(await run.rowsBetween(5000, 6000, 2000), { steps: 0, read: [] });
    assert.deepStrictEqual((await run.rowsOf(7))?.line, [7]);
    assert.strictEqual(await run.rowsOf(3001), undefined);
  });

  it('gives those of so many steps, evenly among them, where they are more', async () => {
    const { steps, read } = await run.rowsBetween(1, 3000, 2000);
    const lines = read.map(({ line }) => line[0]!);
    assert.deepStrictEqual([steps, read.length, new Set(lines).size], [3000, 2000, 2000]);
    assert.ok(lines.every((line, index) => index === 0 || line - lines[index - 1]! <= 2));
  });

  it('is told of to the page that compares, beside one that is gone', () => {
    const { runs, differences } = runsMessage(['/runs/away', folder], [undefined, run]);
    assert.deepStrictEqual(runs[0], { folder: '/runs/away', id: 'away', name: 'away', status: null, before: null, after: null });
    assert.deepStrictEqual([runs[1]?.id, runs[1]?.after], [path.basename(folder), null]);
    assert.deepStrictEqual(differences, []);
  });
});

describe('CSV', () => {
  /** The cells of a line, as RFC 4180 has it. */
  const parse = (line: string): string[] => {
    const cells: string[] = [];
    for (let rest = `,${line.slice(0, -2)}`; rest; ) {
      const [whole, quoted, plain] = /^,(?:"((?:[^"]|"")*)"|([^,"\r\n]*))/.exec(rest)!;
      cells.push(quoted?.replaceAll('""', '"') ?? plain!);
      rest = rest.slice(whole.length);
    }
    return cells;
  };

  it('gives every text back', () => {
    const texts = fc.array(fc.string({ unit: fc.constantFrom('a', '"', ',', '\r', '\n', ' ', 'β') }), { minLength: 2, maxLength: 5 });
    fc.assert(fc.property(texts, cells => assert.deepStrictEqual(parse(csvLine(cells)), cells)));
  });

  it('leaves empty what is missing', () => assert.strictEqual(csvLine([1, null, NaN, 1e-7]), '1,,,1e-7\r\n'));

  it('holds every step of the range', () => {
    const { series } = grown(5000, step => ({ total: step / 2 }));
    const lines = [...seriesLines(series, ['total', 'kl'], stepsIn(series, { axis: 'step', range: [10, 12] }))];
    assert.deepStrictEqual(lines, [['step', 'total', 'kl'], [10, 5, NaN], [11, 5.5, NaN], [12, 6, NaN]]);
    assert.deepStrictEqual(stepsIn(series, { axis: 'epoch', range: [0.1, 0.125] }), { from: 9, to: 12 });
    assert.strictEqual([...seriesLines(series, ['total'], stepsIn(series, { axis: 'step', range: null }))].length, 5001);
    const tenths = grown(3, step => ({ total: step / 10 })).series;
    assert.deepStrictEqual([...seriesLines(tenths, ['total'], { from: 0, to: 3 })].slice(1), [[1, 0.1], [2, 0.2], [3, 0.3]]);
    assert.deepStrictEqual([...riskLines(series, stepsIn(series, { axis: 'step', range: [3, 3] }))][1], [3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
  });

  it('is written whole or not at all', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csv-'));
    const file = path.join(folder, 'a.csv');
    await writeCsv(file, [['a', 'b'], [1, 2]], new AbortController().signal);
    assert.strictEqual(fs.readFileSync(file, 'utf8'), 'a,b\r\n1,2\r\n');
    const broken = function* () {
      yield [1];
      throw new Error('x');
    };
    await assert.rejects(writeCsv(file, broken(), new AbortController().signal), /x/);
    assert.deepStrictEqual([fs.readdirSync(folder), fs.readFileSync(file, 'utf8')], [['a.csv'], 'a,b\r\n1,2\r\n']);
    fs.rmSync(folder, { recursive: true });
  });
});

describe('the picture of a chart', () => {
  const spec: ChartSpec<'total' | 'rate'> = {
    title: 'Loss & rate',
    logarithmic: true,
    lines: [
      { key: 'total', label: 'total', colour: '--vscode-charts-blue', format: String },
      { key: 'rate', label: 'rate', colour: '--vscode-charts-foreground', dash: [4, 3], ownScale: true, exact: true, format: String },
    ],
  };
  const data = { x: [1, 2, 3, 4], values: { total: [9, 8, null, 6], rate: [1, 1, 2, 2] }, smoothed: { total: [9, 8.5, null, 7], rate: [5, 5, 5, 5] } };
  const of = (shown: Partial<Shown<'total' | 'rate'>>) => pictureOf(spec, { data, range: null, level: null, display: { logarithmic: false, clipped: false }, axis: { title: 'Step', word: 'step', format: String }, ...shown });

  it('has what is shown: the range, smoothed but for what has no noise, and the reference', () => {
    const svg = of({ range: [2, 4], level: 5 });
    assert.match(svg, /^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    assert.match(svg, /<title>Loss &amp; rate<\/title>/);
    for (const said of ['Step', 'total', 'rate', 'reference', '8.5', '7']) assert.ok(svg.includes(said), said);
    assert.doesNotMatch(svg, /NaN|undefined/);
  });

  it('is logarithmic where the chart is', () => assert.notStrictEqual(of({ display: { logarithmic: true, clipped: false } }), of({})));
});

describe('the configurations of runs', () => {
  const config = (changes: object) => ({ $schema: null, model: 'm', method: 'adaptive', anchors: null, training: { epochs: 1, learningRate: 2e-4 }, ...changes }) as unknown as RunConfig;

  it('are told apart by the settings that differ', () => {
    const [a, b] = [config({}), config({ $schema: 'x', method: 'standard', anchors: { perStep: 2 }, training: { epochs: 2, learningRate: 2e-4 } })];
    assert.deepStrictEqual(configDifferences([a, b]), [
      { path: 'method', values: ['adaptive', 'standard'] },
      { path: 'anchors', values: ['null', null] },
      { path: 'training.epochs', values: ['1', '2'] },
      { path: 'anchors.perStep', values: [null, '2'] },
    ]);
    assert.deepStrictEqual(configDifferences([a, a]), []);
  });

  it('of a run that has none differ in nothing', () => {
    assert.deepStrictEqual(configDifferences([config({}), undefined]), []);
    assert.deepStrictEqual(configDifferences([undefined, config({}), config({ model: 'n' })]), [{ path: 'model', values: [null, 'm', 'n'] }]);
  });

  it('are flat by their paths, lists as one value', () => {
    assert.deepStrictEqual([...flatten({ a: { b: [1, 'x'], c: 'y' }, d: false })], [['a.b', '[1,"x"]'], ['a.c', 'y'], ['d', 'false']]);
  });
});

describe('runs over each other', () => {
  const run = (state: RunState, axis: Look['axis'] = 'step') => {
    const { columns, smoothed, extent } = new SeriesFeed(['step', 'epoch', 'time', 'total', 'nll', 'riskMean', 'betaMean', 'canary', 'learningRate'], { axis, range: null, smoothing: 0 }).next(state)!;
    return { values: columns, smoothed, extent } satisfies RunColumns;
  };

  it('share an axis; a missing value stays a gap, the point of another run is none', () => {
    const short = run(grown(2, step => ({ total: step })));
    const state = new RunState();
    for (const step of [2, 4]) state.apply(at(batch(step, { total: step === 2 ? null : 40 })));
    const { x, values } = layOver([short, undefined, run(state)], 'step');
    assert.deepStrictEqual(x, [1, 2, 4]);
    assert.deepStrictEqual(values['0:total'], [1, 2, undefined]);
    assert.deepStrictEqual(values['2:total'], [undefined, null, 40]);
    assert.deepStrictEqual(extentOf([short, undefined, run(state)]), [1, 4]);
  });

  it('count the time that they trained, whatever a clock said of it', () => {
    const timed = (times: number[], seconds: (step: number) => number) => {
      const state = new RunState();
      times.forEach((ts, index) => state.apply(at(batch(index + 1, { ts, total: index, stepSeconds: seconds(index + 1) }))));
      return state;
    };
    const year = 3.2e10;
    const jumping = timed([5000, 6000, 6000 + year, 5500, 7000], () => 2);
    const { x, values } = layOver([run(jumping, 'time'), run(timed([90_000, 91_000], step => 3 * step), 'time')], 'time');
    assert.deepStrictEqual(x, [2000, 3000, 4000, 6000, 8000, 9000, 10_000]);
    assert.deepStrictEqual(values['0:total'], [0, undefined, 1, 2, 3, undefined, 4]);
    assert.deepStrictEqual(values['1:total'], [undefined, 0, undefined, undefined, undefined, 1, undefined]);
    assert.deepStrictEqual(stepsIn(jumping.series, { axis: 'time', range: [4000, 8000] }), { from: 1, to: 4 });
  });

  it('count it on after a night, and from where it was taken back; a script’s steps all', () => {
    const state = grown(4, () => ({ stepSeconds: 1 }));
    state.apply(at(attempt(2, 2)));
    state.apply(at(batch(3, { ts: 1e12, stepSeconds: 5 })));
    const times = ({ series }: RunState) => Array.from({ length: series.length }, (_, index) => series.at('time', index));
    assert.deepStrictEqual(times(state), [1000, 2000, 7000]);
    const script = new RunState();
    script.apply(at(attempt(1, 100)));
    for (const step of [110, 120, 125]) script.apply(at(batch(step, { stepSeconds: 0.5 })));
    assert.deepStrictEqual(times(script), [5000, 10_000, 12_500]);
    const odd = grown(3, step => ({ stepSeconds: [1, -4, Infinity][step - 1]! }));
    assert.deepStrictEqual(times(odd), [1000, 1000, 1000]);
  });
});

describe('values that are drawn', () => {
  it('are gaps on a logarithmic scale where they are not above 0', () => {
    assert.deepStrictEqual(positive([1, 0, -2, null, undefined]), [1, null, null, null, undefined]);
  });

  it('have percentiles by their nearest rank', () => {
    assert.deepStrictEqual(percentiles(Array.from({ length: 200 }, (_, index) => index), [0.01, 0.99]), [1, 197]);
    assert.deepStrictEqual(percentiles([3], [0.01, 0.99]), [3, 3]);
    assert.strictEqual(percentiles([], [0.01, 0.99]), null);
  });

  it('grow along their axis', () => assert.deepStrictEqual(growing([1, 1, 3, 2, NaN, 4]), [0, 2, 5]));
});
