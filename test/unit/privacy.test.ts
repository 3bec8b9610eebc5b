/** What is written down of a dataset names its rows and quotes none: a report, and the extension's log. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { judgeRows, type Scores } from '../../src/datasets/judging';
import type { Reading } from '../../src/datasets/reading';
import type { DatasetRead } from '../../src/protocol/messages';
import { reportHtml } from '../../src/report/html';
import { reportMarkdown } from '../../src/report/markdown';
import { modelCard } from '../../src/report/modelCard';
import { ScoreCache } from '../../src/risk/cache';
import { Opinions } from '../../src/risk/opinions';
import { Scorer } from '../../src/risk/scorer';
import { readNotableRows } from '../../src/trainerHost/notableRows';
import { Run } from '../../src/trainerHost/run';
import { readSeries, reportInput } from '../../src/views/reportModel';
import { attempt, batch } from './batches';
import { readText } from './documents';

const MARK = /Zwiebelfisch/;
const turns = ['system', 'user', 'assistant'].map(role => ({ role, content: `A text with Zwiebelfisch-${role}.` }));
const lines = [
  JSON.stringify({ messages: turns }),
  JSON.stringify({ prompt: 'Where is Zwiebelfisch?', completion: 'Zwiebelfisch is here.' }),
  '{"prompt": "Zwiebelfisch',
  'Zwiebelfisch',
  '"Zwiebelfisch"',
  JSON.stringify({ messages: [{ role: 'Zwiebelfisch', content: 'Zwiebelfisch' }] }),
  JSON.stringify({ messages: [{ role: 'user', content: 'Zwiebelfisch' }] }),
  JSON.stringify({ Zwiebelfisch: 'Zwiebelfisch' }),
];

describe('of the texts of rows', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'privacy-'));
  const logged: string[] = [];
  const keep = (message: string): void => void logged.push(message);
  const log = { info: keep, warn: keep, error: keep };
  let reading: Reading;

  before(async () => {
    reading = await readText(lines.join('\n'));
    assert.deepEqual(reading.records.map(({ text, read }) => [MARK.test(text), 'hash' in read]), lines.map((_, index) => [true, index < 2]));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('none is in a report, as HTML, as Markdown or as a block of a model card', async () => {
    const rows = reading.records.flatMap(({ start, read }) => ('hash' in read ? [{ line: start.line + 1, hash: read.hash }] : []));
    const invalid = reading.records.flatMap(({ start, read }) => ('problem' in read ? [{ file: 0, line: start.line + 1, hash: '', reason: read.problem.reason }] : []));
    const dataset: DatasetRead = { v: 1, seq: 1, ts: 1, type: 'dataset', rows: 2, trained: 2, heldOut: 0, flagged: 2, refusals: 0, reviewed: 0, unscored: 0, filtered: 0, truncated: [], unsupervised: [], totalSteps: 2, invalid };
    const ofStep = { file: [0, 0], line: rows.map(({ line }) => line), hash: rows.map(({ hash }) => hash), risk: [0.7, 0.9], beta: [0.7, 0.9], nll: [1, 2], kl: [0.2, 0.1], tokens: [9, 9] };
    const finished = { v: 1, seq: 9, ts: 9, type: 'finished', status: 'completed', message: '2 steps.', resumable: false, adapter: 'adapter' };
    const events = [attempt(1, 0), dataset, batch(1, { rows: ofStep }), batch(2, { rows: ofStep }), finished];
    writeFileSync(path.join(folder, 'events.jsonl'), `${events.map(event => JSON.stringify(event)).join('\n')}\n`);
    const run = new Run(folder, log);
    await run.refresh();
    await run.read(new AbortController().signal, () => undefined);
    const input = reportInput(run, await readNotableRows(path.join(folder, 'events.jsonl'), run.state.series), await readSeries(run.state), 1e12);
    run.dispose();
    assert.equal(input.dataset?.invalid.length, 6);
    assert.deepEqual(input.rows.riskiest.map(({ line }) => line), [2, 1]);
    for (const text of [reportHtml(input), reportMarkdown(input), modelCard(input)]) assert.doesNotMatch(text, MARK);
    assert.match(reportHtml(input), /Not readable.*?6/s);
  });

  it('none is in the log where rows are judged, cannot be judged, or nothing judges them, nor beside it', async () => {
    const workerFile = path.join(folder, 'worker.cjs');
    const judge = async (script: string, name: string): Promise<void> => {
      writeFileSync(workerFile, `const { parentPort } = require('node:worker_threads'); const reply = message => parentPort.postMessage(message); ${script}`);
      const scorer = new Scorer({ workerFile, folder: () => folder, log });
      const cache = new ScoreCache(path.join(folder, `${name}.bin`), log);
      const scores: Scores = { known: new Map(), failed: new Map() };
      const judging = judgeRows(reading, scores, { scorer, cache, log }, { onScreen: () => [], again: false, signal: new AbortController().signal });
      try {
        for await (const { done, total } of judging) log.info(`${done} of ${total}`);
      } catch (error) {
        log.warn(String(error));
      }
      const opinions = new Opinions(path.join(folder, 'judged'), log);
      await opinions.set('rows.jsonl', { judge: 'guard of x', rows: scores.known });
      [scorer, cache, opinions].forEach(each => each.dispose());
    };
    const ready = `reply({ ready: { judgeId: 'test' } });`;
    await judge(`${ready} parentPort.on('message', ({ id, pairs }) => pairs && reply({ id, scores: pairs.map(() => ({ risk: 0.9, refusal: false })) }));`, 'judged');
    await judge(`${ready} parentPort.on('message', ({ id, pairs }) => pairs && reply({ id, error: { name: 'Error', message: 'no memory' } }));`, 'failed');
    await judge(`${ready} parentPort.on('message', ({ pairs }) => { if (pairs) throw new Error('worn out'); });`, 'crashed');
    await judge(`reply({ failed: 'encoder.onnx is missing' });`, 'missing');
    for (const said of [/2 of 2/, /2 rows could not be scored: no memory/, /worn out/, /encoder\.onnx is missing/]) assert.match(logged.join('\n'), said);
    assert.doesNotMatch(logged.join('\n'), MARK);
    assert.ok(readFileSync(path.join(folder, 'judged.bin')).length > 64);
    assert.doesNotMatch(readFileSync(path.join(folder, 'judged.bin'), 'latin1'), MARK);
  });
});
