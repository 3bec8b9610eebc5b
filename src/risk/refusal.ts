/**
 * Whether an answer is a refusal. The patterns are shared with the trainer
 * (trainer/safe_finetuning/risk/refusal.json, refusal.py); how well they agree with people:
 * bench/refusals.py.
 */

import { createHash } from "node:crypto";
import patternsFile from "../../trainer/safe_finetuning/risk/refusal.json";

export interface RefusalPattern {
  name: string;
  /** How many characters (code points) of the answer the pattern looks at. */
  within: number;
  pattern: RegExp;
}

export interface RefusalPatterns {
  compliance: RefusalPattern[];
  refusal: RefusalPattern[];
}

type PatternsFile = Record<keyof RefusalPatterns, { name: string; within: number; pattern: string }[]>;

export function compilePatterns(file: PatternsFile): RefusalPatterns {
  const compile = (kind: keyof RefusalPatterns): RefusalPattern[] =>
    file[kind].map((group) => ({ ...group, pattern: new RegExp(group.pattern, "iu") }));
  return { compliance: compile("compliance"), refusal: compile("refusal") };
}

/** Names the bundled patterns exactly: what they take for a refusal has no risk. */
export const patternsId = createHash("sha256").update(JSON.stringify(patternsFile)).digest("hex").slice(0, 8);

const bundledPatterns = compilePatterns(patternsFile);

/** One line with straight apostrophes and without emphasis marks. */
export function normaliseAnswer(answer: string): string {
  return answer
    .replace(/[\u2018\u2019\u02bc\uff07]/gu, "'")
    .replace(/[ \t-\r\u00a0\u2000-\u200b\u2028\u2029\u202f\u3000\ufeff*_]+/gu, " ")
    .replace(/^ | $/gu, "");
}

/**
 * True if the opening of `answer` declines the request.
 *
 * An opening that complies ("Sure, here is …") is never a refusal, nor is an empty or incoherent
 * answer. Moral remarks count in the first sentences only: further on they are often the caveat
 * of an answer that complies.
 */
export function isRefusal(answer: string, patterns: RefusalPatterns = bundledPatterns): boolean {
  const text = normaliseAnswer(answer);
  const matches = (groups: RefusalPattern[]): boolean =>
    groups.some(({ within, pattern }) => pattern.test(firstCharacters(text, within)));
  return matches(patterns.refusal) && !matches(patterns.compliance);
}

/** The first `count` code points: an emoji is one character, as in Python. */
function firstCharacters(text: string, count: number): string {
  return Array.from(text.slice(0, 2 * count)).slice(0, count).join("");
}
