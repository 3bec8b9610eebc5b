import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import type { AnyEvent } from '../../src/protocol/messages';
import { EventTail, type TailedEvent, type TailStart } from '../../src/trainerHost/eventTail';
import { eventsFile, indexFile } from '../../src/trainerHost/runFolder';
import { KeptLines, readIndex, writeIndex } from '../../src/trainerHost/runIndex';
import { RunState } from '../../src/trainerHost/runState';
import { attempt, batch } from './batches';
import { inputs } from './inputs';

/** A run as it is read, from its beginning or from where its index ends. */
class Reader {
  state = new RunState();
  lines = new KeptLines();
  restarts = 0;
  private readonly tail: EventTail;
  private start: TailStart | undefined;

  constructor(
    private readonly folder: string,
    fromIndex: boolean,
  ) {
    this.tail = new EventTail(
      eventsFile(folder),
      {
        event: event => this.take(event),
        delivered: () => undefined,
        restarted: () => {
          this.restarts++;
          [this.state, this.lines] = [new RunState(), new KeptLines()];
        },
        badLine: () => this.state.counts.bad++,
        unknownEvent: () => this.state.counts.unknown++,
        reachedEnd: () => undefined,
      },
      async () => {
        const known = fromIndex ? await readIndex(folder) : undefined;
        if (known) [this.state, this.lines, this.start] = [known.state, known.lines, known.start];
        return known?.start;
      },
    );
  }

  get foundIndex(): boolean {
    return this.start !== undefined;
  }

  async read(): Promise<this> {
    await this.tail.read();
    return this;
  }

  async write(): Promise<boolean> {
    return writeIndex(this.folder, this.state, this.lines, this.tail.position, () => true);
  }

  dispose(): void {
    this.tail.dispose();
  }

  private take(event: TailedEvent): void {
    if (this.state.apply(event)) this.lines.note(event);
  }
}

