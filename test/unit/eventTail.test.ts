import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import type { AnyEvent, Warned } from '../../src/protocol/messages';
import { EventTail, LineDecoder, type TailedEvent } from '../../src/trainerHost/eventTail';
import { until } from './until';
import { inputs } from './inputs';

const warning = (seq: number, message = 'm'): Warned => ({ v: 1, seq, ts: seq, type: 'warning', code: 'test', message });
const line = (event: AnyEvent) => `${JSON.stringify(event)}\n`;

/** Cuts bytes at random places. */
function pieces(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [...new Set(cuts.map(cut => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length));
}

describe('LineDecoder', () => {
  it('gives the same lines and offsets however the bytes arrive', () => {
    const text = fc.array(fc.string({ unit: 'grapheme', maxLength: 30 }).map(part => part.replaceAll('\n', '')));
    fc.assert(
      fc.property(text, fc.string({ unit: 'grapheme' }), fc.array(fc.nat()), (lines, torn, cuts) => {
        const end = torn.replaceAll('\n', '');
        const bytes = Buffer.from(lines.map(entry => `${entry}\n`).join('') + end);
        const decoder = new LineDecoder();
        const found = pieces(bytes, cuts).flatMap(piece => [...decoder.lines(piece)]);
        const texts = found.map(({ bytes: own, from, to }) => own.toString('utf8', from, to));
        assert.deepStrictEqual(texts, lines.map(entry => Buffer.from(entry).toString('utf8')));
        for (const [index, { offset, from, to }] of found.entries()) {
          assert.strictEqual(bytes.subarray(offset, offset + to - from).toString('utf8'), texts[index]);
        }
        assert.strictEqual(decoder.position, bytes.length);
        assert.strictEqual(decoder.lineStart, bytes.lastIndexOf(10) + 1);
      }),
    );
  });
});

describe('EventTail', () => {
  let folder: string;
  let file: string;
  let tail: EventTail | undefined;
  let seen: TailedEvent[];
  let bad: string[];
  let restarts: number;
  let unknown: number;

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'event-tail-'));
    file = path.join(folder, 'events.jsonl');
    [seen, bad, restarts, unknown] = [[], [], 0, 0];
  });
  afterEach(() => {
    tail?.dispose();
    fs.rmSync(folder, { recursive: true });
  });

  const follow = () => {
    tail = new EventTail(file, {
      event: event => seen.push(event),
      delivered: () => undefined,
      badLine: reason => bad.push(reason),
      unknownEvent: () => unknown++,
      reachedEnd: () => undefined,
      restarted: () => {
        restarts++;
        seen = [];
      },
    });
    return tail;
  };
  const sequence = () => seen.map(({ event }) => event.seq);

  it('reads what is there and goes on as the file grows', async () => {
    fs.writeFileSync(file, line(warning(0)));
    follow();
    await until(() => seen.length === 1);
    fs.appendFileSync(file, line(warning(1)) + line(warning(2)));
    await until(() => seen.length === 3);
    assert.deepStrictEqual(sequence(), [0, 1, 2]);
  });

  it('looks but once a second while nobody watches, and at once when somebody does', async function () {
    this.timeout(20_000);
    let deliveries = 0;
    const sink = { event: (event: TailedEvent) => seen.push(event), delivered: () => deliveries++, badLine: () => undefined, unknownEvent: () => undefined, reachedEnd: () => undefined, restarted: () => undefined };
    tail = new EventTail(file, sink, undefined, false);
    await tail.read();
    const write = async (from: number) => {
      for (let seq = from; seq < from + 20; seq++) {
        fs.appendFileSync(file, line(warning(seq)));
        await new Promise(resolve => setTimeout(resolve, 25));
      }
    };
    await write(0);
    await until(() => seen.length === 20);
    assert.ok(deliveries <= 2, `${deliveries} deliveries`);
    tail.watch();
    deliveries = 0;
    await write(20);
    await until(() => seen.length === 40);
    assert.ok(deliveries > 2, `${deliveries} deliveries`);
    tail.unwatch();
    deliveries = 0;
    await write(40);
    await until(() => seen.length === 60);
    assert.ok(deliveries <= 3, `${deliveries} deliveries`); // one read may have been under way
    assert.deepStrictEqual(sequence(), Array.from({ length: 60 }, (_, seq) => seq));
  });

  it('waits for a file that is not there yet, and for the end of a torn line', async () => {
    follow();
    const [first, second] = [line(warning(0, 'größer 🛡')), line(warning(1))];
    const bytes = Buffer.from(first);
    const middle = bytes.indexOf('🛡') + 2; // inside the character
    fs.writeFileSync(file, bytes.subarray(0, middle));
    await tail!.read();
    assert.strictEqual(seen.length, 0);
    fs.appendFileSync(file, Buffer.concat([bytes.subarray(middle), Buffer.from(second)]));
    await until(() => seen.length === 2);
    assert.strictEqual((seen[0]!.event as Warned).message, 'größer 🛡');
    assert.deepStrictEqual(bad, []);
  });

  it('leaves out lines that are no events, says why, and goes on', async () => {
    fs.writeFileSync(file, `${line(warning(0))}{"v":1,"seq":1\n\u0000\u0000\n{"type":"unheard-of"}\n\n${line(warning(4))}`);
    await follow().read();
    assert.deepStrictEqual(sequence(), [0, 4]);
    assert.strictEqual(bad.length, 3);
    assert.match(bad[0]!, /not JSON/);
  });

  it('tells events that only a newer trainer knows from lines that are none', async () => {
    const newer = ['{"v":1,"seq":1,"ts":1,"type":"hologram","colour":3}', '{"v":2,"seq":2,"ts":1,"type":"heartbeat"}'];
    fs.writeFileSync(file, `${line(warning(0))}${newer.join('\n')}\n{"v":"1","type":"hologram"}\n${line(warning(4))}`);
    await follow().read();
    assert.deepStrictEqual([sequence(), unknown, bad.length], [[0, 4], 2, 1]);
  });

  it('loses none of many events that are written in quick succession, and goes on behind a line of 70 MB', async function () {
    this.timeout(30_000);
    follow();
    const handle = fs.openSync(file, 'a');
    for (let seq = 0; seq < 2000; seq++) {
      fs.writeSync(handle, line(warning(seq)));
      if (seq % 100 === 0) await new Promise(setImmediate);
    }
    for (let part = 0; part < 70; part++) fs.writeSync(handle, 'x'.repeat(1e6));
    fs.writeSync(handle, `\n${line(warning(2000))}`);
    fs.closeSync(handle);
    await until(() => seen.length === 2001);
    assert.deepStrictEqual(sequence(), Array.from({ length: 2001 }, (_, seq) => seq));
    assert.strictEqual(bad.length, 1);
  });

  it('starts again when the file is replaced or cut', async () => {
    fs.writeFileSync(file, line(warning(0)) + line(warning(1)));
    await follow().read();
    fs.writeFileSync(`${file}.new`, line(warning(7)));
    fs.renameSync(`${file}.new`, file);
    await until(() => restarts === 1 && seen.length === 1);
    fs.truncateSync(file, 0);
    fs.appendFileSync(file, '\n');
    await until(() => restarts === 2);
    assert.deepStrictEqual(sequence(), []);
  });

  it('starts again when another file is written in its place, be it a longer one', async () => {
    fs.writeFileSync(file, line(warning(0)) + line(warning(1)));
    await follow().read();
    const { ino } = fs.statSync(file);
    fs.writeFileSync(file, [5, 6, 7, 8].map(seq => line(warning(seq))).join(''));
    assert.strictEqual(fs.statSync(file).ino, ino, 'in place');
    await tail!.read();
    assert.deepStrictEqual([restarts, sequence()], [1, [5, 6, 7, 8]]);
    const begun = fs.readFileSync(file);
    fs.writeFileSync(file, Buffer.concat([begun.subarray(0, begun.length / 2), Buffer.from([9, 10, 11].map(seq => line(warning(seq))).join(''))]));
    await tail!.read();
    assert.deepStrictEqual([restarts, sequence()], [2, [5, 6, 9, 10, 11]], 'cut, and grown again otherwise');
    fs.appendFileSync(file, line(warning(12)));
    await tail!.read();
    assert.deepStrictEqual([restarts, sequence()], [2, [5, 6, 9, 10, 11, 12]]);
  });

  it('notices it also where it began in the middle of the file', async () => {
    const before = line(warning(0)).repeat(100);
    fs.writeFileSync(file, before);
    const start = { position: before.length, inode: fs.statSync(file).ino };
    tail = new EventTail(
      file,
      { event: event => seen.push(event), delivered: () => undefined, badLine: reason => bad.push(reason), unknownEvent: () => unknown++, reachedEnd: () => undefined, restarted: () => restarts++ },
      () => Promise.resolve(start),
    );
    await tail.read();
    fs.appendFileSync(file, line(warning(1)));
    await tail.read();
    assert.deepStrictEqual([restarts, sequence()], [0, [1]]);
    fs.writeFileSync(file, line(warning(3)).repeat(200));
    await tail.read();
    assert.deepStrictEqual([restarts, seen.length], [1, 201]);
  });

  it('names where each event lies, so that it can be read again', async () => {
    fs.writeFileSync(file, `${line(warning(0, 'ä'))}garbage\n${line(warning(1))}`);
    await follow().read();
    const bytes = fs.readFileSync(file);
    for (const { event, offset, length } of seen) {
      assert.deepStrictEqual(JSON.parse(bytes.subarray(offset, offset + length).toString()), event);
    }
  });

  it('finds every event among garbage, however the file grows', async function () {
    this.timeout(20_000);
    const entry = fc.oneof(
      fc.nat(1000).map(seq => ({ text: line(warning(seq)), seq })),
      fc.string({ unit: 'binary', maxLength: 40 }).map(text => ({ text: `x${text.replaceAll('\n', '')}\n`, seq: undefined })),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 30 }), fc.array(fc.nat(), { maxLength: 6 }), async (entries, cuts) => {
        fs.rmSync(file, { force: true });
        [seen, bad] = [[], []];
        const reader = follow();
        for (const piece of pieces(Buffer.from(entries.map(({ text }) => text).join('')), cuts)) {
          fs.appendFileSync(file, piece);
          await reader.read();
        }
        reader.dispose();
        const expected = entries.flatMap(({ seq }) => (seq === undefined ? [] : [seq]));
        assert.deepStrictEqual(sequence(), expected);
        assert.strictEqual(bad.length, entries.length - expected.length);
      }),
      { numRuns: inputs(40) },
    );
  });
});
