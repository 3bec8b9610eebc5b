/**
 * Rows of a chat dataset in JSON Lines. The trainer reads the same files by the same rules
 * (trainer/safe_finetuning/rows.py); test/fixtures/rows holds both to them:
 *
 * - A line ends with LF or CRLF. A byte order mark at the start of the file is no part of it. A line
 *   of nothing but spaces and tabs is no row.
 * - A row is an object that is a conversation in one of the forms of rowForms.ts.
 * - A problem's column counts UTF-16 units from 1. For `not-json` it is the token that cannot stand
 *   there; inside a string, the character. For `invalid-utf8` and `nul` it is the first bad byte, for
 *   everything else the start of the row.
 */
import { createHash } from 'node:crypto';
import { findValue, JsonError, type JsonPath, type Span } from './jsonScan';
import { conversationOf, describe, EXPECTED, isBlank, isObject, type InvalidCode, type Message } from './rowForms';

export interface Row {
  /** First 16 hex digits of the SHA-256 of roles and contents. */
  hash: string;
  messages: Message[];
  /** Where in the line the text of each message stands. */
  paths: JsonPath[];
}

export type ProblemCode = 'not-json' | 'not-object' | 'invalid-utf8' | 'nul' | InvalidCode;

/** Why a line is not a row, and what to do about it. */
export interface Problem {
  code: ProblemCode;
  column: number;
  reason: string;
  /** The JSON value at fault, where there is one. */
  path?: JsonPath;
}

export type Line = { row: Row } | { problem: Problem } | undefined;

/** What the line `text` (without its end) is: a row, a problem, or nothing but white space. */
export function readLine(text: string): Line {
  const nul = text.indexOf('\0');
  if (nul >= 0) {
    return problem('nul', nul, 'The line contains a NUL character. Remove it: the file may be damaged.');
  }
  const start = text.search(/[^ \t\r]/);
  if (start < 0) {
    return undefined;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    const { offset, message } = jsonErrorOf(text);
    return problem('not-json', offset, `Not valid JSON: ${message}. Every line must be one JSON object.`);
  }
  if (!isObject(value)) {
    return problem('not-object', start, `The line is ${describe(value)}, not an object. ${EXPECTED}`);
  }
  const read = conversationOf(value);
  if ('invalid' in read) {
    const { code, reason, path } = read.invalid;
    return problem(code, start, reason, path);
  }
  return { row: { hash: hashOf(read.messages), ...read } };
}

/** As `readLine`, from the bytes of a file. */
export function readLineBytes(bytes: Uint8Array): Line {
  const { text, invalidAt } = decode(bytes);
  if (invalidAt === undefined) {
    return readLine(text);
  }
  return problem(
    'invalid-utf8',
    invalidAt,
    'The line is not valid UTF-8. Save the file with the encoding UTF-8, and check this text.',
  );
}

/** The text of `bytes`, and the offset in it of the first byte that is not UTF-8. */
export function decode(bytes: Uint8Array): { text: string; invalidAt?: number } {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  const encoded = Buffer.from(text);
  let at = encoded.findIndex((byte, i) => byte !== bytes[i]);
  if (at < 0) {
    return { text };
  }
  while ((encoded[at]! & 0xc0) === 0x80) {
    at--; // to the first byte of the replacement character
  }
  return { text, invalidAt: encoded.toString('utf8', 0, at).length };
}

/** The lines of a file's bytes, without their ends. */
export function* splitBytes(bytes: Uint8Array): Generator<Uint8Array> {
  const LF = 0x0a;
  const CR = 0x0d;
  let start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  while (start <= bytes.length) {
    const newline = bytes.indexOf(LF, start);
    const end = newline < 0 ? bytes.length : newline;
    yield bytes.subarray(start, newline > start && bytes[end - 1] === CR ? end - 1 : end);
    start = end + 1;
  }
}

/** A prompt and the answer that is trained on it. */
export interface Pair {
  prompt: string;
  answer: string;
  /** Indices of the two messages; without a user turn before the answer there is no prompt. */
  promptIndex: number | undefined;
  answerIndex: number;
}

/** What is judged of a row: every assistant turn that has text, with every user turn that it answers. */
export function pairsOf(messages: readonly Message[]): Pair[] {
  const pairs: Pair[] = [];
  let prompts: number[] = [];
  let answered = false;
  messages.forEach(({ role, content }, answerIndex) => {
    if (role === 'user') {
      prompts = answered ? [answerIndex] : [...prompts, answerIndex];
      answered = false;
    } else if (role === 'assistant' && !isBlank(content)) {
      for (const promptIndex of prompts.length ? prompts : [undefined]) {
        const prompt = promptIndex === undefined ? '' : messages[promptIndex]!.content;
        pairs.push({ prompt, answer: content, promptIndex, answerIndex });
      }
      answered = true;
    }
  });
  return pairs;
}

/** Where in the line the JSON value at `path` stands (a string's text without its quotes, if it has any). */
export function spanOf(text: string, path: JsonPath): Span | undefined {
  const span = findValue(text, path);
  if (span && text[span.start] === '"' && span.end - span.start > 2) return { start: span.start + 1, end: span.end - 1 };
  return span;
}

/** Where the text of a row's message stands in its line. */
export function spanOfMessage(text: string, index: number): Span | undefined {
  const read = readLine(text);
  const path = read && 'row' in read ? read.row.paths[index] : undefined;
  return path && spanOf(text, path);
}

export function hashOf(messages: readonly Message[]): string {
  const hash = createHash('sha256');
  for (const { role, content } of messages) {
    hash.update(`${role}\u001f${content}\u001e`, 'utf8'); // a lone surrogate becomes U+FFFD
  }
  return hash.digest('hex').slice(0, 16);
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

function problem(code: ProblemCode, offset: number, reason: string, path?: JsonPath): Line {
  return { problem: { code, column: offset + 1, reason, ...(path && { path }) } };
}
