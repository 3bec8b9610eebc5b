/** The text of a training pair that the classifier judges. */
export function pairText(prompt: string, answer: string): string {
  return `${prompt}\n${answer}`;
}
