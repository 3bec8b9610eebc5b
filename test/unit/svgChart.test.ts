import assert from 'node:assert/strict';
import fc from 'fast-check';
import { svgChart, svgChartStyle, type ChartSpec } from '../../src/report/svgChart';
import { parseXml } from './strictParsers';
import { inputs } from './inputs';

const line = (values: (number | null)[], more: Partial<ChartSpec['lines'][number]> = {}): ChartSpec['lines'][number] => ({ label: 'loss', colour: 'blue', values, ...more });
const chart = (values: (number | null)[], more: Partial<ChartSpec> = {}): string =>
  svgChart({ title: 'Loss', x: values.map((_, index) => index + 1), lines: [line(values)], ...more });
const paths = (svg: string, kind: 'line' | 'dot' | 'ring'): string[] => [...plotOf(svg).matchAll(new RegExp(`<path class="chart-${kind}[^>]* d="([^"]*)"`, 'g'))].map(match => match[1]!);
/** What is inside the axes: the legend has lines of its own. */
const plotOf = (svg: string): string => /<svg x=.*?<\/svg>/s.exec(svg)![0];
const texts = (svg: string): string[] => [...svg.matchAll(/<text[^>]*>(?:<title>.*?<\/title>)?([^<]*)<\/text>/g)].map(match => match[1]!);

