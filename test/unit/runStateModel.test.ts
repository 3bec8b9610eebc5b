import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import type { AnyEvent, AttemptStarted, Batch } from '../../src/protocol/messages';
import { EventTail } from '../../src/trainerHost/eventTail';
import { RunState, seriesNames } from '../../src/trainerHost/runState';
import { detailsView, SeriesFeed } from '../../src/views/monitorModel';
import { drawnSeries } from '../../src/views/monitorProtocol';
import type { Run } from '../../src/trainerHost/run';
import { attempt, batch } from './batches';
import { inputs } from './inputs';

/** What a run's events come to, told as simply as can be. */
function reference(events: readonly AnyEvent[]): { steps: Batch[]; repeated: number; attempt: number } {
  let steps: Batch[] = [];
  let [repeated, attempts, lastSeq] = [0, 0, -1];
  for (const event of events) {
    if (event.type === 'attempt_started') {
      if (event.attempt <= attempts) {
        repeated++;
        continue;
      }
      attempts = event.attempt;
      lastSeq = -1;
      steps = steps.filter(({ step }) => step <= event.fromStep);
    }
    if (event.type === 'batch') {
      if (event.seq <= lastSeq) {
        repeated++;
        continue;
      }
      lastSeq = event.seq;
      steps = [...steps.filter(({ step }) => step < event.step), event];
    }
  }
  return { steps, repeated, attempt: attempts };
}

/** Lines of a file, each with what it should count as. */
type Entry = { text: string; event?: AnyEvent; counts?: 'bad' | 'unknown' };

const valueOf = fc.oneof(fc.constant(null), fc.double({ min: -1e6, max: 1e6, noNaN: true }));
const good = (event: AnyEvent): Entry => ({ text: JSON.stringify(event), event });

/** A run with attempts, clocks that jump, and missing values. */
const runs: fc.Arbitrary<Entry[]> = fc
  .array(fc.record({ kind: fc.constantFrom('batch', 'batch', 'batch', 'batch', 'attempt', 'phase'), back: fc.nat(5), skip: fc.nat(2), ts: fc.double({ min: -1e13, max: 1e13, noNaN: true }), value: valueOf, kl: valueOf }), { maxLength: 60 })
  .map(pieces => {
    let [seq, step, attempts] = [0, 0, 0];
    return pieces.map(({ kind, back, skip, ts, value, kl }) => {
      seq++;
      if (kind === 'attempt') {
        step = Math.max(0, step - back);
        return good({ ...attempt(++attempts, step), seq, ts });
      }
      if (kind === 'phase') return good({ v: 1, seq, ts, type: 'phase', phase: 'training', message: '<b>x</b>' });
      step += 1 + skip;
      return good(batch(step, { seq, ts, total: value, nll: value, kl, gradNorm: kl }));
    });
  });

const damaged: fc.Arbitrary<Entry> = fc.constantFrom<Entry>(
  { text: '{"v":1,"seq":3', counts: 'bad' },
  { text: '\u0000\u0000', counts: 'bad' },
  { text: '[]', counts: 'bad' },
  { text: 'null', counts: 'bad' },
  { text: '{"type":"batch"}', counts: 'bad' },
  { text: JSON.stringify(batch(4)).replace('"step":4', '"step":"4"'), counts: 'bad' },
  { text: JSON.stringify(batch(4)).replace('"step":4', '"step":0'), counts: 'bad' },
  { text: JSON.stringify(batch(4)).replace('"riskMax":0.2', '"riskMax":1e999'), event: batch(4, { riskMax: Infinity }) },
  { text: '{"v":1,"seq":1,"ts":1,"type":"<script>"}', counts: 'unknown' },
  { text: '{"v":7,"seq":1,"ts":1,"type":"batch"}', counts: 'unknown' },
  { text: '' },
);

/** With lines that are damaged, repeated, or in another order. */
const files = fc
  .tuple(runs, fc.array(fc.tuple(fc.nat(), damaged), { maxLength: 5 }), fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 5 }), fc.boolean())
  .map(([entries, extra, moves, swaps]) => {
    const all = [...entries];
    for (const [from, to] of moves) {
      const moved = all[from % (all.length || 1)];
      if (!moved) continue;
      if (swaps) all.splice(from % all.length, 1);
      all.splice(to % (all.length + 1), 0, moved);
    }
    for (const [at, entry] of extra) all.splice(at % (all.length + 1), 0, entry);
    return all;
  });

