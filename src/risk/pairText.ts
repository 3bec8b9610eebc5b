/** The text of a training pair that the classifier judges. */
export function pairText(prompt: string, answer: string): string {
  return `${prompt}\n${answer}`;
}

/** Half a UTF-16 pair cannot be encoded; U+FFFD takes its place, as in Python. */
export const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, "\ufffd");
