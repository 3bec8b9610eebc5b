/** Text made safe for what it is written into. Pure. */

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Characters that no XML document may hold, not even escaped; half a surrogate pair among them. */
const unprintable = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u0084\u0086-\u009f\ufffe\uffff]|\p{Surrogate}/gu;

export const printable = (text: string): string => text.replace(unprintable, '\ufffd');

/** As text or as a quoted attribute of XML, SVG or HTML. */
export const xml = (text: string): string => printable(text).replace(/[&<>"']/g, character => entities[character]!);

/** As text of one line in GitHub-flavoured Markdown, also in a table: nothing in it is markup or becomes a link. */
export const markdown = (text: string): string =>
  printable(text)
    .replace(/\s+/g, ' ')
    .replace(/[\\`*_[\]<>|~&$]|:(?=\/\/)|(?<=\bwww)\./gi, '\\$&');

/** The same where a line begins: no heading, list or rule either. */
export const markdownLine = (text: string): string => markdown(text.trimStart()).replace(/^(?:[#+=-]|\d+(?=[.)]))/, mark => (/\d/.test(mark) ? `${mark}\\` : `\\${mark}`));

/** A fenced block that nothing in the text ends. */
export function fenced(text: string, language = ''): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}${language}\n${printable(text)}\n${fence}`;
}

/**
 * A double-quoted scalar of YAML on one line: JSON's escapes are YAML's, but YAML knows more line ends and a
 * mark of byte order.
 */
export const yaml = (text: string): string =>
  JSON.stringify(printable(text)).replace(/[\u0085\u2028\u2029\ufeff]/g, character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
