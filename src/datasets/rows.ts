/**
 * Rows of a dataset, whatever their format (formats/) and form (rowForms.ts). The trainer reads the same files
 * by the same rules (trainer/safe_finetuning/rows.py); test/fixtures/rows holds both to them.
 */
import { createHash } from 'node:crypto';
import type { JsonPath } from './jsonScan';
import type { ColumnNames } from './columnNames';
import { conversationOf, isAnswering, isBlank, isInvalid, type InvalidCode, type JsonObject, type Message } from './rowForms';

export interface Row {
  /** First 16 hex digits of the SHA-256 of roles and contents. */
  hash: string;
  messages: Message[];
  /** Where in the record the text of each message stands, and whether nothing else does there. */
  paths: JsonPath[];
  alone: boolean[];
}

export type ProblemCode = 'not-json' | 'not-object' | 'invalid-utf8' | 'nul' | 'ragged' | 'quote' | InvalidCode;

/** Why a record is not a row, and what to do about it. */
export interface Problem {
  code: ProblemCode;
  /** From 0, in the record: where reading stopped, or where the row starts. */
  offset: number;
  reason: string;
  /** The value at fault, where there is one. */
  path?: JsonPath;
}

export type RowOrProblem = { row: Row } | { problem: Problem };

/** What a record that starts at `offset` and says `value` is. `names` are those of its columns, if it has its own. */
export function rowOf(value: JsonObject, offset: number, names?: ColumnNames): RowOrProblem {
  const usual = names?.usual(value);
  if (usual && isInvalid(usual)) return problem(usual.invalid.code, offset, usual.invalid.reason, usual.invalid.path);
  const read = conversationOf(usual ?? value);
  const inRow = (path: JsonPath): JsonPath => names?.pathInRow(path) ?? path;
  if ('invalid' in read) {
    const { code, reason, path } = read.invalid;
    return problem(code, offset, reason, path && inRow(path));
  }
  const { messages, paths, alone } = read;
  return { row: { hash: hashOf(messages), messages, paths: paths.map(inRow), alone } };
}

export function problem(code: ProblemCode, offset: number, reason: string, path?: JsonPath): { problem: Problem } {
  return { problem: { code, offset, reason, ...(path && { path }) } };
}

/** Whether it is a text by itself, without turns. */
export const isPlain = ({ messages }: Row): boolean => messages[0]?.role === 'text';

/** A prompt and the answer that is trained on it. */
export interface Pair {
  prompt: string;
  answer: string;
  /** Indices of the two messages; without a user turn before the answer there is no prompt. */
  promptIndex: number | undefined;
  answerIndex: number;
}

export interface MessagesOfRow {
  hash: string;
  messages: Message[];
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
    } else if (isAnswering(role) && !isBlank(content)) {
      for (const promptIndex of prompts.length ? prompts : [undefined]) {
        const prompt = promptIndex === undefined ? '' : messages[promptIndex]!.content;
        pairs.push({ prompt, answer: content, promptIndex, answerIndex });
      }
      answered = true;
    }
  });
  return pairs;
}

export function hashOf(messages: readonly Message[]): string {
  const hash = createHash('sha256');
  for (const { role, content } of messages) {
    hash.update(`${role}\u001f${content}\u001e`, 'utf8'); // a lone surrogate becomes U+FFFD
  }
  return hash.digest('hex').slice(0, 16);
}
