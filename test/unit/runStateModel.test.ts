import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import type { AnyEvent, AttemptStarted, Batch, BudgetExceeded, Measured, SettingsChanged } from '../../src/protocol/messages';
import { EventTail } from '../../src/trainerHost/eventTail';
import { RunState } from '../../src/trainerHost/runState';
import { seriesNames } from '../../src/trainerHost/series';
import { detailsView, SeriesFeed } from '../../src/views/monitorModel';
import { drawnSeries } from '../../src/views/monitorProtocol';
import type { Run } from '../../src/trainerHost/run';
import { attempt, batch, budget, measurement } from './batches';
import { inputs } from './inputs';

/** What a run's events come to, told as simply as can be. */
interface Told {
  steps: Batch[];
  repeated: number;
  attempt: AttemptStarted | undefined;
  /** Of the attempt, by what they are about. */
  newest: Partial<Record<'phase' | 'progress' | 'dataset' | 'checkpoint' | 'canary' | 'before' | 'after' | 'activity' | 'finished', AnyEvent>>;
  interventions: (BudgetExceeded | SettingsChanged)[];
  measurements: Measured[];
  warnings: AnyEvent[];
  acknowledged: AnyEvent[];
}

function reference(events: readonly AnyEvent[]): Told {
  const told: Told = { steps: [], repeated: 0, attempt: undefined, newest: {}, interventions: [], measurements: [], warnings: [], acknowledged: [] };
  const listed = new Set<string>();
  let said: AnyEvent[] = []; // by the attempt
  for (const event of events) {
    const lastOf = (...types: AnyEvent['type'][]) => Math.max(-1, ...said.filter(({ type }) => types.includes(type)).map(({ seq }) => seq));
    const isLate = (): boolean => {
      if (event.type === 'attempt_started') return event.attempt <= (told.attempt?.attempt ?? 0);
      if (event.seq < (told.attempt?.seq ?? 0)) return true;
      if (event.type === 'batch') return event.seq <= lastOf('batch');
      if (['budget', 'settings', 'command_acknowledged', 'warning'].includes(event.type)) return listed.has(JSON.stringify([event.type, event.seq, event.ts]));
      return event.type !== 'heartbeat' && event.seq < (event.type === 'phase' || event.type === 'progress' ? lastOf('phase', 'progress') : lastOf(event.type));
    };
    if (isLate()) {
      told.repeated++;
      continue;
    }
    listed.add(JSON.stringify([event.type, event.seq, event.ts]));
    said.push(event);
    switch (event.type) {
      case 'attempt_started': {
        const { fromStep } = event;
        const { dataset, checkpoint, canary, before } = told.newest;
        told.attempt = event;
        told.newest = { ...(dataset && { dataset }), ...(checkpoint && { checkpoint }), ...(canary && { canary }), ...(before && { before }) };
        told.steps = told.steps.filter(({ step }) => step <= fromStep);
        told.measurements = told.measurements.filter(({ step }) => step <= fromStep);
        told.interventions = told.interventions.filter(each => ((each.type === 'budget' ? each.backTo : null) ?? each.step) <= fromStep);
        said = [];
        break;
      }
      case 'batch':
        told.steps = [...told.steps.filter(({ step }) => step < event.step), event];
        break;
      case 'budget':
      case 'settings':
        told.interventions.push(event);
        break;
      case 'measurement':
        told.measurements = [...told.measurements.filter(({ step }) => step !== event.step), event];
        break;
      case 'warning':
        told.warnings.push(event);
        break;
      case 'command_acknowledged':
        told.acknowledged.push(event);
        break;
      case 'evaluation':
        told.newest[event.model] = event;
        break;
      case 'heartbeat':
        break;
      default:
        if (event.type === 'phase') delete told.newest.progress;
        if (event.type === 'finished') {
          delete told.newest.phase;
          delete told.newest.progress;
        }
        told.newest[event.type] = event;
    }
  }
  return told;
}

/** Lines of a file, each with what it should count as. */
type Entry = { text: string; event?: AnyEvent; counts?: 'bad' | 'unknown' };

const valueOf = fc.oneof(fc.constant(null), fc.double({ min: -1e6, max: 1e6, noNaN: true }));
const good = (event: AnyEvent): Entry => ({ text: JSON.stringify(event), event });

