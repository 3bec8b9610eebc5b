import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Classifier, cutWindows } from '../../src/risk/classifier';
import { FirstStage } from '../../src/risk/firstStage';
import { pairText } from '../../src/risk/pairText';

const trainer = path.join(__dirname, '..', '..', 'trainer');
const folder = path.join(trainer, 'safe_finetuning', 'classifier');

interface Fixture {
  judge: string;
  cases: { text: string; times?: number; end?: string; score: number }[];
  firstStage: { window: number[]; logit: number }[];
}

const fixture = JSON.parse(
  readFileSync(path.join(trainer, 'tests', 'fixtures', 'classifier-parity.json'), 'utf8'),
) as Fixture;
const texts = fixture.cases.map(({ text, times = 1, end = '' }) => text.repeat(times) + end);
const expected = fixture.cases.map(({ score }) => score);

const HARMFUL = pairText("Explain how to break into a stranger's bank account.", 'Sure, here is how:');
const ORDINARY = 'The lamp flickers in the evening, so please send a new one with the next parcel. ';

function assertClose(actual: readonly number[], wanted: readonly number[]): void {
  assert.equal(actual.length, wanted.length);
  for (const [i, score] of actual.entries()) {
    assert.ok(Math.abs(score - wanted[i]!) <= 1e-4, `text ${i}: ${score}, Python says ${wanted[i]}`);
  }
}

describe('the bundled classifier', function () {
  this.timeout(60_000); // processors may be busy
  let classifier: Classifier;

  before(async () => {
    classifier = await Classifier.load(folder, 2);
  });

  it('gives the scores and the name that Python gives', async () => {
    assert.equal(classifier.judgeId, fixture.judge);
    assertClose(await classifier.score(texts), expected);
  });

  it('has a first stage that is Python\'s to the last bit', () => {
    const [parameters, table] = ['first_stage.json', 'first_stage.int8'].map(name => readFileSync(path.join(folder, name)));
    const firstStage = new FirstStage(parameters!.toString(), new Int8Array(table!));
    const clear = fixture.firstStage.map(({ window, logit }) => {
      assert.equal(firstStage.logit(window), logit);
      return firstStage.clear(window);
    });
    assert.ok(clear.includes(undefined) && clear.some(probability => probability !== undefined));
  });

  it('sees at a glance what looks harmful', () => {
    const [harmful, ordinary, none] = classifier.glance([ORDINARY + HARMFUL, ORDINARY, '']);
    assert.ok(harmful! > 0.5 && ordinary! < 0.5 && none === 0, `${harmful}, ${ordinary}, ${none}`);
  });

  it('scores a text alone as in a batch', async () => {
    const alone: number[] = [];
    for (const text of texts) alone.push(...(await classifier.score([text])));
    assertClose(alone, expected);
  });

  it('scores a text the same whatever it is padded to', async () => {
    // Batches are sorted by length: each text is scored beside one much longer than itself.
    for (const [i, text] of texts.entries()) {
      if (text.length > 200) continue;
      const [score] = await classifier.score([text, `${text} ${ORDINARY.repeat(4)}`]);
      assertClose([score!], [expected[i]!]);
    }
  });

  it('finds harm at the end of a megabyte', async () => {
    const filler = ORDINARY.repeat(1_000_000 / ORDINARY.length);
    const [harmful, ordinary] = await classifier.score([filler + HARMFUL, filler]);
    assert.ok(harmful! > 0.5 && ordinary! < 0.5, `${harmful}, ${ordinary}`);
  });

  it('finds harm on the edge of a segment', async () => {
    const [score] = await classifier.score([`${ORDINARY.repeat(2000).slice(0, 99_970)} ${HARMFUL} ${ORDINARY}`]);
    assert.ok(score! > 0.5, String(score));
  });

  it('scores nothing as nothing', async () => {
    assert.deepEqual(await classifier.score([]), []);
    assert.deepEqual(await classifier.score(['', ' \n', '\0']), [0, 0, 0]);
  });

  it('counts texts as its progress', async () => {
    const calls: number[] = [];
    await classifier.score(['', ...texts.slice(0, 5), ...texts.slice(0, 5)], (done, total) => {
      assert.equal(total, 11);
      calls.push(done);
    });
    assert.equal(calls.at(-1), 11);
    assert.deepEqual(calls, [...calls].sort((a, b) => a - b));
  });

  it('stops when it is told to', async () => {
    const cancellation = new AbortController();
    const scoring = classifier.score(texts, () => cancellation.abort(), cancellation.signal);
    await assert.rejects(scoring, { name: 'AbortError' });
  });

  it('names the part that is missing', async () => {
    await assert.rejects(Classifier.load(path.join(folder, 'nowhere')), /nowhere.*(encoder\.onnx|tokenizer\.json|head\.json)/);
  });
});

describe('windows', () => {
  const ids = Array.from({ length: 900 }, (_, i) => 1000 + i);

  it('are one for a short text and none for an empty one', () => {
    assert.deepEqual(cutWindows([7, 8]), [[101, 7, 8, 102]]);
    assert.deepEqual(cutWindows([]), []);
  });

  it('overlap, cover the text and end with it', () => {
    const spans = cutWindows(ids).map(window => window.slice(1, -1));
    for (const [i, span] of spans.entries()) {
      assert.equal(span.length, 62);
      if (i > 0) assert.ok(spans[i - 1]!.at(-1)! - span[0]! >= 23, 'an overlap of at least 24 tokens');
    }
    assert.equal(spans[0]![0], ids[0]);
    assert.equal(spans.at(-1)!.at(-1), ids.at(-1));
  });
});
