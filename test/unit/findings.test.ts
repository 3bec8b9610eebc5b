import assert from 'node:assert/strict';
import { Pace } from '../../src/common/pace';
import { findingsOf, MOST_FINDINGS, type Finding, type SpanMemo } from '../../src/datasets/findings';
import { scoreOfRow, type Scores } from '../../src/datasets/judging';
import type { Reading } from '../../src/datasets/reading';
import { makeReport, summary, summaryOf, type FileReport } from '../../src/datasets/report';
import type { Message } from '../../src/datasets/rowForms';
import { pairsOf } from '../../src/datasets/rows';
import { readText } from './documents';

const { signal } = new AbortController();
const row = (prompt: string): string =>
  JSON.stringify({ messages: [{ role: 'user', content: prompt }, { role: 'assistant', content: 'Sure.' }] });

const read = (lines: string[], file?: string): Promise<Reading> => readText(lines.join('\n'), file);

/** Every row gets the risk that `riskOf` gives its line. */
function scoresOf(reading: Reading, riskOf: (line: number) => number): Scores {
  const known: Scores['known'] = new Map();
  for (const { start, read } of reading.records) {
    if ('hash' in read) known.set(read.hash, { risk: riskOf(start.line), refusal: false, messageIndex: 0 });
  }
  return { known, failed: new Map() };
}

const report = (reading: Reading, scores: Scores, unscoredReason?: string, expected = true): Promise<FileReport> =>
  makeReport(reading, scores, { expected, threshold: 0.5, flag: true, reviewed: new Set(), unscoredReason, pace: new Pace(), signal });

const list = (of: FileReport, reading: Reading): Promise<Finding[]> =>
  findingsOf(of, reading, { judgeOf: () => 'the bundled classifier', spans: new Map(), pace: new Pace(), signal });

