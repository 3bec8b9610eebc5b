/** How charts are drawn, without a canvas. */
import assert from 'node:assert';
import fc from 'fast-check';
import { isShown } from '../../media/charts/chartSpec';
import { shortNumbers, valueAt } from '../../media/charts/drawing';
import { trace, type Line } from '../../media/charts/linePath';
import { pictureOf } from '../../media/charts/picture';
import { canaryChart, gpuChart } from '../../media/charts/specs';
import { Turns } from '../../media/charts/turns';
import { withGaps, type Cell } from '../../media/charts/values';
import { RunState } from '../../src/trainerHost/runState';
import type { SeriesMessage } from '../../src/views/chartProtocol';
import { SeriesFeed } from '../../src/views/monitorModel';
import { at, batch } from './batches';

type Step = ['M' | 'L', number, number];

/** The strokes of a line whose values are pixels already, `perColumn` of them to a column. */
function strokes(values: readonly Cell[], { perColumn = 1, ...options }: Partial<Line> & { perColumn?: number } = {}) {
  const steps: Step[] = [];
  const pen = { moveTo: (x: number, y: number) => steps.push(['M', x, y]), lineTo: (x: number, y: number) => steps.push(['L', x, y]) };
  const x = (index: number) => Math.floor(index / perColumn);
  const travelled = trace(pen, { from: 0, to: values.length - 1, ends: [0, x(values.length)], x, y: index => values[index], ...options });
  return { steps, travelled };
}

describe('the chart of the GPU', () => {
  const shownFor = (...loads: (number | null)[]) => {
    const state = new RunState();
    loads.forEach((gpuLoad, index) => state.apply(at(batch(index + 1, { gpuLoad }))));
    return isShown(gpuChart, { values: new SeriesFeed(['step', 'gpuLoad']).next(state)!.columns });
  };

  it('is there only where its load was read, if only once, and be it none', () => {
    assert.deepStrictEqual([shownFor(null, null), shownFor(null, 0.93), shownFor(0)], [false, true, true]);
  });
});

describe('the numbers on an axis', () => {
  it('have as few digits as tell them apart', () => {
    assert.deepStrictEqual(shortNumbers([0, 0.25, 0.5]), ['0', '0.25', '0.5']);
    assert.deepStrictEqual(shortNumbers([11.65, 11.7, 11.75]), ['11.65', '11.7', '11.75']);
    assert.deepStrictEqual(shortNumbers([1000, 2500, 12_000]), ['1k', '2.5k', '12k']);
    assert.deepStrictEqual(shortNumbers([10_020, 10_040]), ['10.02k', '10.04k']);
    assert.deepStrictEqual(shortNumbers([0.00012, 0.00014]), ['1.2e-4', '1.4e-4']);
  });

  it('differ where they do', () => {
    fc.assert(
      fc.property(fc.integer({ min: -5000, max: 5000 }), fc.constantFrom(1e-4, 0.01, 0.25, 1, 50), fc.integer({ min: 2, max: 9 }), (first, step, count) => {
        const ticks = Array.from({ length: count }, (_, index) => (first + index) * step);
        assert.strictEqual(new Set(shortNumbers(ticks)).size, count);
      }),
    );
  });
});

describe('the line of the canary', () => {
  const asked = (step: number) => ({ canary: step % 2 ? null : 10 * step, notFinite: step === 4 ? ['canary'] : [] });
  const state = new RunState();
  for (let step = 1; step <= 8; step++) state.apply(at(batch(step, { ...asked(step), ...(step === 4 && { canary: null }) })));

  it('goes through where it was not asked, and has a gap where its value was no number', () => {
    const { columns, gaps } = JSON.parse(JSON.stringify(new SeriesFeed(['step', 'total', 'canary']).next(state))) as SeriesMessage<'step' | 'total' | 'canary'>;
    const { canary, total } = withGaps(columns, gaps);
    assert.deepStrictEqual(canary, [undefined, 20, undefined, null, undefined, 60, undefined, 80]);
    assert.deepStrictEqual(strokes(canary).steps, [['M', 1, 20], ['M', 5, 60], ['L', 7, 80]]);
    assert.deepStrictEqual(canary.map((_, index) => valueAt(canary, index)), [null, 20, 20, null, null, 60, 60, 80], 'what is said beside the chart');
    assert.strictEqual(total, columns.total);
  });

  it('is a picture with the same gap', () => {
    const data = { x: [1, 2, 3, 4, 5, 6, 7, 8], values: { canary: [undefined, 20, undefined, null, undefined, 60, undefined, 80] }, smoothed: null };
    const svg = pictureOf(canaryChart, { data, range: null, level: null, display: { logarithmic: false, clipped: false }, axis: { title: 'Step', word: 'step', format: String } });
    const [line] = [...svg.matchAll(/class="chart-line chart-blue" d="([^"]*)"/g)].map(([, path]) => path!).slice(-1);
    assert.deepStrictEqual([line!.match(/M/g)!.length, line!.match(/L/g)!.length], [1, 1], 'from the third value to the fourth, and from none to the second');
  });
});

