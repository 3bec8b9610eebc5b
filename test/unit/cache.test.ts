import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { ScoreCache, type RowScore } from '../../src/risk/cache';
import { inputs } from './inputs';

const hash = fc.stringMatching(/^[0-9a-f]{16}$/);
const score = fc.record<RowScore>(
  {
    risk: fc.integer({ min: 0, max: 1_000_000 }).map(millionths => millionths / 1_000_000),
    refusal: fc.boolean(),
    messageIndex: fc.nat(),
  },
  { noNullPrototype: true },
);
const half: RowScore = { risk: 0.5, refusal: false, messageIndex: 2 };

describe('the score cache', () => {
  let folder: string;
  let file: string;
  let warnings: string[];
  const log = { info: () => undefined, warn: (message: string) => warnings.push(message), error: () => undefined };

  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'scores-'));
    file = path.join(folder, 'made', 'scores.bin');
    warnings = [];
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function opened(judge = 'judge', capacity?: number): Promise<ScoreCache> {
    const cache = new ScoreCache(file, log, capacity);
    await cache.open(judge);
    return cache;
  }

  it('gives back after a restart what it was given', async () => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(hash, score), fc.boolean(), async (scores, closing) => {
        const cache = await opened();
        for (const [key, value] of Object.entries(scores)) cache.set(key, value);
        if (closing) cache.dispose();
        else await cache.save();
        const next = await opened();
        for (const [key, value] of Object.entries(scores)) assert.deepEqual(next.get(key), value);
        rmSync(path.dirname(file), { recursive: true, force: true });
      }),
      { numRuns: inputs(30) },
    );
    assert.deepEqual(warnings, []);
  });

  it('keeps nothing of another judge, on the disk neither', async () => {
    const cache = await opened('one');
    cache.set('0'.repeat(16), half);
    await cache.open('two');
    assert.equal(cache.get('0'.repeat(16)), undefined);
    cache.set('1'.repeat(16), half);
    await cache.save();
    const next = await opened('one');
    assert.equal(next.get('0'.repeat(16)), undefined);
    assert.equal(next.get('1'.repeat(16)), undefined);
  });

  it('drops what has not been used for long when it is full, and no more than a quarter', async () => {
    const perPart = 100;
    const cache = await opened('judge', 256 * perPart);
    const key = (index: number): string => `00${index.toString(16).padStart(14, '0')}`; // all in one part
    for (let index = 0; index < perPart; index++) cache.set(key(index), half);
    for (let index = 0; index < 10; index++) cache.get(key(index));
    cache.set(key(perPart), half);
    const left = Array.from({ length: perPart + 1 }, (_, index) => index).filter(index => cache.get(key(index)));
    const used = Array.from({ length: 10 }, (_, index) => index);
    assert.deepEqual(left, [...used, ...Array.from({ length: 66 }, (_, index) => 35 + index)]);
    cache.dispose();
  });

  it('holds as many rows as a large dataset has', async function () {
    this.timeout(30_000);
    const cache = await opened();
    const rows = 300_000;
    const key = (index: number): string => createHash('sha256').update(String(index)).digest('hex').slice(0, 16);
    for (let index = 0; index < rows; index++) cache.set(key(index), { risk: (index % 1000) / 1000, refusal: index % 2 === 0, messageIndex: index });
    await cache.save();
    const next = await opened();
    for (let index = 0; index < rows; index += 97) {
      assert.deepEqual(next.get(key(index)), { risk: (index % 1000) / 1000, refusal: index % 2 === 0, messageIndex: index });
    }
    assert.equal(next.get(key(rows)), undefined);
  });

  it('discards a damaged file with a word about it, wherever the damage is', async () => {
    const cache = await opened();
    cache.set('0123456789abcdef', half);
    cache.set('fedcba9876543210', { risk: 1, refusal: true, messageIndex: 0 });
    await cache.save();
    const whole = readFileSync(file);
    const flipped = (at: number): Buffer => Buffer.from(whole.map((byte, index) => (index === at ? byte ^ 4 : byte)));
    const damages = [Buffer.from(''), Buffer.from('PNG'), whole.subarray(0, -5), Buffer.concat([whole, whole.subarray(-32)]), ...[...whole.keys()].map(flipped)];
    for (const damaged of damages) {
      warnings = [];
      writeFileSync(file, damaged);
      const next = await opened();
      assert.equal(next.get('0123456789abcdef'), undefined, damaged.toString('latin1'));
      assert.match(warnings[0]!, /scores\.bin is damaged/);
    }
  });

  it('leaves no file beside it, and says so where nothing can be written', async () => {
    const cache = await opened();
    cache.set('0123456789abcdef', half);
    await cache.save();
    assert.deepEqual(readdirSync(path.dirname(file)), ['scores.bin']);
    rmSync(path.dirname(file), { recursive: true });
    writeFileSync(path.dirname(file), 'a file in the place of the folder');
    cache.set('fedcba9876543210', half);
    await cache.save();
    assert.match(warnings[0]!, /cannot be written/);
    assert.deepEqual(cache.get('fedcba9876543210'), half);
  });
});
