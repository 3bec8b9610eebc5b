import assert from 'node:assert';
import { check } from '../../src/protocol/validate';
import { parseEvent } from '../../src/trainerHost/eventTail';
import { attempt, batch } from './batches';

const reason = (text: string): string => {
  const parsed = parseEvent(text);
  assert.ok('reason' in parsed, 'was taken for an event');
  return parsed.reason;
};

describe('the validators', () => {
  it('take the trainer’s events', () => {
    for (const event of [batch(1), attempt(1, 0)]) assert.deepStrictEqual(parseEvent(JSON.stringify(event)), { event });
  });

  it('refuse what is no event, and name the field', () => {
    assert.match(reason('[]'), /object/);
    assert.match(reason('{"type":"batch"}'), /required property/);
    assert.match(reason(JSON.stringify({ ...batch(1), step: 0 })), /\/step/);
    assert.match(reason(JSON.stringify({ ...batch(1), riskMax: 'high' })), /\/riskMax/);
    assert.match(reason(JSON.stringify({ ...batch(1), secret: 1 })), /additional/);
  });

  it('take what an earlier version wrote: a field that was added since has its default', () => {
    const { anchors: _a, safetyTokens: _s, gpuLoad: _g, canary: _c, notFinite: _n, rows: { tokens: _t, ...rows }, ...others } = batch(1);
    const early = { ...others, rows };
    assert.deepStrictEqual(parseEvent(JSON.stringify(early)), { event: batch(1, { rows: { ...rows, tokens: [] } }) });
    assert.match(reason(JSON.stringify({ ...early, total: undefined })), /total/, 'what there was from the first must be there');
  });

  it('have an event say itself what it is', () => {
    const { v: _v, ...unversioned } = attempt(1, 0);
    assert.match(reason(JSON.stringify(unversioned)), /required property 'v'/);
    assert.match(reason('{"v":1,"seq":1,"ts":1}'), /type/);
  });

  it('take the run.json of a version that knew fewer settings', () => {
    const process = { pid: 1, startTime: 1, host: 'h' };
    const config = { model: 'm', dataset: { path: 'rows.jsonl' }, training: { epochs: 3 } };
    const early = { v: 1, id: 'a', configPath: 'c', config, datasets: [{ path: 'rows.jsonl', sha256: 'x', rows: 2 }], versions: {}, process, attempt: 1, status: 'running', message: '' };
    const checked = check('RunRecord', early);
    assert.ok(checked.ok);
    const { script, parent, datasets } = checked.value;
    assert.deepStrictEqual([script, parent, datasets[0]?.names, datasets[0]?.reviewed], [null, null, null, []]);
    const { training, risk, canary, method } = checked.value.config!;
    assert.deepStrictEqual([training.epochs, training.batchSize, training.reportTo, risk.threshold, canary?.everySteps, method], [3, 8, [], 0.5, 10, 'recommended']);
  });

  it('take a command as it is written, and no other word', () => {
    const given = { id: 'a', ts: 1, command: 'stop', betaMin: null, betaMax: null, learningRate: null };
    assert.ok(check('Command', given).ok);
    assert.ok(check('Command', { ...given, command: 'set', betaMin: 0.5 }).ok);
    assert.ok(!check('Command', { ...given, command: 'set', betaMin: 1.5 }).ok);
    assert.ok(!check('Command', { ...given, command: 'explode' }).ok);
  });
});
