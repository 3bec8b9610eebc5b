/** A record that is a JSON object. */
import * as l10n from '@vscode/l10n';
import type { ColumnNames } from '../columnNames';
import { findValue, JsonError, type JsonPath, type Span } from '../jsonScan';
import { describe, EXPECTED, isObject, type JsonObject } from '../rowForms';
import { problem, rowOf, type RowOrProblem } from '../rows';
import type { Format, Replacement } from './format';

/** What every format of JSON does with a record. */
export const jsonRecord = (names: ColumnNames | undefined): Pick<Format, 'read' | 'valueOf' | 'spanOf' | 'replacing'> => ({
  read: text => readJson(text, names),
  valueOf: valueOfJson,
  spanOf: spanInJson,
  replacing: replacingInJson,
});

export function readJson(text: string, names?: ColumnNames): RowOrProblem {
  const nul = text.indexOf('\0');
  if (nul >= 0) return problem('nul', nul, l10n.t('The row contains a NUL character. Remove it: the file may be damaged.'));
  const start = text.search(/[^ \t\r]/);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    const { offset, message } = jsonErrorOf(text);
    return problem('not-json', offset, l10n.t`Not valid JSON: ${message}. Every row must be one JSON object.`);
  }
  if (!isObject(value)) return problem('not-object', start, l10n.t`The row is ${describe(value)}, not an object. ${EXPECTED}`);
  return rowOf(value, start, names);
}

function valueOfJson(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function spanInJson(text: string, path: JsonPath): Span | undefined {
  const span = findValue(text, path);
  if (span && text[span.start] === '"' && span.end - span.start > 2) return { start: span.start + 1, end: span.end - 1 };
  return span;
}

function replacingInJson(text: string, path: JsonPath, value: string): Replacement | undefined {
  const span = findValue(text, path);
  return span && { ...span, text: JSON.stringify(value) };
}

function jsonErrorOf(text: string): JsonError {
  try {
    findValue(text, []);
  } catch (error) {
    if (error instanceof JsonError) return error;
    throw error;
  }
  throw new Error('JSON.parse rejects what the scanner accepts');
}
