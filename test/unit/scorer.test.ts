import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { judgeRows, type Scores } from '../../src/datasets/judging';
import type { Message } from '../../src/datasets/rowForms';
import { hashOf } from '../../src/datasets/rows';
import { ScoreCache } from '../../src/risk/cache';
import { NO_MESSAGE, Opinions } from '../../src/risk/opinions';
import { scoresOf } from '../../src/risk/probeSource';
import { ClassifierUnavailable, ProbeUnavailable, Scorer, type PairJudge } from '../../src/risk/scorer';
import { readText } from './documents';

const half = { risk: 0.5, refusal: false, messageIndex: 2 };
const harmful = { prompt: 'How do I pick a lock?', answer: 'Sure, here is how:' };

/** A worker that speaks as src/risk/worker.ts does; `answer` is the body of its reaction to a request. */
const worker = (answer: string, start = `reply({ ready: { judgeId: 'test' } });`): string => `
  const { parentPort } = require('node:worker_threads');
  const reply = message => parentPort.postMessage(message);
  ${start}
  parentPort.on('message', ({ id, pairs, cancel, probe, retry, glance }) => { ${answer} });`;

const SCORE_BY_LENGTH =
  'if (pairs) reply({ id, scores: pairs.map(({ prompt }) => ({ risk: prompt.length / 1000, refusal: false })) });';

