import assert from 'node:assert';
import fc from 'fast-check';
import { Smoother } from '../../src/views/smoothing';

const smooth = (weight: number, values: readonly (number | null)[]) => {
  const smoother = new Smoother(weight);
  return values.map(value => smoother.next(value));
};

describe('Smoother', () => {
  it('begins at the first value, not at nothing', () => {
    const [first, second] = smooth(0.9, [5, 5]) as [number, number];
    assert.ok(Math.abs(first - 5) < 1e-9 && Math.abs(second - 5) < 1e-9);
  });

  it('weighs what came before', () => {
    const [, second, third] = smooth(0.5, [0, 3, 3]) as number[];
    assert.ok(Math.abs(second! - 2) < 1e-12); // (0.25·0 + 0.5·3) / 0.75
    assert.ok(Math.abs(third! - (0.25 * 3 + 0.5 * 3) / 0.875) < 1e-12);
  });

  it('keeps gaps, which do not count', () => {
    const values = smooth(0.5, [1, null, NaN, 3]);
    assert.deepStrictEqual(values.slice(1, 3), [null, null]);
    assert.strictEqual(values[3], smooth(0.5, [1, 3])[1]);
  });

  it('changes nothing without weight', () => {
    assert.deepStrictEqual(smooth(0, [4, -1, null, 7]), [4, -1, null, 7]);
  });

  it('stays between the lowest and the highest value', () => {
    const values = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(values, fc.double({ min: 0, max: 0.99, noNaN: true }), (given, weight) => {
        const [low, high] = [Math.min(...given), Math.max(...given)];
        for (const value of smooth(weight, given)) assert.ok(value! >= low - 1e-6 && value! <= high + 1e-6);
      }),
    );
  });

  it('forgets what lies far back', () => {
    const tail = Array.from({ length: 88 }, (_, index) => Math.sin(index));
    const [far, near] = [smooth(0.9, [1000, ...tail]).at(-1)!, smooth(0.9, tail).at(-1)!];
    assert.ok(Math.abs(far - near) < 1000 * 2e-4);
  });
});