describe('the index of a run', () => {
  let folder: string;
  let readers: Reader[] = [];
  let seq = 0;

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'run-index-'));
    seq = 0;
  });
  afterEach(() => {
    for (const reader of readers) reader.dispose();
    readers = [];
    fs.rmSync(folder, { recursive: true });
  });

  const line = (event: AnyEvent): string => `${JSON.stringify({ ...event, seq: seq++, ts: 1000 * seq })}\n`;
  const append = (...lines: string[]): void => fs.appendFileSync(eventsFile(folder), lines.join(''));
  const open = (fromIndex: boolean): Promise<Reader> => {
    const reader = new Reader(folder, fromIndex);
    readers.push(reader);
    return reader.read();
  };
  const base = { v: 1, seq: 0, ts: 0 } as const;
  const other: AnyEvent[] = [
    { ...base, type: 'phase', phase: 'training', message: 'Training' },
    { ...base, type: 'progress', phase: 'scoring', done: 3, total: 10, unit: 'rows' },
    { ...base, type: 'warning', code: 'a', message: 'ein ä 🛡' },
    { ...base, type: 'heartbeat' },
    { ...base, type: 'activity', paused: true },
    { ...base, type: 'canary', reference: 12, prompts: 16 },
    { ...base, type: 'checkpoint', step: 3, path: 'x', bytes: 1 },
    { ...base, type: 'settings', step: 4, betaMin: 0.1, betaMax: 0.9, learningRate: null, by: 'command' },
    { ...base, type: 'finished', status: 'stopped', message: '', resumable: true, adapter: null },
  ];
  const someRun = (): void => {
    append(line(attempt(1, 0)), line(other[0]!), 'garbage\n', '{"v":1,"seq":3,"ts":1,"type":"hologram"}\n');
    for (let step = 1; step <= 700; step++) append(line(batch(step, { total: step / 3, nll: step % 5 ? 1 : null, canary: step % 10 ? null : step })));
    append(line(other[2]!), line(other[5]!));
  };

  /** Everything that is known of a run, its steps included. */
  const told = ({ state }: Reader): unknown => {
    const { series } = state;
    const { generation: _, steps: __, ...rest } = state as unknown as Record<string, unknown>;
    const rows = Array.from({ length: series.length }, (_, index) => series.stored.map(([, column]) => column.get(index)));
    const extremes = series.extremes('total', 0, series.length);
    return JSON.parse(JSON.stringify({ ...rest, rows, missing: series.missing, extremes, canary: series.latestOf('canary'), listed: [...(state as unknown as { listed: Set<string> }).listed] }));
  };
  const assertSame = async (): Promise<void> => assert.deepStrictEqual(told(await open(true)), told(await open(false)));

  it('tells what the events tell, and where to go on', async () => {
    someRun();
    assert.ok(await (await open(false)).write());
    const again = await open(true);
    assert.ok(again.foundIndex);
    await assertSame();
    append(line(batch(701)), line(other[8]!));
    await again.read();
    assert.strictEqual(again.state.series.length, 701);
    assert.deepStrictEqual(told(again), told(await open(false)));
    assert.deepStrictEqual(fs.readdirSync(folder).sort(), ['events.index', 'events.jsonl']);
  });

  it('leaves a torn line to be read to its end, and a later attempt to take steps back', async () => {
    someRun();
    const torn = line(batch(701));
    append(torn.slice(0, 40));
    assert.ok(await (await open(false)).write());
    append(torn.slice(40), line(attempt(2, 300)), line(batch(301, { total: 9 })));
    const again = await open(true);
    assert.ok(again.foundIndex);
    assert.deepStrictEqual([again.state.series.length, again.state.series.at('total', 300), again.state.attempt?.attempt], [301, 9, 2]);
    await assertSame();
  });

  it('is of no use for another file, a shorter one, or one that begins or ends otherwise', async () => {
    someRun();
    await (await open(false)).write();
    const bytes = fs.readFileSync(eventsFile(folder));
    const changed = (at: number) => Buffer.concat([bytes.subarray(0, at), Buffer.from('~'), bytes.subarray(at + 1)]);
    for (const stale of [changed(5), changed(bytes.length - 9), bytes.subarray(0, -20), Buffer.from('')]) {
      fs.writeFileSync(eventsFile(folder), stale);
      assert.strictEqual(await readIndex(folder), undefined);
      await assertSame();
    }
    fs.writeFileSync(eventsFile(folder), bytes);
    assert.ok(await readIndex(folder));
    fs.rmSync(eventsFile(folder));
    assert.strictEqual(await readIndex(folder), undefined);
  });

  it('is of no use when any byte of it is damaged, or its end is missing', async function () {
    this.timeout(60_000);
    append(line(attempt(1, 0)), ...Array.from({ length: 30 }, (_, index) => line(batch(index + 1))));
    await (await open(false)).write();
    const bytes = fs.readFileSync(indexFile(folder));
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const damaged = Buffer.from(bytes);
        damaged[at]! ^= change;
        fs.writeFileSync(indexFile(folder), damaged);
        assert.strictEqual(await readIndex(folder), undefined);
      }),
      { numRuns: inputs(400) },
    );
    for (let length = 0; length < bytes.length; length += 7) {
      fs.writeFileSync(indexFile(folder), bytes.subarray(0, length));
      assert.strictEqual(await readIndex(folder), undefined);
    }
    fs.writeFileSync(indexFile(folder), Buffer.concat([bytes, bytes]));
    assert.strictEqual(await readIndex(folder), undefined);
    await assertSame();
  });

  it('is not written when steps were taken back meanwhile, nor where it cannot be', async () => {
    someRun();
    const { state, lines } = await open(false);
    assert.ok(!(await writeIndex(folder, state, lines, fs.statSync(eventsFile(folder)).size, () => false)));
    assert.deepStrictEqual(fs.readdirSync(folder), ['events.jsonl']);
    assert.ok(!(await writeIndex(path.join(folder, 'nowhere'), state, lines, 10, () => true)));
  });

  it('keeps of many reports of progress the first and the last', async () => {
    append(line(attempt(1, 0)), ...Array.from({ length: 500 }, (_, done) => line({ ...base, type: 'progress', phase: 'scoring', done, total: null, unit: 'rows' })));
    const { lines } = await open(false);
    assert.strictEqual(lines.all.length, 3);
  });

  it('tells the same however a run goes on after it was written, any number of times', async function () {
    this.timeout(120_000);
    const piece = fc.oneof(
      { arbitrary: fc.constant('batch'), weight: 12 },
      { arbitrary: fc.integer({ min: 0, max: other.length - 1 }), weight: 4 },
      { arbitrary: fc.constantFrom('attempt', 'garbage', 'repeat', 'unknown', 'write', 'reopen', 'torn'), weight: 4 },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 60 }), fc.nat(20), async (pieces, back) => {
        fs.rmSync(folder, { recursive: true });
        fs.mkdirSync(folder);
        let [step, attempts, before] = [0, 0, ''];
        let reader = await open(true);
        for (const next of pieces) {
          if (next === 'write' || next === 'reopen') {
            await reader.read();
            if (next === 'write') await reader.write();
            if (next === 'reopen') reader = await open(true);
            continue;
          }
          if (next === 'attempt') step = Math.max(0, step - back);
          const text =
            next === 'batch' ? line(batch(++step, { nll: step % 3 ? 1 : null }))
            : next === 'attempt' ? line(attempt(++attempts, step))
            : next === 'garbage' ? 'no event\n'
            : next === 'unknown' ? line({ type: 'hologram', v: 1 } as never)
            : next === 'torn' ? `${line(batch(step + 1)).slice(0, 30)}\n`
            : next === 'repeat' ? before
            : line(other[next]!);
          append(text);
          before = text;
        }
        fs.appendFileSync(eventsFile(folder), '');
        await reader.read();
        const fresh = await open(false);
        assert.deepStrictEqual(told(reader), told(fresh));
        assert.strictEqual(reader.restarts, 0);
        for (const each of readers) each.dispose();
        readers = [];
      }),
      { numRuns: inputs(60) },
    );
  });
});