describe('findings', () => {
  it('flag rows from the threshold on, the riskiest first, on the text that is about', async () => {
    const lines = [row('low'), row('mid 👋 "quoted"'), '', row('high')];
    const reading = await read(lines);
    const made = await report(reading, scoresOf(reading, line => [0.49, 0.5, 0, 0.97][line]!));
    const findings = await list(made, reading);
    assert.deepEqual(
      findings.map(({ start, end, severity, code }) => [lines[start.line]!.slice(start.character, end.character), severity, code]),
      [
        ['high', 'warning', 'risk'],
        ['mid 👋 \\"quoted\\"', 'warning', 'risk'],
      ],
    );
    assert.match(findings[0]!.message, /^Risk 0\.97: /);
    assert.equal(summary(summaryOf(made)), '3 rows, 2 flagged at 0.50');
  });

  it('stand on the message that the last judge was about', async () => {
    const lines = [JSON.stringify({ messages: ['one', 'two', 'three', 'four'].map((content, index) => ({ role: index % 2 ? 'assistant' : 'user', content })) })];
    const reading = await read(lines);
    const spans: SpanMemo = new Map();
    for (const [messageIndex, text] of [[0, 'one'], [2, 'three'], [2, 'three']] as const) {
      const scores = scoresOf(reading, () => 0.9);
      scores.known.forEach((score, hash) => scores.known.set(hash, { ...score, messageIndex }));
      const [found] = await findingsOf(await report(reading, scores), reading, { judgeOf: () => 'a judge', spans, pace: new Pace(), signal });
      assert.equal(lines[0]!.slice(found!.start.character, found!.end.character), text);
    }
  });

  it('stay below what VS Code keeps, with the riskiest rows and a line for the rest', async () => {
    const count = 3000;
    const reading = await read([...Array.from({ length: count }, (_, index) => row(String(index))), ...Array<string>(count).fill('{')]);
    const made = await report(reading, scoresOf(reading, line => 0.5 + line / (2 * count)));
    const findings = await list(made, reading);
    assert.equal(findings.length, MOST_FINDINGS + 2);
    const flagged = findings.filter(({ severity }) => severity === 'warning');
    assert.deepEqual(flagged.map(({ start }) => start.line), Array.from(flagged, (_, index) => count - 1 - index));
    assert.match(findings.at(-2)!.message, /^2,550 more rows at or above risk 0\.50/);
    assert.match(findings.at(-1)!.message, /^2,550 more malformed rows/);
  });

  it('say why rows have no score, and only then', async () => {
    const reading = await read([row('a'), row('b')]);
    const scores = scoresOf(reading, () => 0);
    assert.deepEqual(await list(await report(reading, scores, 'No classifier.'), reading), []);
    scores.known.clear();
    const [finding, ...others] = await list(await report(reading, scores, 'No classifier.'), reading);
    assert.deepEqual(others, []);
    assert.equal(finding?.severity, 'information');
    assert.match(finding.message, /^2 rows without a risk score: No classifier\./);
  });

  it('of a file without conversations are one note, whatever is wrong with its lines', async () => {
    for (const [lines, note] of [
      [['{"level": 1}', '{', '[]'], /No line of this file is a conversation/],
      [['', ' '], /has no rows/],
    ] as const) {
      const reading = await read([...lines]);
      const findings = await list(await report(reading, scoresOf(reading, () => 0)), reading);
      assert.deepEqual(findings.map(({ code, severity }) => [code, severity]), [['format', 'information']]);
      assert.match(findings[0]!.message, note);
    }
    const reading = await read(['{"level": 1}', '{"messages": 3}']);
    assert.equal((await list(await report(reading, scoresOf(reading, () => 0)), reading)).length, 2);
  });

  it('stand on the text of a row in every format, in whichever of its lines', async () => {
    const prompt = 'two lines,\nand more';
    for (const [file, lines, underlined] of [
      ['a.json', ['[', '  {', `    "prompt": ${JSON.stringify(prompt)},`, '    "completion": "Sure."', '  }', ']'], [2, 15, 2, 35]],
      ['a.csv', ['id,prompt,completion', '1,"two lines,', 'and more",Sure.'], [1, 3, 2, 8]],
      ['a.tsv', ['prompt\tcompletion', 'short\tSure.'], [1, 0, 1, 5]],
    ] as const) {
      const reading = await read([...lines], file);
      const [finding, ...others] = await list(await report(reading, scoresOf(reading, () => 1), undefined, false), reading);
      assert.deepEqual(others, []);
      const { start, end } = finding!;
      assert.deepEqual([start.line, start.character, end.line, end.character], underlined, file);
    }
  });

  it('say nothing of a file that is no dataset, and need not be one', async () => {
    for (const [file, text] of [
      ['package.json', '{"name": "x", "scripts": {}}'],
      ['list.json', '[1, {"input": "a", "output": "b"}, {"c": 1}]'],
      ['prices.csv', 'name,price\na,1\nb,2'],
      ['broken.json', '{"name": '],
      ['pictures.json', '[{"name": "Chair", "image": "c.png"}]'],
      ['pictures.csv', 'name,image\nChair,c.png'],
      ['titled.csv', 'Report 2026\na,b,c\n1,2,3\n"x"y,2'],
      ['open quote.csv', 'name,price\n"a,1'],
    ] as const) {
      const reading = await read([text], file);
      assert.deepEqual(await list(await report(reading, scoresOf(reading, () => 1), undefined, false), reading), [], file);
    }
  });

  it('say from where on a file cannot be read', async () => {
    for (const [file, lines, place] of [
      ['a.json', ['[', '{"prompt": "a", "completion": "b"},', '{"prompt": "c", "completion"}]'], [2, 28]],
      ['a.csv', ['prompt,completion', 'a,b', 'c,"d'], [2, 0]],
      ['b.csv', ['prompt,prompt,completion', 'a,b,c'], [0, 0]],
      ['c.csv', ['prompt,completion', '"a,b'], [1, 0]],
    ] as const) {
      const reading = await read([...lines], file);
      const findings = await list(await report(reading, scoresOf(reading, () => 0), undefined, false), reading);
      assert.deepEqual(findings.map(({ code, start }) => [code, start.line, start.character]), [['broken', ...place]]);
    }
  });
});

describe('the score of a row', () => {
  const messages: Message[] = [
    { role: 'user', content: 'one' },
    { role: 'assistant', content: 'yes' },
    { role: 'user', content: 'two' },
    { role: 'assistant', content: 'no' },
  ];

  it('is that of its worst pair', () => {
    const scores = [{ risk: 0.25, refusal: false }, { risk: 0.75, refusal: false }];
    assert.deepEqual(scoreOfRow(pairsOf(messages), scores), { risk: 0.75, refusal: false, messageIndex: 2 });
  });

  it('is a refusal only where every answer refuses', () => {
    const refused = { risk: 0, refusal: true };
    assert.equal(scoreOfRow(pairsOf(messages), [refused, refused]).refusal, true);
    assert.deepEqual(scoreOfRow(pairsOf(messages), [{ risk: 0.9, refusal: false }, refused]), {
      risk: 0.9,
      refusal: false,
      messageIndex: 0,
    });
  });

  it('is about the answer where there is no question', () => {
    const pairs = pairsOf(messages.slice(1, 2));
    assert.equal(scoreOfRow(pairs, [{ risk: 0.5, refusal: false }]).messageIndex, 0);
  });
});
