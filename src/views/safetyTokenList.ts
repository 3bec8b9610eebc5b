/** The safety tokens of a run as a list in a configuration. Pure. */
import { modify, parse, type Edit, type ParseError } from 'jsonc-parser';

/** What makes `safetyTokens.tokens` of a configuration this list, with its comments kept; undefined where the text is no configuration. */
export function safetyTokenEdits(text: string, tokens: readonly string[]): Edit[] | undefined {
  const errors: ParseError[] = [];
  const value = parse(text, errors, { allowTrailingComma: true }) as { safetyTokens?: unknown } | undefined;
  if (errors.length > 0 || typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const formattingOptions = { insertSpaces: true, tabSize: 2, eol: text.includes('\r\n') ? '\r\n' : '\n' };
  return typeof value.safetyTokens === 'object' && value.safetyTokens !== null
    ? modify(text, ['safetyTokens', 'tokens'], tokens, { formattingOptions })
    : modify(text, ['safetyTokens'], { tokens }, { formattingOptions });
}
