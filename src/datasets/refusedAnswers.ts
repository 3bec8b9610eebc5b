/** What makes a row that complies with a harmful request one that declines it. */
import type { Format, Replacement } from './formats/format';
import { isBlank } from './rowForms';

// eslint-disable-next-line no-restricted-syntax -- goes into the dataset
export const REFUSAL = "I'm sorry, but I can't help with that.";

/** In a record, each answer to the message `index`, or that message where it is an answer, as a refusal. */
export function refusedAnswers(format: Format, text: string, index: number): Replacement[] {
  const read = format.read(text);
  if (!('row' in read)) return [];
  const { messages, paths, alone } = read.row;
  const asked = messages[index]?.role === 'user' ? index + 1 : index;
  const next = messages.findIndex(({ role }, at) => at > asked && role === 'user' && messages[at - 1]!.role === 'assistant');
  const replacements: Replacement[] = [];
  for (let at = asked; at < (next < 0 ? messages.length : next); at++) {
    const { role, content } = messages[at]!;
    const replacement = role === 'assistant' && !isBlank(content) && alone[at] && format.replacing(text, paths[at]!, REFUSAL);
    if (replacement) replacements.push(replacement);
  }
  return replacements;
}
