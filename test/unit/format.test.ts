import assert from 'node:assert';
import { bytes, decimal, duration, exponent, hundredths, integer, percent, signed } from '../../src/common/format';

describe('numbers in the monitor', () => {
  const cases: [string, string][] = [
    [decimal(1.23456), '1.235'],
    [decimal(0), '0.000'],
    [decimal(0.00001234), '1.2e-5'],
    [decimal(123.456), '123.5'],
    [decimal(null), '–'],
    [decimal(NaN), '–'],
    [hundredths(0.5), '0.50'],
    [exponent(0.0002), '2.0e-4'],
    [integer(12345.6), '12,346'],
    [bytes(3_420_000_000), '3.42 GB'],
    [bytes(52_000_000), '52 MB'],
    [duration(59.6), '1 min 00 s'],
    [duration(7260), '2 h 01 min'],
    [duration(null), '–'],
    [percent(0.004), '0.4 %'],
    [percent(0.254), '25 %'],
    [signed(-0.89, 2), '−0.89'],
    [signed(0.2, 0), '±0'],
    [signed(3, 0), '+3'],
  ];
  for (const [got, wanted] of cases) it(wanted, () => assert.strictEqual(got, wanted));
});
