import assert from 'node:assert/strict';
import fc from 'fast-check';
import { findValue, JsonError, type JsonPath } from '../../src/datasets/jsonScan';
import { inputs } from './inputs';

const parses = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/** Every path in a value, with what stands there. */
function* valuesIn(value: unknown, path: JsonPath = []): Generator<[JsonPath, unknown]> {
  yield [path, value];
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) yield* valuesIn(inner, [...path, Array.isArray(value) ? Number(key) : key]);
}

const tokens = ['{', '}', '[', ']', ':', ',', '"a"', '"b\\n', '"', '\\', '1', '-', '.5', 'e9', 'true', 'nul', ' ', '\t', '\u0001', '0'];

describe('scanning JSON', () => {
  it('accepts and rejects what JSON.parse does', () => {
    const text = fc.oneof(
      fc.array(fc.constantFrom(...tokens), { maxLength: 10 }).map(parts => parts.join('')),
      fc.json(),
      fc.tuple(fc.json(), fc.nat(), fc.constantFrom(...tokens)).map(([json, at, token]) => {
        const cut = at % (json.length + 1);
        return json.slice(0, cut) + token + json.slice(cut + 1);
      }),
    );
    fc.assert(
      fc.property(text, candidate => {
        if (parses(candidate)) {
          findValue(candidate, []);
          return;
        }
        assert.throws(
          () => findValue(candidate, []),
          error => error instanceof JsonError && error.offset >= 0 && error.offset <= candidate.length,
        );
      }),
      { numRuns: inputs(5000) },
    );
  });

  it('names the first token that cannot stand there: whatever is before it can be completed', () => {
    const completions = ['', '1', '"', '"}', '"]', '}', ']', '":1}', ':1}', '"a":1}', '1]', '1}', '0', '0]', '0}'];
    fc.assert(
      fc.property(fc.array(fc.constantFrom('{', '}', '[', ']', ':', ',', '"a"', '1', ' '), { maxLength: 6 }), parts => {
        const text = parts.join('');
        if (parses(text)) return;
        try {
          findValue(text, []);
        } catch (error) {
          const { offset } = error as JsonError;
          const good = text.slice(0, offset);
          const closing = [...good].reduce((open, char) => {
            if (char === '{') return `}${open}`;
            if (char === '[') return `]${open}`;
            return char === '}' || char === ']' ? open.slice(1) : open;
          }, '');
          const tails = completions.flatMap(tail => [tail + closing, tail + closing.slice(1)]);
          assert.ok(tails.some(tail => parses(good + tail)), JSON.stringify([text, offset]));
        }
      }),
      { numRuns: inputs(2000) },
    );
  });

  it('finds every value where it stands', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 1, '\t'), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        const parsed: unknown = JSON.parse(text);
        for (const [path, inner] of valuesIn(parsed)) {
          const span = findValue(text, path);
          assert.ok(span, JSON.stringify(path));
          assert.deepEqual(JSON.parse(text.slice(span.start, span.end)), inner);
        }
        assert.equal(findValue(text, ['no such key', 0]), undefined);
      }),
    );
  });

  it('of a repeated key takes the last, also where it has nothing at the path', () => {
    const found = (text: string, path: JsonPath): string | undefined => {
      const span = findValue(text, path);
      return span && text.slice(span.start, span.end);
    };
    assert.equal(found('{"a": [1], "a": [2]}', ['a', 0]), '2');
    assert.equal(found('{"a": [1], "a": {}}', ['a', 0]), undefined);
    assert.equal(found('{"b": {"a": 1}, "a": 2, "b": {"a": 3}}', ['a']), '2');
    assert.equal(found('{"\\u0061": 1}', ['a']), '1');
  });
});
