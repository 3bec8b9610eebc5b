/** The language of all that a user reads: the messages, and the tag by which numbers are written and plurals chosen. */
import * as l10n from '@vscode/l10n';

export interface Language {
  tag: string;
  /** As in l10n/bundle.l10n.….json; none for English, which stands in the source. */
  messages: l10n.l10nJsonFormat;
}

const english: Language = { tag: 'en', messages: {} };

let current = english;
let rules = rulesOf(english);

function rulesOf({ tag }: Language) {
  const numbers = new Intl.NumberFormat(tag);
  return { plurals: new Intl.PluralRules(tag), numbers, point: numbers.format(0.5).charAt(1) };
}

export const language = (): Language => current;

/** To be called before the modules that have messages are loaded: some of them are made only once. */
export function setLanguage(given: Language): void {
  current = given;
  rules = rulesOf(given);
  l10n.config({ contents: given.messages });
}

/** What is made for others than the user, whatever language the editor is in. */
export function inEnglish<T>(make: () => T): T {
  const before = current;
  setLanguage(english);
  try {
    return make();
  } finally {
    setLanguage(before);
  }
}

/** Whether the message for one fits the number: 1 in English, 0 as well in French. */
export const isOne = (count: number): boolean => rules.plurals.select(count) === 'one';

/** A number in digits and groups, as the language has them. */
export const grouped = (value: number): string => rules.numbers.format(value);

/** What stands between the ones and the tenths. */
export const decimalPoint = (): string => rules.point;
