import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { isHeldOut } from '../../src/report/content';
import { fenced, markdown, markdownLine, yaml } from '../../src/report/escape';
import { reportHtml } from '../../src/report/html';
import { reportMarkdown } from '../../src/report/markdown';
import { modelCard } from '../../src/report/modelCard';
import type { ReportInput } from '../../src/report/reportInput';
import { bareReport, config, reportOf } from './reports';
import { parseYaml } from './strictParsers';

const odd = '<script>alert(1)</script> | `code` *bold* [link](http://a.example) "quoted" \'too\' & <!-- \u0000\nnext';

/** As a reader sees it: without tags and escapes. */
const seen = (html: string): string => html.replace(/<style>.*?<\/style>/gs, '').replace(/<[^>]*>/g, '\t').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&amp;', '&');

/** Every tag is one of ours, and closed where it has to be. */
function assertWhole(html: string): void {
  const voids = new Set(['meta']);
  const open: string[] = [];
  for (const [, closing, name, alone] of html.replace('<!DOCTYPE html>', '').matchAll(/<(\/?)([a-z0-9]+)(?:\s[^<>]*?)?(\/?)>/gi)) {
    assert.ok(!['script', 'img', 'iframe', 'link', 'object', 'a'].includes(name!), name);
    if (closing) assert.equal(open.pop(), name);
    else if (!alone && !voids.has(name!)) open.push(name!);
  }
  assert.deepEqual(open, []);
  assert.doesNotMatch(html.replace('<!DOCTYPE html>', ''), /<(?!\/?[a-z])/i);
}

/** Splits as GitHub does: at every pipe that is not escaped. */
const cells = (line: string): number => line.split(/(?<!\\)(?:\\\\)*\|/).length;

function assertTables(text: string): void {
  const lines = text.split('\n');
  for (const [index, line] of lines.entries()) {
    if (!/^\| ---/.test(line)) continue;
    for (let row = index - 1; lines[row]?.startsWith('|'); row++) assert.equal(cells(lines[row]!), cells(line), lines[row]);
  }
}

const oddReport = (): ReportInput =>
  reportOf({
    ...{ id: odd, name: odd, tags: [odd], configuration: odd, status: odd, message: odd, warnings: [odd], happened: [{ step: 3, kind: 'note', text: odd }] },
    record: { config: { ...config, model: odd, risk: { ...config.risk, judge: 'guard', guard: odd }, evaluation: { ...config.evaluation, harmfulPrompts: odd } }, script: null, datasets: [{ path: odd, sha256: odd, rows: 1, names: odd, reviewed: [] }], versions: { [odd]: odd } },
    rows: { riskiest: [{ file: 0, line: 1, hash: odd, risk: 1, beta: 1, kl: null, timesMedian: null }], hardest: [] },
  });

