import assert from 'node:assert/strict';
import fc from 'fast-check';
import { blockLength, Column } from '../../src/trainerHost/column';
import { inputs } from './inputs';

const bytesIn = (column: Column, blocks: number): number[] =>
  Array.from({ length: blocks }, (_, number) => column.stored(number, blockLength)?.bytes.length ?? 0);

const filled = (values: Iterable<number>, column = new Column('exact')): Column => {
  let index = 0;
  for (const value of values) column.set(index++, value);
  return column;
};

/** As an index writes it and reads it again. */
function copied(column: Column, length: number): Column {
  const copy = new Column(column.precision);
  for (let number = 0; number * blockLength < length; number++) {
    const block = column.stored(number, Math.min(blockLength, length - number * blockLength));
    if (block) copy.reserve(number, length - number * blockLength, { ...block, bytes: block.bytes.length })!.set(block.bytes);
  }
  return copy;
}

describe('an exact column', () => {
  const few = fc.array(fc.oneof(fc.nat(300), fc.nat(70_000), fc.maxSafeInteger(), fc.double({ noNaN: true, noDefaultInfinity: true })), { maxLength: 20 });

  it('gives back every number as it was set, whatever came before and after it', () => {
    fc.assert(
      fc.property(few, values => {
        const at = (index: number): number => blockLength - 10 + index; // on both sides of a block's end
        const column = new Column('exact');
        values.forEach((value, index) => column.set(at(index), value));
        const copy = copied(column, blockLength * 2);
        values.forEach((value, index) => {
          assert.equal(column.get(at(index)), value + 0);
          assert.equal(copy.get(at(index)), value + 0);
        });
        assert.equal(column.get(0), 0);
      }),
      { numRuns: inputs(50) },
    );
  });

  it('goes on after numbers are set anew', () => {
    fc.assert(
      fc.property(few, few, (before, after) => {
        const column = filled(after, filled(before));
        assert.deepEqual(after.map((_, index) => column.get(index)), after.map(value => value + 0));
      }),
    );
  });

  it('takes as few bytes as the numbers of a block differ by', () => {
    const times = Array.from({ length: blockLength + 1 }, (_, index) => 1_700_000_000_000 + index);
    assert.deepEqual(bytesIn(filled(times), 1), [2 * blockLength]);
    assert.deepEqual(bytesIn(filled(times.map(time => time % 200)), 1), [blockLength]);
    assert.deepEqual(bytesIn(filled(times.map((_, index) => 1500 * index)), 1), [4 * blockLength]);
    assert.deepEqual(bytesIn(filled(times.map(time => time + 0.5)), 1), [8 * blockLength]);
    assert.deepEqual(bytesIn(filled(times.map(() => 0)), 1), [0]);
  });

  it('is not packed anew by each of many numbers that fall', function () {
    this.timeout(5000); // some hours if it were
    const column = filled(Array.from({ length: 3 * blockLength }, (_, index) => 1e12 - index));
    assert.equal(column.get(3 * blockLength - 1), 1e12 - 3 * blockLength + 1);
  });

  it('leaves no room for what is not its own', () => {
    const column = new Column('exact');
    assert.equal(column.reserve(0, 10, { kind: 'float32', base: 0, bytes: 8 }), undefined);
    assert.equal(column.reserve(0, 10, { kind: 'uint8', base: NaN, bytes: 8 }), undefined);
    assert.equal(column.reserve(0, 10, { kind: 'uint16', base: 0, bytes: 22 }), undefined, 'too many');
    assert.equal(column.reserve(0, 10, { kind: 'uint16', base: 0, bytes: 3 }), undefined, 'half a number');
    assert.equal(column.reserve(0, 10, { kind: 'toString' as 'uint8', base: 0, bytes: 8 }), undefined);
    assert.equal(column.reserve(0, 10, { kind: 'uint16', base: 0, bytes: 20 })?.length, 20);
    assert.equal(column.reserve(0, 10, { kind: 'uint16', base: 0, bytes: 20 }), undefined, 'there is one');
    assert.equal(new Column('float32').reserve(0, 10, { kind: 'uint8', base: 0, bytes: 8 }), undefined);
  });
});