/** What was added to an event since the first version, with what it is where it is left out. */
const added: Partial<Record<AnyEvent['type'], Record<string, unknown>>> = {
  batch: { anchors: null, safetyTokens: null, gpuLoad: null, canary: null, notFinite: [] },
  dataset: { reviewed: 0 },
  progress: { total: null },
  budget: { backTo: null },
  settings: { betaMin: null, betaMax: null, learningRate: null },
  finished: { adapter: null },
};

/** As an earlier version would have written it. */
const early = (event: AnyEvent): Entry => {
  const defaults = added[event.type] ?? {};
  const left = Object.entries(event).filter(([name]) => !(name in defaults));
  return { text: JSON.stringify(Object.fromEntries(left)), event: { ...event, ...defaults } };
};

const problem = { file: 0, line: 3, hash: 'c'.repeat(16), reason: '<img src=x>' };
const kinds = ['attempt_started', 'phase', 'progress', 'dataset', 'checkpoint', 'evaluation', 'measurement', 'canary', 'budget', 'settings', 'command_acknowledged', 'activity', 'warning', 'heartbeat', 'finished'] as const;

interface Piece {
  kind: AnyEvent['type'];
  back: number;
  skip: number;
  ts: number;
  value: number | null;
  kl: number | null;
  isEarly: boolean;
}

/** A run with attempts, events of every kind, clocks that jump, and values that are missing or none. */
const runs: fc.Arbitrary<Entry[]> = fc
  .array(
    fc.record<Piece>({
      kind: fc.oneof({ arbitrary: fc.constant('batch' as const), weight: 12 }, { arbitrary: fc.constantFrom(...kinds), weight: 15 }),
      ...{ back: fc.nat(5), skip: fc.nat(2), ts: fc.double({ min: -1e13, max: 1e13, noNaN: true }), value: valueOf, kl: valueOf, isEarly: fc.boolean() },
    }),
    { maxLength: 60 },
  )
  .map(pieces => {
    let [seq, step, attempts] = [0, 0, 0];
    const made = ({ kind, back, skip, ts, value, kl }: Piece): AnyEvent => {
      const base = { v: 1, seq: ++seq, ts } as const;
      const phase = skip ? 'training' : 'scoring';
      switch (kind) {
        case 'attempt_started':
          step = Math.max(0, step - back);
          return { ...attempt(++attempts, step), ...base };
        case 'batch':
          step += 1 + skip;
          return batch(step, { ...base, total: value, nll: value, kl, gradNorm: kl, canary: back ? null : kl, notFinite: back === 5 ? ['canary', 'epochs'] : [], stepSeconds: back });
        case 'phase':
          return { ...base, type: kind, phase, message: '<b>x</b>' };
        case 'progress':
          return { ...base, type: kind, phase, done: back, total: skip || null, unit: 'rows' };
        case 'dataset':
          return { ...base, type: kind, rows: back, trained: skip || null, heldOut: 0, flagged: 1, refusals: 0, reviewed: skip, unscored: 0, filtered: 0, invalid: [problem], truncated: [], unsupervised: [], totalSteps: 9 };
        case 'checkpoint':
          return { ...base, type: kind, step, path: '../x', bytes: back };
        case 'evaluation':
          return { ...base, type: kind, model: skip ? 'before' : 'after', metrics: measurement(step, back).metrics, seconds: 1 };
        case 'measurement':
          return { ...measurement(Math.max(0, step - skip), back), ...base };
        case 'canary':
          return { ...base, type: kind, reference: value, prompts: 16 };
        case 'budget':
          return { ...budget(step, { value: kl, backTo: skip ? null : Math.max(0, step - back) }), ...base };
        case 'settings':
          return { ...base, type: kind, step, betaMin: skip ? 0.5 : null, betaMax: null, learningRate: null, by: 'command' };
        case 'command_acknowledged':
          return { ...base, type: kind, id: 'a', command: 'stop', accepted: skip > 0, message: '' };
        case 'activity':
          return { ...base, type: kind, paused: skip > 0 };
        case 'warning':
          return { ...base, type: kind, code: 'x', message: '<script>' };
        case 'heartbeat':
          return { ...base, type: kind };
        case 'finished':
          return { ...base, type: kind, status: 'stopped', message: '', resumable: true, adapter: skip ? 'adapter' : null };
      }
    };
    return pieces.map(piece => (piece.isEarly ? early : good)(made(piece)));
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

/** With lines that are damaged, torn, repeated, or in another order. */
const files = fc
  .tuple(runs, fc.array(fc.tuple(fc.nat(), damaged), { maxLength: 5 }), fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 5 }), fc.boolean(), fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 3 }))
  .map(([entries, extra, moves, swaps, tears]) => {
    const all = [...entries];
    for (const [at, length] of tears) {
      const { text } = all[at % (all.length || 1)] ?? { text: '' };
      if (text.length > 1) all[at % all.length] = { text: text.slice(0, 1 + (length % (text.length - 1))), counts: 'bad' };
    }
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
      const kept = ['step', 'tokens'].includes(name) ? value : Math.fround(value);
      assert.ok(Object.is(series.at(name, index) + 0, kept + 0), `${name} of step ${told.step}`); // JSON has no −0
    }
    assert.strictEqual(series.indexOf(told.step), index);
  }
  assert.deepStrictEqual(
    Array.from({ length: series.length }, (_, index) => series.isOdd('canary', index)),
    expected.steps.map(({ notFinite }) => notFinite.includes('canary')),
  );
  const { newest } = expected;
  const plain = (value: unknown) => JSON.parse(JSON.stringify(value ?? null)) as unknown;
  const isPaused = newest.activity?.type === 'activity' && newest.activity.paused;
  assert.deepStrictEqual(
    plain([state.attempt, state.dataset, state.checkpoint, state.canary, state.before, state.after, state.finished, state.paused, state.interventions, state.measurements, state.warnings, state.acknowledged]),
    plain([expected.attempt, newest.dataset, newest.checkpoint, newest.canary, newest.before, newest.after, newest.finished, isPaused, expected.interventions, expected.measurements, expected.warnings, expected.acknowledged]),
  );
  assert.deepStrictEqual(!state.phase, !newest.phase && !newest.progress);
  const counted = (what: 'bad' | 'unknown') => entries.filter(({ counts }) => counts === what).length;
  assert.deepStrictEqual({ ...state.counts }, { bad: counted('bad'), unknown: counted('unknown'), repeated: expected.repeated });
  const missing = (['nll', 'total', 'gradNorm'] as const).map(name => expected.steps.filter(step => step[name] === null).length);
  const infinite = expected.steps.flatMap(step => seriesNames.filter(name => step[name] === Infinity || step.notFinite.includes(name))).length;
  assert.strictEqual(series.missing, missing.reduce((sum, count) => sum + (count < expected.steps.length ? count : 0), infinite));
}

