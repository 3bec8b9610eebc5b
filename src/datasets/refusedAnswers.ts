/** What makes a row that complies with a harmful request one that declines it. */
import { findValue, type Span } from './jsonScan';
import { isBlank } from './rowForms';
import { readLine } from './rows';

export const REFUSAL = "I'm sorry, but I can't help with that.";

export interface Replacement extends Span {
  text: string;
}

/** In a row's line, each answer to the message `index`, or that message where it is an answer, as a refusal. */
export function refusedAnswers(line: string, index: number): Replacement[] {
  const read = readLine(line);
  if (!read || !('row' in read)) return [];
  const { messages, paths } = read.row;
  const asked = messages[index]?.role === 'user' ? index + 1 : index;
  const next = messages.findIndex(({ role }, at) => at > asked && role === 'user' && messages[at - 1]!.role === 'assistant');
  const replacements: Replacement[] = [];
  for (let at = asked; at < (next < 0 ? messages.length : next); at++) {
    const { role, content } = messages[at]!;
    const span = role === 'assistant' && !isBlank(content) ? findValue(line, paths[at]!) : undefined;
    if (span) replacements.push({ ...span, text: JSON.stringify(REFUSAL) });
  }
  return replacements;
}
