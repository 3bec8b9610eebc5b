import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { AnyEvent } from '../../src/protocol/messages';
import { readNotableRows } from '../../src/trainerHost/notableRows';
import { Run } from '../../src/trainerHost/run';
import { attempt, batch, stateOf } from './batches';

const folder = () => fs.mkdtempSync(path.join(os.tmpdir(), 'notable-'));
const lines = (events: AnyEvent[]): string => events.map(event => `${JSON.stringify(event)}\n`).join('');

describe('the rows of a run that somebody should read', () => {
  const file = path.join(folder(), 'events.jsonl');
  const step = (number: number, rows: [hash: string, line: number, risk: number | null, kl: number | null][]) =>
    batch(number, {
      rows: {
        file: rows.map(() => 0),
        tokens: rows.map(() => 9),
        line: rows.map(([, line]) => line),
        hash: rows.map(([hash]) => hash),
        risk: rows.map(([, , risk]) => risk),
        beta: rows.map(([, , risk]) => risk ?? 1),
        nll: rows.map(() => 1),
        kl: rows.map(([, , , kl]) => kl),
      },
    });

  it('are the riskiest, unscored ones first, and those with the highest mean KL', async () => {
    const events = [attempt(1, 0), step(1, [['a', 1, 0.9, 0.1], ['b', 2, 0, null]]), step(2, [['c', 3, null, 0.4], ['d', 4, 0.3, null]]), step(3, [['a', 1, 0.9, 0.3]])];
    fs.writeFileSync(file, `${lines(events)}{"type":"batch"}\n{"type":"batch","rows":`);
    const { riskiest, hardest } = await readNotableRows(file, stateOf(file).series);
    assert.deepEqual(riskiest.map(({ hash, line, risk }) => [hash, line, risk]), [['c', 3, null], ['a', 1, 0.9], ['d', 4, 0.3]]);
    assert.deepEqual(hardest.map(({ hash, kl }) => [hash, kl]), [['c', 0.4], ['a', 0.2]]);
  });

  it('are twenty at most, of the same risk those that come first in the file', async () => {
    fs.writeFileSync(file, lines([step(1, Array.from({ length: 50 }, (_, index) => [`r${index}`, 50 - index, 0.5, 1] as [string, number, number, number]))]));
    const { riskiest, hardest } = await readNotableRows(file, stateOf(file).series);
    for (const rows of [riskiest, hardest]) assert.deepEqual(rows.map(({ line }) => line), Array.from({ length: 20 }, (_, index) => index + 1));
  });

  it('are not read on when the user has cancelled', async () => {
    fs.writeFileSync(file, lines([step(1, [['a', 1, 1, 1]])]));
    await assert.rejects(readNotableRows(file, stateOf(file).series, AbortSignal.abort()));
    await assert.rejects(readNotableRows(`${file}.gone`, stateOf(file).series), /ENOENT/);
  });
});

describe('reading the events of a run to their end', () => {
  const log = { error: () => undefined, warn: () => undefined, info: () => undefined };

  it('waits for all that there are, and says how far it is', async () => {
    const of = folder();
    fs.writeFileSync(path.join(of, 'events.jsonl'), lines(Array.from({ length: 3000 }, (_, index) => batch(index + 1))));
    const run = new Run(of, log);
    const shares: number[] = [];
    await run.read(new AbortController().signal, share => shares.push(share));
    assert.equal(run.state.series.length, 3000);
    assert.equal(shares.at(-1), 1);
    assert.ok(shares.length > 2 && shares.every((share, index) => share >= (shares[index - 1] ?? 0)));
    await run.read(new AbortController().signal, () => undefined);
    run.dispose();
  });

  it('ends when the user cancels, or where there are none', async () => {
    const of = folder();
    const run = new Run(of, log);
    await run.read(new AbortController().signal, () => undefined);
    fs.writeFileSync(path.join(of, 'events.jsonl'), lines(Array.from({ length: 3000 }, (_, index) => batch(index + 1))));
    const abort = new AbortController();
    const reading = run.read(abort.signal, () => undefined);
    abort.abort();
    await reading;
    run.dispose();
  });
});