describe('a run that is read from odd events', () => {
  let folder: string;
  beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'odd-events-'))));
  afterEach(() => fs.rmSync(folder, { recursive: true }));

  const read = (file: string, begin: () => RunState) => {
    let state = begin();
    const tail = new EventTail(file, {
      event: event => void state.apply(event),
      delivered: () => undefined,
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

  it('goes by the later attempt, whatever an earlier one says afterwards', () => {
    const state = new RunState();
    const base = (seq: number) => ({ v: 1, seq, ts: seq }) as const;
    const tell = (event: AnyEvent) => state.apply({ event, offset: 0, length: 0 });
    const ended: AnyEvent = { ...base(6), type: 'finished', status: 'failed', message: 'x', resumable: true, adapter: null };
    const paused: AnyEvent = { ...base(4), type: 'activity', paused: true };
    const early: AnyEvent[] = [{ ...attempt(1, 0), ...base(0) }, { ...base(1), type: 'phase', phase: 'scoring', message: '' }, batch(1, base(3)), paused, ended];
    const late: AnyEvent[] = [{ ...attempt(2, 1), ...base(10) }, { ...base(11), type: 'phase', phase: 'training', message: '' }, batch(2, { ...base(12), total: 7 })];
    for (const event of [...early, ...late, ...early, batch(2, base(5))]) tell(event);
    assert.deepStrictEqual([state.finished, state.paused, state.phase?.phase, state.attempt?.attempt], [undefined, false, 'training', 2]);
    assert.deepStrictEqual([state.series.length, state.series.at('total', 1), state.latest?.seq, state.lastEvent], [2, 7, 12, 12]);
    assert.strictEqual(state.counts.repeated, early.length + 1);
    for (const event of [{ ...base(14), type: 'activity', paused: false }, { ...base(13), type: 'activity', paused: true }] as const) tell(event);
    assert.ok(!state.paused, 'the newest word counts');
  });
});