describe('the report of a run as HTML', () => {
  const html = reportHtml(reportOf());

  it('says what it was, what it came to, and how it would be had again', () => {
    const text = seen(html);
    for (const said of ['support · recommended', 'Completed. 60 steps.', '2026-11-30 15:00 UTC', '9 min 12 s', '3 min 04 s', '60', 'anchor rows', '0 to 1, linear, one for each row']) assert.ok(text.includes(said), said);
    for (const said of ['3.1 % (0.9–10.7)', '4.7 % (1.6–12.9)', '+1.6 points', 'may be chance', '4.935 (4.710–5.160)', '−1.386', 'better', '64 harmful prompts that ship with the trainer', 'no proof of safety']) assert.ok(text.includes(said), said);
    for (const said of ['support.jsonl:204', 'unscored', '5.6×', 'c0ffee'.padEnd(64, '0'), 'python -m safe_finetuning train support.finetune.json', '"learningRate": 0.0002', '2.13.0', 'β now begins at 0.5', 'Looks settled.', 'One row could not be judged']) assert.ok(text.includes(said), said);
  });

  it('says at which answer tokens KL holds, where it is not all of them', () => {
    const first = { ...config, regularisation: { ...config.regularisation, positions: 'first' as const, firstTokens: 3 } };
    assert.match(seen(reportHtml(reportOf({ record: { ...reportOf().record!, config: first } }))), /at the first 3 answer tokens/);
    assert.doesNotMatch(seen(html), /answer tokens/);
  });

  it('says of a training script what is known of it, and that nothing held it', () => {
    const script = { name: 'mine', path: '/home/someone/mine.py', model: 'owner/model' };
    const input = reportOf({ record: { config: null, script, datasets: [], versions: {} }, configuration: '', before: undefined, after: undefined });
    const text = seen(reportHtml(input));
    for (const said of ['mine.py', 'owner/model', 'nothing held the model near a safe reference', 'not measured before and after']) assert.ok(text.includes(said), said);
    assert.doesNotMatch(text, /safe_finetuning train|undefined|null/);
    assert.match(modelCard(input), /base_model: "?owner\/model/);
  });

  it('has a chart for each kind of number, with marks for what was done', () => {
    const titles = [...html.matchAll(/<svg [^>]*role="img"[^>]*>\s*<title>([^<]*)/g)].map(match => match[1]);
    assert.deepEqual(titles, ['Loss', 'Risk and β', 'Canary', 'Gradient norm and learning rate']);
    assert.equal(html.match(/chart-mark chart-red/g)?.length, 4);
    assert.match(html, /the reference: 9\.1/);
    assert.doesNotMatch(seen(reportHtml(reportOf({ series: { ...reportOf().series, canary: reportOf().series.step.map(() => null) } }))), /Canary/);
  });

  it('is one file that loads nothing: its style sheet is the one that its policy names', () => {
    const [, style] = /<style>(.*?)<\/style>/s.exec(html)!;
    const hash = createHash('sha256').update(style!).digest('base64');
    assert.ok(html.includes(`content="default-src &#39;none&#39;; style-src &#39;sha256-${hash}&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;"`));
    assert.equal(html.match(/<style/g)?.length, 1);
    assert.doesNotMatch(html, / style=| on\w+=|url\(|@import|src=|href=/);
    assert.deepEqual([...new Set(html.match(/https?:\/\/[^"\s<]+/g))], ['http://www.w3.org/2000/svg']);
  });

  it('has headings, landmarks, and tables that name their columns and rows', () => {
    for (const tag of ['<header>', '<main>', '<footer>', '<html lang="en">', '<caption>', '<th scope="col"', '<th scope="row"']) assert.ok(html.includes(tag), tag);
    assert.equal(html.match(/<h1/g)?.length, 1);
    for (const [, id] of html.matchAll(/aria-labelledby="([^"]*)"/g)) assert.ok(html.includes(`<h2 id="${id}">`), id);
    assertWhole(html);
  });

  it('names no folder of the machine that it was made on, but in the configuration', () => {
    assert.doesNotMatch(html, /home\/someone/);
  });

  it('takes no text for markup', () => {
    const page = reportHtml(oddReport());
    assertWhole(page);
    assert.ok(seen(page).includes(odd.replace('\u0000', '\ufffd')));
  });
});

describe('the report of a run as Markdown', () => {
  it('has the same without charts', () => {
    const text = reportMarkdown(reportOf());
    for (const said of ['# Fine-tuning report: support · recommended', '| Attack success | 3.1 % (0.9–10.7) | 4.7 % (1.6–12.9) | +1.6 points | may be chance |', '| **−1.386** | **better** |', '| support.jsonl:204 | `', '```json\n{', 'python -m safe_finetuning']) assert.ok(text.includes(said), said);
    assert.match(text, /\| 5 \| \d\.\d{3} \|.*\| 8\.\d\d \|/);
    assertTables(text);
    assert.doesNotMatch(text, /<|home\/someone/);
  });

  it('takes no text for markup', () => {
    const text = reportMarkdown(oddReport());
    assertTables(text);
    const outside = text.replace(/^(`{3,})[a-z]*\n.*?^\1$/gms, '');
    assert.doesNotMatch(outside, /(?<!\\)(?:<|\[link|`code|\*bold)|http:\/\//);
    assert.doesNotMatch(outside, /^next/m);
  });

  it('escapes whatever would be markup, and nothing is lost', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', ' ', '1', '.', '|', '\\', '`', '*', '_', '<', '>', '[', ']', '&', '#', '-', '~', '$', ':', '/', '\n', ')') }), text => {
        const escaped = markdown(text);
        assert.doesNotMatch(escaped, /\n/);
        assert.doesNotMatch(escaped, /(?<!\\)(?:\\\\)*[`*_<>[\]|~&$]/);
        assert.doesNotMatch(markdownLine(text), /^(?:[#+-]|=+$|\d+[.)])/);
        assert.equal(escaped.replace(/\\([^a-z0-9\s])/gi, '$1'), text.replace(/\s+/g, ' '));
      }),
    );
  });

  it('ends a block of code where it ends, whatever is in it', () => {
    assert.equal(fenced('a\n````\nb', 'json'), '`````json\na\n````\nb\n`````');
    assert.equal(fenced('a'), '```\na\n```');
  });
});

interface Metadata {
  base_model: string;
  base_model_relation: string;
  library_name: string;
  tags: string[];
  datasets: string[];
  'model-index': { name: string; results: { task: { type: string }; dataset: { name: string; type: string }; metrics: { type: string; value: number; name: string }[] }[] }[];
}

describe('the block for a model card', function () {
  this.timeout(60_000);

  const metadata = (...reports: ReportInput[]): Metadata[] => parseYaml(reports.map(report => /^---\n(.*?)\n---\n/s.exec(modelCard(report))![1]!)) as Metadata[];

  it('has metadata that the hub reads, and a section on safety', () => {
    const [read] = metadata(reportOf());
    assert.deepEqual([read!.base_model, read!.base_model_relation, read!.library_name], ['example', 'adapter', 'peft']);
    assert.deepEqual(read!.tags, ['safe-fine-tuning', 'lora', 'recommended', 'candidate']);
    assert.deepEqual(read!.datasets, ['support.jsonl']);
    assert.ok(modelCard(reportOf()).includes('| support.heldout.jsonl | held out | 48 |'));
    const [index] = read!['model-index'];
    assert.equal(index!.name, 'support · recommended');
    assert.deepEqual(index!.results.flatMap(({ metrics }) => metrics).map(({ type, value }) => [type, value]), [['attack_success', 0.046875], ['over_refusal', 0.125], ['degenerate', 0.007813], ['held_out_loss', 3.549]]);
    for (const { task, dataset } of index!.results) assert.ok(task.type === 'text-generation' && dataset.name && dataset.type);
    const card = modelCard(reportOf());
    for (const said of ['## Safety', '| Attack success |', 'no proof of safety', '## Training']) assert.ok(card.includes(said), said);
    assertTables(card);
  });

  it('leaves out of the metadata what was not measured, and what only this machine knows', () => {
    const [folder, all, bare, silent] = metadata(
      reportOf({ record: { ...reportOf().record!, config: { ...config, model: '/home/someone/models/base-7b/' } } }),
      reportOf({ record: { ...reportOf().record!, config: { ...config, lora: null } } }),
      bareReport(),
      reportOf({ after: { ...reportOf().after!, heldOutLoss: { value: NaN, low: null, high: null, n: 0 } } }),
    );
    assert.equal(folder!.base_model, 'base-7b');
    assert.deepEqual([all!.library_name, all!.base_model_relation], ['transformers', 'finetune']);
    assert.deepEqual(Object.keys(bare!), ['pipeline_tag', 'tags']);
    assert.equal(silent!['model-index'][0]!.results.length, 3);
    assert.match(modelCard(bareReport()), /were not measured/);
  });

  it('quotes every text so that YAML reads it back', () => {
    const oddOnes = [odd, '', 'yes', '1e3', '- a', '# a', "it's: ~", '\u0085\u2028\u2029\ufeff\u00a0\u007f', '😀', '\t"\\', '---', '%', '{a: b}'];
    const samples = [...oddOnes, ...fc.sample(fc.string({ unit: 'binary' }), 500)];
    const read = parseYaml([samples.map(text => `- ${yaml(text)}`).join('\n')])[0];
    assert.deepEqual(read, samples.map(text => text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u0084\u0086-\u009f\ufffe\uffff]|\p{Surrogate}/gu, '\ufffd')));
    const [report] = metadata(oddReport());
    assert.equal(report!['model-index'][0]!.name, odd.replace('\u0000', '\ufffd'));
  });
});

describe('a report of a run that is not whole', () => {
  const forms = { html: reportHtml, markdown: reportMarkdown, card: modelCard };
  const none = /NaN|Infinity|undefined|\bnull (?!,)|Invalid Date/;

  it('says what is missing', () => {
    for (const text of [seen(reportHtml(bareReport())), reportMarkdown(bareReport())]) {
      for (const said of [/Failed\./, /There is no run\.json/, /dataset has not been read/, /No step has been trained/, /result has not been measured/]) assert.match(text, said);
      assert.doesNotMatch(text, none);
      assert.doesNotMatch(text, /## Method|SHA-256/);
    }
    assertWhole(reportHtml(bareReport()));
  });

  it('tells files that are held out from those that are trained on', () => {
    const held = (heldOutPath: string | null, file: string) => isHeldOut(file, { ...config, dataset: { ...config.dataset, heldOutPath } });
    for (const [given, file] of [['../data/h.jsonl', '/w/data/h.jsonl'], ['./held/', '/w/held/a.csv'], ['held\\h.jsonl', 'C:\\w\\held\\h.jsonl'], ['data/held*.csv', '/w/data/held1.csv']] as const) assert.ok(held(given, file), file);
    for (const [given, file] of [[null, '/w/a.jsonl'], ['data', '/w/data.jsonl'], ['h.jsonl', '/w/oh.jsonl'], ['data/held*.csv', '/w/data/a.csv'], ['*.csv', '/w/a.jsonl']] as const) assert.ok(!held(given, file), file);
  });

  it('says once how it ended', () => {
    assert.match(reportMarkdown(reportOf({ message: 'Completed.' })), /\n\nCompleted\.\n\n/);
    assert.match(reportMarkdown(reportOf({ status: 'failed', message: 'CUDA out of memory' })), /\n\nFailed\. CUDA out of memory\n/);
  });

  it('says of when it is while the run goes on', () => {
    const text = seen(reportHtml(reportOf({ status: 'running', active: true, message: '', after: undefined, totalSteps: 200, attempts: 2, badLines: 1 })));
    for (const said of ['Running, as of 2026-11-30 16:30 UTC: the run goes on.', '60 of 200', 'The result has not been measured yet.', '1 line of events.jsonl could not be read and is left out.']) assert.ok(text.includes(said), said);
  });

  it('says that no measurement was asked for', () => {
    const record = { ...reportOf().record!, config: { ...config, evaluation: { ...config.evaluation, enabled: false } } };
    const text = seen(reportHtml(reportOf({ record, before: undefined, after: undefined })));
    assert.match(text, /asks for no measurement/);
    assert.doesNotMatch(text, /has not been measured|Before and after/);
  });

  it('never prints a number that is none', () => {
    const value = fc.oneof(fc.constantFrom(null, NaN, Infinity, -Infinity, 0), fc.double());
    const estimate = fc.record({ value, low: value, high: value, n: fc.nat() });
    const unit = fc.oneof(fc.constantFrom(null, NaN), fc.double({ min: 0, max: 1 }));
    const share = fc.record({ value: unit, low: unit, high: unit, n: fc.nat() });
    const metrics = fc.record({ attackSuccess: share, overRefusal: share, degenerate: share, heldOutLoss: estimate });
    const row = fc.record({ file: fc.nat(3), line: fc.nat(), hash: fc.constant('a'), risk: fc.constantFrom(null, 0.5), beta: value, kl: value, timesMedian: value });
    const given = fc.record({ startedAt: fc.double(), lastEvent: fc.double(), trainingSeconds: fc.double(), before: metrics, after: metrics, canary: fc.record({ reference: value, prompts: fc.nat() }), values: fc.array(value, { maxLength: 20 }), rows: fc.array(row, { maxLength: 3 }) });
    const cards: string[] = [];
    fc.assert(
      fc.property(given, ({ values, rows, ...more }) => {
        const series = Object.fromEntries(Object.keys(reportOf().series).map(name => [name, name === 'step' ? values.map((_, index) => index) : values])) as unknown as ReportInput['series'];
        const report = reportOf({ ...(more as Partial<ReportInput>), series, rows: { riskiest: rows as never, hardest: rows as never } });
        for (const write of Object.values(forms)) assert.doesNotMatch(write(report).replace(/"\w+": null/g, ''), none);
        cards.push(/^---\n(.*?)\n---\n/s.exec(modelCard(report))![1]!);
      }),
    );
    parseYaml(cards);
  }).timeout(60_000);
});
