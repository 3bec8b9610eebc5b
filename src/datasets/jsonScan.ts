/**
 * Where things stand in a JSON text, which JSON.parse does not tell: a value, or the first token that is
 * wrong. One loop that neither recurses nor builds values, so that a line of megabytes takes milliseconds.
 */

import * as l10n from '@vscode/l10n';

/** Offsets, end exclusive. */
export interface Span {
  start: number;
  end: number;
}

export type JsonPath = readonly (string | number)[];

/** A token that cannot stand where it stands; inside a string, a character. */
export class JsonError extends Error {
  constructor(
    readonly offset: number,
    message: string,
  ) {
    super(message);
  }
}

/**
 * Reads the whole text and finds the value at `path`; of a repeated key the last counts, as in JSON.parse.
 * Throws a `JsonError` where the text is no JSON.
 */
export function findValue(text: string, path: JsonPath): Span | undefined {
  return new Scanner(text, path).scan();
}

/** Where the value that begins at `start` ends. Throws a `JsonError` where none begins or it is no JSON. */
export function endOfValue(text: string, start: number): number {
  return new Scanner(text, [], start).scanValue();
}

/** What comes next; `first …` may also be the end of its container. */
type Expected = 'value' | 'first element' | 'property' | 'first property' | 'colon' | 'separator' | 'end';

interface Container {
  closing: '}' | ']';
  start: number;
  /** Of the value that is being read. */
  key: string | number;
}

const SPACE = /[ \t\r\n]*/y;
const NUMBER_OR_WORD = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const PLAIN_CHARACTERS = /[^"\\\u0000-\u001f]*/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

class Scanner {
  private expected: Expected = 'value';
  private readonly containers: Container[] = [];
  /** So many of the containers are on the way to `path`. */
  private onPath = 0;
  private found: Span | undefined;

  constructor(
    private readonly text: string,
    private readonly path: JsonPath,
    private at = 0,
  ) {}

  scan(): Span | undefined {
    this.scanValue();
    this.skip(SPACE);
    if (this.at < this.text.length) throw this.error(l10n.t('there is more after its end'));
    return this.found;
  }

  scanValue(): number {
    for (;;) {
      if (this.expected === 'end') return this.at;
      this.skip(SPACE);
      const char = this.text[this.at];
      switch (this.expected) {
        case 'first element':
          if (char === ']') {
            this.close();
            break;
          }
          this.enter(0);
          this.readValue(char);
          break;
        case 'value':
          this.readValue(char);
          break;
        case 'first property':
          if (char === '}') this.close();
          else this.readName(char);
          break;
        case 'property':
          this.readName(char);
          break;
        case 'colon':
          if (char !== ':') throw this.error(l10n.t('a colon is expected'));
          this.at++;
          this.expected = 'value';
          break;
        case 'separator':
          this.readSeparator(char);
          break;
      }
    }
  }

  private readValue(char: string | undefined): void {
    const start = this.at;
    if (this.onPath === this.containers.length) this.found = undefined; // an earlier one of the same key
    if (char === '{' || char === '[') {
      this.at++;
      this.containers.push({ closing: char === '{' ? '}' : ']', start, key: '' });
      this.expected = char === '{' ? 'first property' : 'first element';
      return;
    }
    if (char === '"') this.skipString();
    else if (!this.skip(NUMBER_OR_WORD)) throw this.error(l10n.t('a value is expected'));
    this.endValue(start);
  }

  private readName(char: string | undefined): void {
    if (char !== '"') throw this.error(l10n.t('a property name in double quotes is expected'));
    const start = this.at;
    this.skipString();
    this.enter(JSON.parse(this.text.slice(start, this.at)) as string);
    this.expected = 'colon';
  }

  private readSeparator(char: string | undefined): void {
    const { closing, key } = this.containers.at(-1)!;
    if (char === closing) {
      this.close();
      return;
    }
    if (char !== ',') throw this.error(l10n.t`a comma or ${closing} is expected`);
    this.at++;
    if (typeof key === 'number') this.enter(key + 1);
    this.expected = typeof key === 'number' ? 'value' : 'property';
  }

  private skipString(): void {
    const start = this.at++;
    for (;;) {
      this.skip(PLAIN_CHARACTERS);
      const char = this.text[this.at];
      if (char === '"') break;
      if (char === undefined || (char === '\\' && this.at + 1 === this.text.length)) {
        throw new JsonError(start, l10n.t('a string is not closed'));
      }
      if (char !== '\\') throw this.error(l10n.t('a control character must be written as an escape'));
      if (!this.skip(ESCAPE)) throw this.error(l10n.t('this escape does not exist'));
    }
    this.at++;
  }

  /** In the innermost container, the value of `key` comes next. */
  private enter(key: string | number): void {
    const depth = this.containers.length;
    this.containers[depth - 1]!.key = key;
    const isNext = this.onPath >= depth - 1 && this.path[depth - 1] === key;
    this.onPath = isNext ? depth : Math.min(this.onPath, depth - 1);
  }

  private close(): void {
    this.at++;
    const { start } = this.containers.pop()!;
    this.onPath = Math.min(this.onPath, this.containers.length);
    this.endValue(start);
  }

  private endValue(start: number): void {
    const depth = this.containers.length;
    if (this.onPath === depth && depth === this.path.length) this.found = { start, end: this.at };
    this.expected = depth > 0 ? 'separator' : 'end';
  }

  private skip(token: RegExp): boolean {
    token.lastIndex = this.at;
    if (!token.test(this.text)) return false;
    this.at = token.lastIndex;
    return true;
  }

  private error(what: string): JsonError {
    return new JsonError(this.at, what);
  }
}