function assertAs(state: RunState, entries: readonly Entry[]): void {
  const expected = reference(entries.flatMap(({ event }) => (event ? [event] : [])));
  const { series } = state;
  assert.strictEqual(series.length, expected.steps.length);
  for (const [index, told] of expected.steps.entries()) {
    for (const name of seriesNames) {
      const value = Number.isFinite(told[name]) ? (told[name] as number) : NaN;
      const kept = name === 'ts' ? Math.round(value) : ['step', 'tokens'].includes(name) ? value : Math.fround(value);
      assert.ok(Object.is(series.at(name, index) + 0, kept + 0), `${name} of step ${told.step}`); // JSON has no −0
    }
    assert.strictEqual(series.indexOf(told.step), index);
  }
  assert.strictEqual(state.attempt?.attempt ?? 0, expected.attempt);
  const counted = (what: 'bad' | 'unknown') => entries.filter(({ counts }) => counts === what).length;
  assert.deepStrictEqual({ ...state.counts }, { bad: counted('bad'), unknown: counted('unknown'), repeated: expected.repeated });
  const missing = (['nll', 'total', 'gradNorm'] as const).map(name => expected.steps.filter(step => step[name] === null).length);
  const infinite = expected.steps.flatMap(step => seriesNames.filter(name => step[name] === Infinity)).length;
  assert.strictEqual(series.missing, missing.reduce((sum, count) => sum + (count < expected.steps.length ? count : 0), infinite));
}

describe('a run that is read from odd events', () => {
  let folder: string;
  beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'odd-events-'))));
  afterEach(() => fs.rmSync(folder, { recursive: true }));

  const read = (file: string, begin: () => RunState) => {
    let state = begin();
    const tail = new EventTail(file, {
      events: events => events.forEach(event => state.apply(event)),
      restarted: () => (state = begin()),
      badLine: () => state.counts.bad++,
      unknownEvent: () => state.counts.unknown++,
      reachedEnd: () => undefined,
    });
    return { tail, state: () => state };
  };

  it('is what a simple reducer says, and what is not understood is counted', async function () {
    this.timeout(120_000);
    await fc.assert(
      fc.asyncProperty(files, fc.array(fc.nat(), { maxLength: 4 }), async (entries, cuts) => {
        const file = path.join(folder, 'events.jsonl');
        fs.rmSync(file, { force: true });
        const { tail, state } = read(file, () => new RunState());
        const bytes = Buffer.from(entries.map(({ text }) => `${text}\n`).join(''));
        const at = cuts.map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b);
        for (const [index, from] of [0, ...at].entries()) {
          fs.appendFileSync(file, bytes.subarray(from, at[index] ?? bytes.length));
          await tail.read();
        }
        tail.dispose();
        assertAs(state(), entries);
      }),
      { numRuns: inputs(100) },
    );
  });

  it('begins again with a file that was replaced or written over', async function () {
    this.timeout(120_000);
    await fc.assert(
      fc.asyncProperty(files, files, fc.boolean(), async (before, after, replaced) => {
        const file = path.join(folder, 'events.jsonl');
        const write = (entries: Entry[], to: string) => fs.writeFileSync(to, entries.map(({ text }) => `${text}\n`).join(''));
        write(before, file);
        const { tail, state } = read(file, () => new RunState());
        await tail.read();
        assertAs(state(), before);
        const feed = new SeriesFeed(drawnSeries);
        feed.next(state());
        write(after, `${file}.new`);
        if (replaced) fs.renameSync(`${file}.new`, file);
        else write(after, file);
        await tail.read();
        tail.dispose();
        assertAs(state(), after);
      }),
      { numRuns: inputs(60) },
    );
  });

  it('tells once what could not be understood, and how many values are missing', () => {
    const state = new RunState();
    state.counts.unknown = 1234;
    state.counts.bad = 1;
    for (let step = 1; step <= 10; step++) state.apply({ event: batch(step, { nll: step % 2 ? null : 1, gradNorm: null }), offset: 0, length: 0 });
    const run = { state, meta: {}, logTail: [] } as unknown as Run;
    assert.deepStrictEqual(detailsView(run).warnings.map(({ message }) => message), [
      'Written by a newer version: 1,234 events were not understood.',
      '1 line of events.jsonl was no event and was left out.',
      '5 values are missing: they were not finite numbers. The charts have gaps there.',
    ]);
  });

  it('keeps the later attempt when an earlier one is told again', () => {
    const state = new RunState();
    const tell = (event: AttemptStarted | Batch) => state.apply({ event, offset: 0, length: 0 });
    tell(attempt(1, 0));
    for (let step = 1; step <= 5; step++) tell(batch(step));
    tell(attempt(2, 3));
    tell(batch(4, { seq: 40 }));
    for (const event of [attempt(1, 0), attempt(2, 3), batch(4, { seq: 40 }), batch(2)]) tell(event);
    assert.deepStrictEqual([state.series.length, state.counts.repeated], [4, 4]);
  });
});