describe('the path of a line', () => {
  it('keeps the lowest and the highest value of every column of pixels, and where the line comes in and goes out', () => {
    const values = fc.array(fc.integer({ min: 0, max: 150 }), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(values, fc.integer({ min: 1, max: 40 }), (ys, perColumn) => {
        const { steps } = strokes(ys, { perColumn });
        for (let column = 0; column * perColumn < ys.length; column++) {
          const [all, drawn] = [ys.slice(column * perColumn, (column + 1) * perColumn), steps.filter(([, x]) => x === column).map(([, , y]) => y)];
          assert.deepStrictEqual([Math.min(...drawn), Math.max(...drawn), drawn[0], drawn.at(-1)], [Math.min(...all), Math.max(...all), all[0], all.at(-1)]);
          assert.ok(drawn.length <= 4);
        }
      }),
    );
  });

  it('does not lose one value among a hundred thousand', () => {
    const values = Array.from({ length: 100_000 }, (_, index) => (index === 54_321 ? 3 : 80));
    const { steps } = strokes(values, { perColumn: 200 });
    assert.deepStrictEqual(steps.filter(([, , y]) => y === 3), [['L', 271, 3]]);
    assert.ok(steps.length < 510);
  });

  it('ends at a gap and begins anew behind it, and goes through where it has no point', () => {
    const values = [10, 20, null, 40, undefined, 60];
    assert.deepStrictEqual(strokes(values).steps, [['M', 0, 10], ['L', 1, 20], ['M', 3, 40], ['L', 5, 60]]);
  });

  it('goes no further than to the ends of the plot, at the height that it has there', () => {
    const line = (xs: number[], ys: number[]) => strokes(ys, { ends: [100, 200], x: index => xs[index]! }).steps;
    assert.deepStrictEqual(line([-9900, 150, 10_150], [0, 201, 401]), [['M', 100, 200], ['L', 150, 201], ['L', 200, 202]]);
    assert.deepStrictEqual(line([0, 300], [0, 30]), [['M', 100, 10], ['L', 200, 20]]);
    assert.deepStrictEqual(line([0, 50], [0, 30]), []);
  });

  it('says how far it went up and down', () => {
    assert.strictEqual(strokes([10, 30, 5]).travelled, 45);
    assert.strictEqual(strokes([10, 30, 5, 5], { perColumn: 4 }).travelled, 45);
    assert.strictEqual(strokes([10, null, 30]).travelled, 0);
  });
});

describe('turns of drawing', () => {
  const saved = globalThis.requestAnimationFrame;
  let frames: (() => void)[] = [];
  beforeEach(() => {
    frames = [];
    globalThis.requestAnimationFrame = callback => frames.push(() => callback(0));
  });
  after(() => (globalThis.requestAnimationFrame = saved));

  const nextFrame = () => frames.splice(0).forEach(frame => frame());
  const long = () => {
    const until = performance.now() + 5;
    while (performance.now() < until) continue;
  };
  const drawn: string[] = [];
  const chart = (name: string, { isUsed = false, again = () => {} } = {}) => ({
    isUsed,
    update: () => {
      drawn.push(name);
      long();
      again();
    },
  });
  beforeEach(() => drawn.splice(0));

  it('are taken once however often they were asked for, long ones each in a frame of its own', () => {
    const [turns, charts] = [new Turns(), ['a', 'b', 'c'].map(name => chart(name))];
    for (const one of [...charts, ...charts]) turns.ask(one);
    assert.deepStrictEqual(drawn, [], 'not before the frame');
    nextFrame();
    assert.deepStrictEqual(drawn, ['a']);
    nextFrame();
    nextFrame();
    assert.deepStrictEqual([drawn, frames.length], [['a', 'b', 'c'], 0]);
  });

  it('are first those of the chart that is used', () => {
    const turns = new Turns();
    for (const one of [chart('a'), chart('b', { isUsed: true })]) turns.ask(one);
    nextFrame();
    assert.deepStrictEqual(drawn, ['b']);
  });

  it('come round while everything changes all the time', () => {
    const turns = new Turns();
    const charts = ['a', 'b', 'c'].map(name => chart(name));
    for (let frame = 0; frame < 6; frame++) {
      for (const one of charts) turns.ask(one);
      nextFrame();
    }
    assert.deepStrictEqual(drawn, ['a', 'b', 'c', 'a', 'b', 'c']);
  });

  it('asked for meanwhile are not taken in the same frame', () => {
    const turns = new Turns();
    const one = chart('a', { again: () => turns.ask(one) });
    turns.ask(one);
    nextFrame();
    assert.deepStrictEqual([drawn, frames.length], [['a'], 1]);
  });
});
