import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { isRefusal } from '../../src/risk/refusal';

const fixture = path.join(__dirname, '..', '..', 'trainer', 'tests', 'fixtures', 'refusals.json');
const cases = JSON.parse(readFileSync(fixture, 'utf8')) as { refusals: string[]; others: string[] };

describe('the refusal matcher', () => {
  for (const answer of cases.refusals) {
    it(`recognises ${JSON.stringify(answer.slice(0, 50))}`, () => assert.ok(isRefusal(answer)));
  }

  for (const answer of cases.others) {
    it(`does not match ${JSON.stringify(answer.slice(0, 50))}`, () => assert.ok(!isRefusal(answer)));
  }

  it('looks at the opening only, in code points as Python does', () => {
    const refusal = "I can't help with that.";
    assert.ok(isRefusal(`${'😀'.repeat(300)} ${refusal}`));
    assert.ok(!isRefusal(`${'a '.repeat(300)} ${refusal}`));
  });

  it('takes no time over a megabyte', () => {
    assert.ok(isRefusal(`I'm sorry, but I can't help with that. ${'x '.repeat(500_000)}`));
    assert.ok(!isRefusal('x '.repeat(500_000)));
  });
});
