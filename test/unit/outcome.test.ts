/** What the list of runs says of one that nobody has followed. */
import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { AnyEvent, Evaluated } from '../../src/protocol/messages';
import { readOutcome } from '../../src/trainerHost/outcome';
import { attempt, batch, measurement } from './batches';

describe('what a run has come to', () => {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'outcome-')), 'events.jsonl');
  after(() => fs.rmSync(path.dirname(file), { recursive: true }));
  const evaluation = (model: Evaluated['model'], answered: number): Evaluated => {
    const { metrics, seconds } = measurement(1, answered);
    return { v: 1, seq: 9, ts: 9, type: 'evaluation', model, metrics, seconds };
  };
  const outcomeOf = async (...events: AnyEvent[]) => {
    fs.writeFileSync(file, events.map(event => `${JSON.stringify(event)}\n`).join(''));
    const { loss, attackSuccess } = await readOutcome(file);
    return [loss, attackSuccess];
  };

  it('is the loss of its last step, and how often the result was made to answer', async () => {
    const steps = Array.from({ length: 2000 }, (_, index) => batch(index + 1, { total: index + 1 })); // longer than what is read
    assert.deepStrictEqual(await outcomeOf(attempt(1, 0), evaluation('before', 2), ...steps, evaluation('after', 30)), [2000, 0.3]);
    assert.deepStrictEqual(await outcomeOf(attempt(1, 0), evaluation('before', 2), batch(1, { total: 5 })), [5, null], 'not measured');
    assert.deepStrictEqual(await outcomeOf(attempt(1, 0), batch(1, { total: null })), [null, null], 'no number');
  });

  it('is not that of an earlier attempt', async () => {
    const first = [attempt(1, 0), batch(9, { total: 5 }), evaluation('after', 30)];
    assert.deepStrictEqual(await outcomeOf(...first, attempt(2, 4)), [null, null]);
    assert.deepStrictEqual(await outcomeOf(...first, attempt(2, 4), batch(5, { total: 7 })), [7, null]);
  });

  it('is not known where there is nothing to read', async () => {
    assert.deepStrictEqual(await outcomeOf(), [null, null]);
    fs.writeFileSync(file, '{"torn');
    assert.deepStrictEqual(await readOutcome(file), { loss: null, attackSuccess: null });
    fs.rmSync(file);
    assert.deepStrictEqual(await readOutcome(file), { loss: null, attackSuccess: null });
  });
});
