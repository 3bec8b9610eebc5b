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

  it('take a command as it is written, and no other word', () => {
    const given = { id: 'a', ts: 1, command: 'stop', betaMin: null, betaMax: null, learningRate: null };
    assert.ok(check('Command', given).ok);
    assert.ok(check('Command', { ...given, command: 'set', betaMin: 0.5 }).ok);
    assert.ok(!check('Command', { ...given, command: 'set', betaMin: 1.5 }).ok);
    assert.ok(!check('Command', { ...given, command: 'explode' }).ok);
  });
});