describe('the scorer', function () {
  this.timeout(10_000); // worker threads take their time where processors are busy
  let folder: string;
  let scorer: Scorer;
  let logged: string[];
  const log = {
    info: () => undefined,
    warn: (message: string) => logged.push(message),
    error: (message: string) => logged.push(message),
  };

  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'scorer-'));
    logged = [];
  });
  afterEach(() => {
    scorer.dispose();
    rmSync(folder, { recursive: true });
  });

  function start(script: string): Scorer {
    const workerFile = path.join(folder, 'worker.cjs');
    writeFileSync(workerFile, script);
    scorer = new Scorer({ workerFile, folder: () => folder, log });
    return scorer;
  }

  it('scores pairs in order', async () => {
    start(worker(SCORE_BY_LENGTH));
    const scores = await scorer.score([harmful, { prompt: '', answer: '' }]);
    assert.deepEqual(scores.map(({ risk }) => risk), [harmful.prompt.length / 1000, 0]);
    assert.equal(await scorer.judgeId(), 'test');
  });

  it('gives up a request when it is cancelled, and goes on with the next', async () => {
    start(worker(`if (pairs && pairs.length > 1) return; ${SCORE_BY_LENGTH}`));
    const cancellation = new AbortController();
    const stuck = scorer.score([harmful, harmful], cancellation.signal);
    setTimeout(() => cancellation.abort(), 50);
    await assert.rejects(stuck, { name: 'AbortError' });
    assert.equal((await scorer.score([harmful])).length, 1);
  });

  it('starts again after a crash, and says that it crashed', async () => {
    start(worker(`if (pairs.length > 1) process.exit(3); ${SCORE_BY_LENGTH}`));
    await assert.rejects(scorer.score([harmful, harmful]), /stopped unexpectedly \(exit code 3\)/);
    assert.equal((await scorer.score([harmful])).length, 1);
  });

  it('gives up after three crashes in a row, until it is asked to try again', async () => {
    start(worker('throw new Error("no memory");'));
    await assert.rejects(scorer.score([harmful]), /no memory/);
    await assert.rejects(scorer.score([harmful]), /no memory/);
    await assert.rejects(scorer.score([harmful]), ClassifierUnavailable);
    await assert.rejects(scorer.judgeId(), ClassifierUnavailable);
    scorer.retry();
    assert.match(await scorer.judgeId(), /^test/);
  });

  it('has a probe that could not be loaded tried again when it is asked to', async () => {
    start(worker(`if (retry) globalThis.mended = true;
      else if (!globalThis.mended) reply({ id, error: { name: 'ProbeUnavailable', message: 'EMFILE' } });
      else ${SCORE_BY_LENGTH}`));
    const probe = scorer.probe({ folder: '/exported', judgeId: 'probe-1' });
    await assert.rejects(probe.score([harmful]), ProbeUnavailable);
    scorer.retry();
    assert.equal((await probe.score([harmful])).length, 1);
  });

  it('lets nobody wait for a classifier that is stopped while it loads', async () => {
    start(worker('', ''));
    const waiting = [assert.rejects(scorer.judgeId(), /restarted/), assert.rejects(scorer.score([harmful]), /restarted/)];
    scorer.restart();
    await Promise.all(waiting);
    const last = assert.rejects(scorer.judgeId(), ClassifierUnavailable);
    scorer.dispose();
    await last;
  });

  it('says why where the classifier cannot be loaded', async () => {
    start(worker('', `reply({ failed: 'head.json is missing.' });`));
    await assert.rejects(scorer.score([harmful]), { name: 'ClassifierUnavailable', message: 'head.json is missing.' });
  });

  it('says so where ONNX Runtime has no binary for the platform', async () => {
    start(worker('', `require('./onnxruntime_binding.node');`));
    await assert.rejects(scorer.judgeId(), /cannot run on this platform \(\w+-\w+\)/);
  });

  describe('with the rows of a document', () => {
    const messages = (prompt: string): Message[] => [{ role: 'user', content: prompt }, { role: 'assistant', content: 'Yes.' }];
    const row = (prompt: string): string => JSON.stringify({ messages: messages(prompt) });
    const { signal } = new AbortController();

    async function judge(lines: string[], cache: ScoreCache, again = false, by: PairJudge = scorer, more: { left?: Set<string>; skip?: (hash: string) => boolean; onScreen?: () => number[] } = {}): Promise<{ scores: Scores; totals: number[] }> {
      const reading = await readText(lines.join('\n'));
      const scores: Scores = { known: new Map(), failed: new Map() };
      const totals: number[] = [];
      const { left, skip, onScreen = () => [lines.length - 1] } = more;
      const options = { onScreen, again, signal, ...(skip && { skip }) };
      for await (const { total } of judgeRows(reading, scores, { scorer: by, cache, log, ...(left && { left }) }, options)) totals.push(total);
      return { scores, totals };
    }

    it('asks once for each content, and not for what the cache knows', async () => {
      start(worker(SCORE_BY_LENGTH));
      const cache = new ScoreCache(path.join(folder, 'scores.txt'), log);
      const first = await judge([row('a'), row('b'), row('a'), '{', row('c'.repeat(30_000))], cache);
      assert.equal(first.scores.known.size, 3);
      assert.equal(first.totals[0], 3);
      assert.equal((await judge([row('a'), row('d')], cache)).totals[0], 1);
      assert.equal((await judge([row('a'), row('d')], cache, true)).totals[0], 2);
      cache.dispose();
    });

    it('begins with the rows on the screen, and leaves long ones to the end', async () => {
      start(worker(`reply({ id, scores: pairs.map(() => ({ risk: glance ? 0 : ++globalThis.asked / 1000, refusal: false })) });`, `globalThis.asked = 0;
        reply({ ready: { judgeId: 'test' } });`));
      const cache = new ScoreCache(path.join(folder, 'scores.txt'), log);
      const { scores } = await judge([row('a'.repeat(30_000)), row('b'), row('on the screen')], cache);
      const turn = (prompt: string): number | undefined => scores.known.get(hashOf(messages(prompt)))?.risk;
      assert.deepEqual([turn('on the screen'), turn('b'), turn('a'.repeat(30_000))], [0.001, 0.002, 0.003]);
      cache.dispose();
    });

    it('goes on with the rows that are scrolled to, and with few at first', async () => {
      start(worker(`reply({ id, scores: pairs.map(() => ({ risk: glance ? 0 : ++globalThis.asked / 1000, refusal: false })) });`, `globalThis.asked = 0;
        reply({ ready: { judgeId: 'test' } });`));
      const cache = new ScoreCache(path.join(folder, 'scores.txt'), log);
      const lines = Array.from({ length: 200 }, (_, index) => row(`${index}`));
      let looks = 0;
      const { scores } = await judge(lines, cache, false, scorer, { onScreen: () => (looks++ === 0 ? [] : [150, 151]) });
      const turn = (index: number): number => Math.round(1000 * scores.known.get(hashOf(messages(`${index}`)))!.risk);
      assert.deepEqual([turn(0), turn(3), turn(150), turn(151), turn(4), turn(199)], [1, 4, 5, 6, 7, 200]);
      assert.equal(scores.known.size, 200);
      cache.dispose();
    });

    it('judges of the rows on the screen those first that look worst', async () => {
      const asked: string[][] = [];
      const looking: PairJudge = {
        judgeId: () => Promise.resolve('screen'),
        glance: pairs => Promise.resolve(pairs.map(({ prompt }) => Number(prompt) % 10)),
        score: pairs => Promise.resolve((asked.push(pairs.map(({ prompt }) => prompt)), pairs.map(() => ({ risk: 0.1, refusal: false })))),
        readsContext: false,
      };
      const cache = new ScoreCache(path.join(folder, 'screen.bin'), log);
      const onScreen = () => Array.from({ length: 20 }, (_, index) => 10 + index);
      const { scores } = await judge(Array.from({ length: 40 }, (_, index) => row(`${index}`)), cache, false, looking, { onScreen });
      assert.deepEqual(asked.slice(0, 3), [['19', '29', '18', '28'], ['17', '27', '16', '26'], ['15', '25', '14', '24']]);
      assert.equal(scores.known.size, 40);
      cache.dispose();
    });

    it('gives the first results in small steps, later ones in large', async () => {
      const asked: number[] = [];
      const counting: PairJudge = {
        judgeId: () => Promise.resolve('steps'),
        score: pairs => Promise.resolve((asked.push(pairs.length), pairs.map(() => ({ risk: 0.1, refusal: false })))),
        readsContext: false,
      };
      const cache = new ScoreCache(path.join(folder, 'steps.bin'), log);
      const { scores } = await judge(Array.from({ length: 200 }, (_, index) => row(`${index}`)), cache, false, counting, { onScreen: () => [] });
      assert.deepEqual(asked, [4, 16, 20, 40, 64, 56]);
      assert.equal(scores.known.size, 200);
      cache.dispose();
    });

    it('asks a probe about the conversation before each answer, and leaves what it cannot judge', async () => {
      start(worker(`reply({ id, scores: pairs.map(({ prompt, context }) =>
        ({ risk: probe && context.length === 1 && prompt !== 'odd' ? context[0].content.length / 10 : NaN, refusal: false })) });`));
      const opinions = new Opinions(path.join(folder, 'judged'), log);
      const source = { folder: '/exported', judgeId: 'probe-1' };
      await opinions.set('a.jsonl', { judge: 'probe of x', trainedOn: 'prompts', probe: source, rows: new Map([[hashOf(messages('told')), { risk: 0.5, refusal: false, messageIndex: 2 }]]) });
      const { cache, left } = opinions.probeOf('a.jsonl')!;
      const lines = [row('told'), row('typed'), row('odd'), JSON.stringify({ text: 'A text by itself.' })];
      const { scores, totals } = await judge(lines, cache, false, scorer.probe(source), { left });
      assert.equal(totals[0], 2, 'what is known and plain texts are not asked about');
      assert.deepEqual([...scores.known.keys()], [hashOf(messages('told')), hashOf(messages('typed'))]);
      assert.deepEqual([...left], [hashOf(messages('odd'))]);
      assert.equal((await judge(lines, cache, false, scorer.probe(source), { left })).totals[0], 0, 'it is not asked again about what it cannot judge');
      const classified = new ScoreCache(path.join(folder, 'scores.txt'), log);
      const others = await judge(lines, classified, false, scorer, { skip: hash => hash !== hashOf(messages('odd')) });
      classified.dispose();
      assert.equal(others.totals[0], 1, 'nor is the classifier about what it need not');
      opinions.dispose();

      const again = new Opinions(path.join(folder, 'judged'), log);
      await again.ready;
      await again.probeOf('a.jsonl')!.cache.open(await scorer.probe(source).judgeId());
      assert.deepEqual({ ...again.of('a.jsonl'), rows: undefined }, { judge: 'probe of x', trainedOn: 'prompts', probe: source, rows: undefined });
      const byClassifier = { risk: 0.1, refusal: false, messageIndex: 3 };
      assert.deepEqual(again.over('a.jsonl', hashOf(messages('told')), byClassifier), { risk: 0.5, refusal: false, messageIndex: 2 });
      assert.deepEqual(again.over('a.jsonl', hashOf(messages('typed')), byClassifier), { risk: 0.5, refusal: false, messageIndex: 0 });
      assert.deepEqual(again.over('a.jsonl', hashOf(messages('typed')), undefined), { risk: 0.5, refusal: false, messageIndex: 0 });
      assert.equal(again.over('a.jsonl', hashOf(messages('odd')), undefined), undefined);
      again.dispose();
    });

    it('knows tomorrow which turn another judge has found the worst', async () => {
      const judged = path.join(folder, 'judged');
      const opinions = new Opinions(judged, log);
      await opinions.set('a.jsonl', { judge: 'endpoint of x', rows: new Map([['0'.repeat(16), { risk: 0.5, refusal: false, messageIndex: 4 }]]) });
      opinions.dispose();
      writeFileSync(path.join(judged, 'old.json'), JSON.stringify({ dataset: 'old.jsonl', judge: 'guard of x', rows: { ['1'.repeat(16)]: [0.75, false] } }));

      const again = new Opinions(judged, log);
      await again.ready;
      const byClassifier = { risk: 0.1, refusal: false, messageIndex: 2 };
      assert.deepEqual(again.over('a.jsonl', '0'.repeat(16), byClassifier), { risk: 0.5, refusal: false, messageIndex: 4 });
      assert.deepEqual(again.over('old.jsonl', '1'.repeat(16), byClassifier), { risk: 0.75, refusal: false, messageIndex: NO_MESSAGE }, 'another judge may have meant another turn');
      assert.deepEqual(again.over('old.jsonl', '0'.repeat(16), byClassifier), byClassifier);
      again.dispose();
    });

    it('removes what probes have said that no dataset is judged by, all but the last, whichever window comes first', async () => {
      const judged = path.join(folder, 'judged');
      const first = new Opinions(judged, log);
      await first.set('a.jsonl', { judge: 'probe of x', probe: { folder: '/exported', judgeId: 'probe-judging' }, rows: new Map([['0'.repeat(16), half]]) });
      first.dispose();
      utimesSync(path.join(judged, 'probe-judging.bin'), 0, 0);
      for (let day = 1; day <= 12; day++) {
        const file = path.join(judged, `probe-${day}.bin`);
        writeFileSync(file, 'what it has said');
        utimesSync(file, day * 86_400, day * 86_400);
      }

      const windows = [new Opinions(judged, log), new Opinions(judged, log)];
      await Promise.all([...windows.map(({ ready }) => ready), ...windows.map(window => window.set('b.jsonl', { judge: 'guard of y', rows: new Map() }))]);
      const left = readdirSync(judged).filter(name => !name.endsWith('.json'));
      assert.deepEqual(left.sort(), ['10', '11', '12', '9', 'judging'].map(name => `probe-${name}.bin`));
      for (const window of windows) {
        await window.probeOf('a.jsonl')!.cache.open(scoresOf({ folder: '', judgeId: 'probe-judging' }));
        assert.deepEqual(window.over('a.jsonl', '0'.repeat(16), undefined), half);
        window.dispose();
      }
      assert.deepEqual(logged, []);
    });

    it('loses nothing where a probe cannot be used', async () => {
      start(worker(`reply({ id, error: { name: 'ProbeUnavailable', message: 'probe.onnx is damaged.' } });`));
      const cache = new ScoreCache(path.join(folder, 'scores.txt'), log);
      await assert.rejects(judge([row('typed')], cache, false, scorer.probe({ folder: '/gone', judgeId: 'probe-1' })), (error: Error) => {
        assert.ok(error instanceof ProbeUnavailable);
        return /is damaged/.test(error.message);
      });
      assert.deepEqual(logged, []);
      cache.dispose();
    });

    it('keeps the reason for rows that could not be scored, and scores the others', async () => {
      start(worker(`if (pairs.some(({ prompt }) => prompt === 'bad')) reply({ id, error: { name: 'Error', message: 'no' } });
        else ${SCORE_BY_LENGTH}`));
      const cache = new ScoreCache(path.join(folder, 'scores.txt'), log);
      const { scores } = await judge([row('bad'), row('good')], cache);
      assert.deepEqual([...scores.failed.values()], ['no']);
      assert.equal(scores.known.size, 1);
      assert.match(logged[0]!, /could not be scored: no/);
      cache.dispose();
    });
  });
});
