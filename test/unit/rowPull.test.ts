import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { stepsOfRow } from '../../src/trainerHost/batches';
import { readRowPulls } from '../../src/trainerHost/rowPull';
import { attempt, batch, stateOf } from './batches';

describe('how far rows pulled the model', () => {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'pull-')), 'events.jsonl');
  const step = (number: number, rows: [file: number, hash: string, kl: number | null][]) => {
    const { risk, beta, nll, line, tokens } = batch(1).rows;
    return batch(number, { rows: { risk, beta, nll, line, tokens, file: rows.map(([of]) => of), hash: rows.map(([, hash]) => hash), kl: rows.map(([, , kl]) => kl) } });
  };

  const read = () => readRowPulls(file, stateOf(file).series);

  it('is their mean KL over the run, beside the median row', async () => {
    const events = [
      attempt(1, 0),
      step(1, [[0, 'a', 0.2], [0, 'b', null], [1, 'a', 1]]),
      step(2, [[0, 'a', 0.4], [0, 'c', 0.1], [0, 'd', 0.3]]),
      step(3, [[0, 'a', 100]]),
      attempt(2, 2), // step 3 was taken back
      step(3, [[0, 'c', 0.1], [0, 'b', null]]),
    ];
    fs.writeFileSync(file, events.map(event => `${JSON.stringify(event)}\n`).join('') + '{"type":"batch","rows":');
    const pulls = await read();
    const found = [...pulls].flatMap(([of, rows]) => [...rows].map(([hash, { kl, timesMedian }]) => [of, hash, +kl.toFixed(6), +timesMedian.toFixed(6)]));
    assert.deepEqual(found, [[0, 'a', 0.3, 1], [0, 'c', 0.1, 0.333333], [0, 'd', 0.3, 1], [1, 'a', 1, 3.333333]]);
  });

  it('is nothing where no row was held near the reference', async () => {
    fs.writeFileSync(file, `${JSON.stringify(step(1, [[0, 'a', null]]))}\n`);
    assert.equal((await read()).size, 0);
  });

  it('can be told of one row, from the steps that still count', async () => {
    const events = [attempt(1, 0), step(1, [[0, 'a', 1], [0, 'b', null]]), step(2, [[0, 'b', 2], [1, 'a', 3]]), step(3, [[0, 'a', 4]]), attempt(2, 2), step(3, [[0, 'c', 5]])];
    fs.writeFileSync(file, events.map(event => `${JSON.stringify(event)}\n`).join(''));
    const { series } = stateOf(file);
    const ofA = await stepsOfRow(file, series, 'a', of => of === 0);
    assert.deepEqual(ofA.map(({ step: number, kl }) => [number, kl]), [[1, 1]]);
    assert.deepEqual((await stepsOfRow(file, series, 'a', () => true)).map(({ step: number }) => number), [1, 2]);
  });
});
