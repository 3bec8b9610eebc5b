import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Template } from '@huggingface/jinja';
import { ExportedProbe } from '../../src/risk/exportedProbe';
import type { Turn } from '../../src/risk/probeSource';

const fixtures = path.join(__dirname, '..', '..', 'trainer', 'tests', 'fixtures', 'probe');
const readJson = <T>(name: string): T => JSON.parse(readFileSync(path.join(fixtures, name), 'utf8')) as T;

interface Parity {
  specialTokens: Record<string, unknown>;
  cases: { messages: Turn[]; ids: number[]; risk: number }[];
  templates: { name: string; template: string; texts: string[] }[];
}

const parity = readJson<Parity>('parity.json');
const { judge: judgeId } = readJson<{ judge: string }>('probe.json');
const conversations = parity.cases.map(({ messages }) => messages);
const expected = parity.cases.map(({ risk }) => risk);

function assertClose(actual: readonly number[], wanted: readonly number[]): void {
  assert.equal(actual.length, wanted.length);
  for (const [i, risk] of actual.entries()) {
    assert.ok(Math.abs(risk - wanted[i]!) <= 1e-3, `conversation ${i}: ${risk}, Python says ${wanted[i]}`);
    assert.equal(risk >= 0.5, wanted[i]! >= 0.5);
  }
}

describe('an exported probe', function () {
  this.timeout(60_000); // processors may be busy
  let folder: string;
  let probe: ExportedProbe;

  before(async () => {
    probe = await ExportedProbe.load({ folder: fixtures, judgeId }, 2);
  });
  after(() => probe.release());
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'probe-'));
    cpSync(fixtures, folder, { recursive: true });
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('reads the tokens that Python reads', () => {
    for (const { messages, ids } of parity.cases) assert.deepEqual(probe.tokens(messages), ids);
  });

  it('renders chat templates as Python does', () => {
    const spoken = conversations.filter(([first]) => first!.role === 'user');
    for (const { name, template, texts } of parity.templates) {
      const rendered = spoken.map(messages =>
        new Template(template).render({ ...parity.specialTokens, messages, tools: null, documents: null, add_generation_prompt: true, enable_thinking: false }),
      );
      assert.deepEqual(rendered, texts, name);
    }
  });

  it('gives the risks that PyTorch gives, in any batch and alone', async () => {
    assertClose(await probe.score(conversations), expected);
    const alone: number[] = [];
    for (const each of conversations) alone.push(...(await probe.score([each])));
    assertClose(alone, expected);
    assertClose(await probe.score([...conversations, ...conversations].reverse()), [...expected, ...expected].reverse());
  });

  it('says nothing of what it cannot judge', async () => {
    const long = [{ role: 'user', content: 'word '.repeat(3000) }];
    const trimmedInOneLanguage = [{ role: 'user', content: 'Where is it?\ufeff' }];
    const [none, tooLong, disputed, judged] = await probe.score([[], long, trimmedInOneLanguage, conversations[0]!]);
    assert.deepEqual([none, tooLong, disputed], [NaN, NaN, NaN]);
    assertClose([judged!], [expected[0]!]);
  });

  it('stops when it is told to', async () => {
    await assert.rejects(probe.score(conversations, AbortSignal.abort()), { name: 'AbortError' });
  });

  const failures: [string, RegExp, () => void][] = [
    ['is missing', /ENOENT.*probe\.json/, () => rmSync(folder, { recursive: true })],
    ['is cut off', /probe\.onnx is damaged or cut off/, () => truncateSync(path.join(folder, 'probe.onnx'), 50_000)],
    ['is another model\'s', /it is probe-of-another-model, of another probe or model/, () => changeAbout({ judge: 'probe-of-another-model' })],
    ['reads otherwise', /chat template or tokenizer reads otherwise/, () => changeAbout({ chatTemplate: '{{ messages[0].content }}' })],
    ['judges otherwise', /judges otherwise here than in the trainer, by up to 0\.\d+/, () => changeAbout({ checks: parity.cases.map(each => ({ ...each, risk: 1 - each.risk })) })],
  ];
  for (const [what, reason, damage] of failures) {
    it(`is not believed where it ${what}, and says what to do`, async () => {
      damage();
      try {
        await assert.rejects(ExportedProbe.load({ folder, judgeId }), (error: Error) => {
          assert.equal(error.name, 'ProbeUnavailable');
          assert.match(error.message, reason);
          assert.match(error.message, /Have the dataset judged by its configuration again/);
          return true;
        });
      } finally {
        cpSync(fixtures, folder, { recursive: true });
      }
    });
  }

  function changeAbout(change: object): void {
    writeFileSync(path.join(folder, 'probe.json'), JSON.stringify({ ...readJson<object>('probe.json'), ...change }));
  }
});