describe('a chart as SVG', function () {
  this.timeout(60_000);

  it('draws a line through its points, from the left to the right, the highest on top', () => {
    const [path] = paths(chart([0, 10, 5]), 'line');
    const points = path!.slice(1).split('L').map(point => point.split(' ').map(Number));
    assert.equal(points.length, 3);
    assert.deepEqual(points.map(([, y]) => y), [points[0]![1], 0, Math.round(points[0]![1]! / 2 * 10) / 10]);
    assert.ok(points[0]![0] === 0 && points[0]![0] < points[1]![0]! && points[1]![0]! < points[2]![0]!);
  });

  it('is cut where a value is missing, and shows a point that stands alone', () => {
    const svg = chart([1, 2, null, 3, NaN, Infinity, 4, 5]);
    assert.equal(paths(svg, 'line')[0]!.split('M').length - 1, 2);
    assert.equal(paths(svg, 'dot')[0]!.split('M').length - 1, 1);
  });

  it('goes through the gaps of a line that has a value at some steps only', () => {
    const svg = chart([1, null, null, 3, null, 2], { lines: [line([1, null, null, 3, null, 2], { sparse: true })] });
    assert.equal(paths(svg, 'line')[0]!.split('L').length, 3);
    assert.equal(paths(svg, 'dot')[0]!.split('M').length - 1, 3);
  });

  it('has cells below its lines, those of one strength together, cut where the plot ends', () => {
    const cells = [
      { x: [0.5, 1.5], y: [0, 0.5], strength: 1 },
      { x: [1.5, 2.5], y: [0.5, 1], strength: 0.254 },
      { x: [2.5, 9], y: [0, 0.5], strength: 1 },
      { x: [7, 9], y: [0, 1], strength: 1 },
    ] as const;
    const svg = chart([1, 1, 1], { left: { range: [0, 1] }, cells: [{ label: 'risky', colour: 'red', cells }] });
    const drawn = [...plotOf(svg).matchAll(/<path class="chart-cell chart-red" fill-opacity="([^"]*)" d="([^"]*)"/g)].map(([, opacity, path]) => [opacity, path!.split('Z').length - 1]);
    assert.deepEqual(drawn, [['1.00', 2], ['0.25', 1]]);
    const [width, height] = /viewBox="-3 -3 ([\d.]+) ([\d.]+)"/.exec(plotOf(svg))!.slice(1).map(size => Math.round(10 * (Number(size) - 6)) / 10);
    const [first, last] = /d="(M[^"]*)"/.exec(plotOf(svg))![1]!.split('Z');
    assert.equal(first, `M0 ${height! / 2}H${Math.round((10 * width!) / 4) / 10}V${height}H0`);
    assert.ok(last!.includes(`H${width}V`), last);
    assert.ok(plotOf(svg).indexOf('chart-cell') < plotOf(svg).indexOf('chart-line') && texts(svg).includes('risky'));
  });

  it('has round numbers on its axes, and whole steps', () => {
    const svg = chart([0.1, 0.62], { xLabel: 'step' });
    for (const tick of ['0', '0.2', '0.8', '1', '2', 'step']) assert.ok(texts(svg).includes(tick), tick);
    assert.ok(!texts(svg).includes('1.5'));
  });

  it('has powers of ten on a logarithmic axis, on which nothing below 0 can stand', () => {
    const svg = chart([1e-5, 0, -1, 1e-1], { left: { scale: 'log' } });
    for (const tick of ['1e−5', '0.001', '0.1']) assert.ok(texts(svg).includes(tick), tick);
    assert.equal(paths(svg, 'dot')[0]!.split('M').length - 1, 2);
  });

  it('has a second axis, a level and marks', () => {
    const svg = svgChart({
      title: 'T',
      x: [1, 2, 3],
      lines: [line([1, 2, 3]), line([0, 1e-4, 2e-4], { label: 'rate', axis: 'right', colour: 'green' })],
      left: { label: 'norm' },
      right: { label: 'rate per step' },
      level: { value: 2.5, label: 'the reference' },
      marks: [{ x: 2, label: '1', meaning: 'β was raised', alarm: true }, { x: 99, label: 'outside' }],
    });
    for (const text of ['norm', 'rate per step', 'the reference', '1', 'rate', '2e−4']) assert.ok(texts(svg).includes(text), text);
    assert.match(plotOf(svg), /chart-mark chart-red/);
    assert.match(plotOf(svg), /chart-level/);
    assert.match(svg, /<desc>.*the reference: 2\.5\. At 2: β was raised\./s);
    assert.doesNotMatch(svg, /outside/);
  });

  it('says in words what it shows', () => {
    const [, description] = /<desc>(.*?)<\/desc>/s.exec(chart([3, null, 1, 2], { description: 'Of a test.', xLabel: 'Step' }))!;
    assert.equal(description, 'Of a test. Step 1 to 4. loss: from 3 to 2, lowest 1, highest 3.');
  });

  it('says that there is nothing', () => {
    assert.ok(texts(chart([])).includes('No values'));
    assert.ok(texts(chart([null, NaN])).includes('No values'));
  });

  it('follows the viewer from light to dark unless it is told which', () => {
    assert.match(chart([1]), /prefers-color-scheme:dark/);
    assert.match(svgChartStyle(), /prefers-color-scheme:dark/);
    assert.notEqual(chart([1], { theme: 'light' }), chart([1], { theme: 'dark' }));
    assert.doesNotMatch(chart([1], { theme: 'dark' }) + chart([1], { embedded: true }), /prefers-color-scheme/);
    assert.doesNotMatch(chart([1], { embedded: true }), /<style/);
  });

  it('never takes a text for markup', () => {
    const odd = '<script>alert(1)</script> & "quoted" \'too\' ]]> \u0000\ud800';
    const svg = chart([1, 2], { title: odd, description: odd, xLabel: odd, left: { label: odd }, lines: [line([1, 2], { label: odd })], level: { value: 1, label: odd }, marks: [{ x: 1, label: odd, meaning: odd }] });
    assert.doesNotMatch(svg, /<script/);
    assert.ok(parseXml([svg])[0]!.includes('<script>alert(1)</script> & "quoted" \'too\' ]]> \ufffd\ufffd'));
  });

  it('is well-formed and without a number that is none, whatever it is given', () => {
    const value = fc.oneof(fc.constant(null), fc.double(), fc.double({ min: -10, max: 10 }), fc.constantFrom(0, 1, -1, NaN, Infinity, 5e-324, 1.7e308, -1.7e308));
    const axis = fc.record({ label: fc.string(), scale: fc.constantFrom('linear' as const, 'log' as const), range: fc.tuple(fc.double(), fc.double()) }, { requiredKeys: [] });
    const lines = fc.record(
      { label: fc.string({ unit: 'binary' }), values: fc.array(value), colour: fc.constantFrom('red' as const, 'blue' as const), dash: fc.constantFrom([], [4, 3]), points: fc.constantFrom('dot' as const, 'ring' as const), sparse: fc.boolean(), axis: fc.constantFrom('left' as const, 'right' as const) },
      { requiredKeys: ['label', 'values', 'colour'] },
    );
    const spec = fc.record(
      { title: fc.string({ unit: 'binary' }), x: fc.oneof(fc.array(fc.double()), fc.array(fc.nat(), { maxLength: 4 })), lines: fc.array(lines, { maxLength: 3 }), left: axis, right: axis, level: fc.record({ value: fc.double(), label: fc.string() }), marks: fc.array(fc.record({ x: fc.double(), label: fc.string() }), { maxLength: 3 }) },
      { requiredKeys: ['title', 'x', 'lines'] },
    );
    const drawn: string[] = [];
    fc.assert(
      fc.property(spec, given => {
        const named = { ...given, lines: given.lines.map((own, index) => ({ ...own, label: own.label && `line ${index}` })) };
        const svg = svgChart({ ...named, title: 't' });
        assert.doesNotMatch(svg.replace(/<(text|desc|title)[^>]*>[^<]*/g, ''), /NaN|Infinity|undefined/);
        for (const text of texts(svg)) assert.doesNotMatch(text, /^−?(NaN|Infinity|∞)/);
        assert.doesNotMatch(/<desc>[^<]*/.exec(svg)![0], /(from|to|lowest|highest) −?(NaN|Infinity)/);
        drawn.push(svgChart(given));
      }),
      { numRuns: inputs(500) },
    );
    parseXml(drawn);
  });
});
