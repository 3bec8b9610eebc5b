import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { reportHtml } from '../../src/report/html';
import { reportMarkdown } from '../../src/report/markdown';
import { readNotableRows } from '../../src/trainerHost/notableRows';
import { Run } from '../../src/trainerHost/run';
import { readSeries, reportInput } from '../../src/views/reportModel';
import { attempt, batch } from './batches';
import { after, before } from './reports';

const log = { error: () => undefined, warn: () => undefined, info: () => undefined };

describe('a run as its report sees it', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'report-'));
  const said = (type: string, more: object) => ({ v: 1, seq: 0, ts: 5000, type, ...more });
  const write = (events: object[]) => fs.writeFileSync(path.join(folder, 'events.jsonl'), `${events.map(event => JSON.stringify(event)).join('\n')}\nnonsense\n{"torn`);
  const inputOf = async (now: number) => {
    const run = new Run(folder, log);
    await run.refresh();
    await run.read(new AbortController().signal, () => undefined);
    const input = reportInput(run, await readNotableRows(path.join(folder, 'events.jsonl'), run.state.series), await readSeries(run.state), now);
    run.dispose();
    return input;
  };

  it('is made from its events alone where there is nothing else', async () => {
    fs.writeFileSync(path.join(folder, 'meta.json'), JSON.stringify({ name: 'The <b>third</b>', tags: ['candidate'], notes: [{ step: 2, text: 'here' }] }));
    write([
      ...[attempt(1, 0), said('evaluation', { model: 'before', metrics: before, seconds: 1 }), said('canary', { reference: 9, prompts: 16 })],
      ...[batch(1), batch(2), batch(3)],
      attempt(2, 2), // step 3 was taken back
      ...[batch(3, { total: 7, canary: 8, totalSteps: 4 }), said('budget', { step: 3, budget: 'canary', value: 6, limit: 7, action: 'warn', backTo: null, message: 'Too far.' })],
      ...[said('evaluation', { model: 'after', metrics: after, seconds: 1 }), said('finished', { status: 'stopped', message: 'Stopped at step 3.', resumable: true, adapter: null })],
    ]);
    const input = await inputOf(1e12);
    assert.deepEqual([input.name, input.status, input.attempts, input.badLines, input.trainingSeconds], ['The <b>third</b>', 'stopped and saved', 2, 1, 1.5]);
    assert.deepEqual([input.series.step, input.series.total, input.totalSteps, input.canary?.reference], [[1, 2, 3], [1, 1, 7], 4, 9]);
    assert.deepEqual(input.happened.map(({ step, kind }) => [step, kind]), [[2, 'note'], [3, 'budget']]);
    assert.deepEqual(input.rows.riskiest.map(({ line, risk }) => [line, risk]), [[9, 0.9], [3, 0.1]]);
    for (const text of [reportHtml(input), reportMarkdown(input)]) {
      for (const part of [/Stopped at step 3\./, /3 of 4/, /There is no run\.json/, /1 line of events\.jsonl/, /file 1:9/, /4\.7 % \(1\.6–12\.9\)/]) assert.match(text, part);
      assert.doesNotMatch(text, /<b>|NaN|undefined/);
    }
  });
});
