import assert from 'node:assert';
import fc from 'fast-check';
import { scanBatch } from '../../src/protocol/batchLine';
import { LineScan } from '../../src/protocol/lineScan';
import type { Batch } from '../../src/protocol/messages';
import { parseEvent } from '../../src/trainerHost/eventTail';
import { batch } from './batches';
import { inputs } from './inputs';

const scanned = (text: string): Batch | undefined => {
  const bytes = Buffer.from(text);
  return scanBatch(new LineScan(bytes).line(0, bytes.length));
};

/** As it would be had it been parsed. */
const plain = (event: Batch | undefined) => event && { ...event, rows: { ...event.rows, ...(event.rows as Batch['rows'] & { toJSON(): Batch['rows'] }).toJSON() } };

const any = fc.double({ noNaN: true, noDefaultInfinity: true });
const usual = fc.integer({ min: -1e9, max: 1e9 }).map(thousandths => thousandths / 1234.5);
const value = fc.oneof({ arbitrary: any, weight: 1 }, { arbitrary: usual, weight: 150 }, { arbitrary: fc.integer(), weight: 50 });
const nullable = fc.option(value);
const columns = fc.integer({ min: 0, max: 9 }).chain(length => {
  const list = <T>(of: fc.Arbitrary<T>) => fc.array(of, { minLength: length, maxLength: length });
  const hash = fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 16, maxLength: 16 });
  return fc.record({ file: list(fc.nat(3)), line: list(fc.nat()), hash: list(hash), risk: list(nullable), beta: list(value), nll: list(nullable), kl: list(nullable), tokens: list(fc.nat()) });
});
const batches = fc.record({
  ...{ seq: fc.nat(), ts: usual, step: fc.integer({ min: 1 }), totalSteps: fc.integer(), epoch: value, nll: nullable, kl: nullable, anchors: nullable },
  ...{ safetyTokens: nullable, total: nullable, riskMean: value, riskMax: value, betaMean: value, betaMax: value, learningRate: value, gradNorm: nullable },
  ...{ tokens: fc.integer(), tokensPerSecond: value, stepSeconds: value, memoryBytes: fc.integer({ min: 0, max: 1e12 }), gpuLoad: nullable, etaSeconds: nullable, canary: nullable, notFinite: fc.constantFrom<string[]>([], [], [], [], ['canary']), rows: columns },
});
const ordered = (values: Partial<Batch>) => JSON.stringify(batch(1, values));

describe('scanBatch', () => {
  it('reads what the trainer writes, and rows when they are asked for', () => {
    const event = batch(7, { nll: 1.2345678901234567, ts: 1700000000123.456, canary: -3.5 });
    const found = scanned(JSON.stringify(event));
    assert.deepStrictEqual(plain(found), event);
    assert.deepStrictEqual(found?.rows.risk, event.rows.risk);
    assert.deepStrictEqual([found?.rows.hash, found?.rows.tokens], [event.rows.hash, [40, 60]]);
  });

  it('reads any number as JSON.parse does, to the last bit', () => {
    const digits = (length: number) => fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: length });
    const text = fc.tuple(fc.boolean(), fc.oneof(fc.constant('0'), digits(15).map(all => `1${all}`.slice(0, 15))), fc.option(digits(19)));
    const written = text.map(([negative, whole, fraction]) => `${negative ? '-' : ''}${whole}${fraction === null ? '' : `.${fraction}`}`);
    fc.assert(
      fc.property(fc.oneof(written, any.map(String), fc.double({ min: 0, max: 1, noNaN: true }).map(String)), told => {
        const found = scanned(JSON.stringify(batch(1, { epoch: 0.123456789 })).replace('0.123456789', told));
        if (found) assert.ok(Object.is(found.epoch, JSON.parse(told)), told);
        else assert.ok(/e[-+]?\d{3}|\d{16}/.test(told), told);
      }),
      { numRuns: inputs(20_000) },
    );
  });

  it('says of every line what a full parse says, or leaves it to that', function () {
    this.timeout(60_000);
    const damage = fc.record({ at: fc.nat(), cut: fc.nat(3), put: fc.oneof(fc.constantFrom('', ',', '0', '-', '.', 'e5', '"', 'null', '[]', '{}', ' ', '}', '1e999', 'true', 'ä'), fc.string({ maxLength: 3 })) });
    let [quick, refused] = [0, 0];
    fc.assert(
      fc.property(batches, fc.array(damage, { maxLength: 2 }), (values, damages) => {
        let text = ordered(values);
        for (const { at, cut, put } of damages) {
          const place = at % text.length;
          text = text.slice(0, place) + put + text.slice(place + cut);
        }
        const found = scanned(text);
        const parsed = parseEvent(text);
        if (!found) {
          refused++;
          return;
        }
        quick++;
        assert.ok('event' in parsed, text);
        assert.deepStrictEqual(plain(found), parsed.event);
      }),
      { numRuns: inputs(5000) },
    );
    assert.ok(Math.min(quick, refused) > inputs(5000) / 10, `${quick} ${refused}`);
  });

  it('rejects a wrong type wherever it stands', () => {
    const event = batch(1) as unknown as Record<string, unknown>;
    for (const key of Object.keys(event)) {
      for (const wrong of ['x', true, {}, ...(Array.isArray(event[key]) ? [] : [[1]])]) {
        const text = JSON.stringify({ ...event, [key]: wrong });
        assert.strictEqual(scanned(text), undefined, text);
        assert.ok(!('event' in parseEvent(text)), text);
      }
    }
  });
});

describe('parseEvent', () => {
  it('takes NaN and infinity, as Python writes them, for values that are missing', () => {
    const text = JSON.stringify(batch(3, { nll: 111, total: 222 })).replace('111', 'NaN').replace('222', '-Infinity');
    const parsed = parseEvent(text);
    assert.ok('event' in parsed && parsed.event.type === 'batch');
    assert.deepStrictEqual([parsed.event.nll, parsed.event.total], [null, null]);
    const warning = '{"v":1,"seq":NaN,"ts":1,"type":"warning","code":"a","message":"is NaN \\"NaN\\""}';
    assert.ok('reason' in parseEvent(warning));
    const told = parseEvent(warning.replace('"seq":NaN', '"seq":1'));
    assert.ok('event' in told && told.event.type === 'warning' && told.event.message === 'is NaN "NaN"');
  });
});
