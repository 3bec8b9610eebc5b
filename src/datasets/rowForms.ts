/**
 * The forms in which files write a conversation, read into one: messages of system, user, assistant, tool. The
 * names are those of the trainer (trainer/safe_finetuning/row_forms.json), and so are the rules (row_forms.py).
 */
import * as l10n from '@vscode/l10n';
import forms from '../../trainer/safe_finetuning/row_forms.json';
import type { JsonPath } from './jsonScan';

/** `text` is that of a plain text, which has no turns. */
export type Role = 'system' | 'user' | 'assistant' | 'tool' | 'text';

export interface Message {
  role: Role;
  content: string;
}

export interface Conversation {
  messages: Message[];
  /** Where in the row the text of each message stands, and whether nothing else does there. */
  paths: JsonPath[];
  alone: boolean[];
}

export type InvalidCode = 'no-conversation' | 'empty' | 'bad-message' | 'unsupported' | 'unknown-role' | 'no-assistant';

/** Why a row is no conversation, what to do about it, and the value at fault where there is one. */
export interface Invalid {
  code: InvalidCode;
  reason: string;
  path?: JsonPath;
}

export type JsonObject = Record<string, unknown>;
type Placed = Message & { path: JsonPath; inText?: boolean };

/** What a row looks like, for messages to the user. */
export const EXPECTED =
  l10n.t('A row looks like {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]} or {"prompt": "…", "completion": "…"}; ShareGPT and Alpaca rows are read, too.');
const WRITE_OR_REMOVE = l10n.t('Write the conversation, or remove the row.');
export const MOVE_OR_REMOVE = l10n.t('Move the row to another file, or remove this from it.');
const USE_ROLES = l10n.t('Use "system", "user", "assistant" or "tool".');

/** What a plain text cannot have beside it: it would be left out. */
const besideNoText = [...forms.exchanges.flatMap(({ prompt, answer }) => [prompt, answer]), ...forms.inputs, ...forms.systemKeys, 'history', 'chosen', 'rejected'];

const roles = new Map(Object.entries(forms.roles)) as Map<unknown, Role>;

class InvalidRow extends Error {
  constructor(readonly invalid: Invalid) {
    super(invalid.reason);
  }
}

export const isInvalid = (value: object): value is { invalid: Invalid } => 'invalid' in value;

export function conversationOf(row: JsonObject): Conversation | { invalid: Invalid } {
  try {
    const placed = messagesOf(row);
    const first = placed[0]!.path.slice(0, 1);
    if (placed.every(({ content }) => isBlank(content))) {
      fail('empty', l10n.t`All messages are blank. ${WRITE_OR_REMOVE}`, first);
    }
    if (!placed.some(({ role, content }) => isAnswering(role) && !isBlank(content))) {
      fail('no-assistant', l10n.t('No assistant message has text: nothing to train on. Add the answer, or remove the row.'), first);
    }
    return { messages: placed.map(({ role, content }) => ({ role, content })), paths: placed.map(({ path }) => path), alone: placed.map(({ inText }) => !inText) };
  } catch (error) {
    if (error instanceof InvalidRow) return { invalid: error.invalid };
    throw error;
  }
}

/** Whether the text of a role is trained on. */
export const isAnswering = (role: Role): boolean => role === 'assistant' || role === 'text';

/** Whether a line that cannot be read may have been meant as a row. */
export const mentionsConversation = (line: string): boolean => {
  const mentions = (key: string): boolean => line.includes(`"${key}"`);
  return forms.turns.some(mentions) || forms.exchanges.some(({ prompt, answer }) => mentions(prompt) && mentions(answer));
};

/** Whether columns of these names may hold a conversation. */
export const nameConversation = (columns: readonly string[]): boolean =>
  forms.turns.some(key => columns.includes(key)) || forms.exchanges.some(({ prompt, answer }) => columns.includes(prompt) && columns.includes(answer));

/** By which of its columns a row is a conversation, in words; undefined where it has none of the usual ones. */
export function describeForm(row: JsonObject): string | undefined {
  const has = (key: string): boolean => isPresent(row[key]);
  const list = forms.turns.find(key => isGiven(row[key]));
  if (list !== undefined) return l10n.t('turns in `{0}`', list);
  const form = forms.exchanges.find(({ prompt, answer }) => has(prompt) && has(answer));
  if (form) return l10n.t('`{0}` with `{1}`', form.prompt, form.answer);
  const text = forms.texts.find(has);
  return text === undefined ? undefined : l10n.t('plain `{0}`', text);
}

function messagesOf(row: JsonObject): Placed[] {
  const present = (key: string): boolean => isPresent(row[key]);
  const unsupported = forms.unsupported.row.find(key => isFilled(row[key]));
  if (unsupported !== undefined) fail('unsupported', l10n.t('The row has `{0}`, which is not trained on yet. {1}', unsupported, MOVE_OR_REMOVE), [unsupported]);
  const list = forms.turns.find(key => isGiven(row[key]));
  if (list !== undefined) return withSystem(row, fromList(row[list], list, turnsOf));
  const form = forms.exchanges.find(({ prompt, answer }) => present(prompt) && present(answer));
  const text = forms.texts.find(present);
  if (!form && text !== undefined) {
    const beside = besideNoText.find(key => isFilled(row[key]));
    if (beside !== undefined) fail('bad-message', l10n.t('`{0}` stands beside a plain `{1}`, which has no turns. Write the row as messages.', beside, text), [beside]);
    return [{ role: 'text', content: textOf(row[text], text), path: [text] }];
  }
  if (!form) {
    const named = forms.turns.find(key => key in row); // and null
    return fail('no-conversation', named ? l10n.t('`{0}` is null. {1}', named, EXPECTED) : l10n.t`The row is no conversation. ${EXPECTED}`);
  }
  const { prompt, answer } = form;
  const asked = sideOf(row[prompt], prompt, 'user');
  const requireText = (beside: string): void => {
    if (Array.isArray(row[prompt])) fail('bad-message', l10n.t('`{0}` stands beside a `{1}` that is a list of turns. Write one of them.', beside, prompt), [beside]);
  };
  for (const input of forms.inputs.filter(key => key !== prompt && present(key))) {
    const more = textOf(row[input], input);
    if (isBlank(more)) continue;
    requireText(input);
    asked[0]!.content += `\n${more}`;
  }
  const earlier = isGiven(row.history) ? fromList(row.history, 'history', historyOf) : [];
  if (earlier.length > 0) requireText('history');
  return withSystem(row, [...earlier, ...asked, ...sideOf(row[answer], answer, 'assistant')]);
}

function withSystem(row: JsonObject, messages: Placed[]): Placed[] {
  const key = forms.systemKeys.find(name => isPresent(row[name]));
  if (key === undefined || messages.some(({ role }) => role === 'system')) return messages;
  const content = textOf(row[key], key);
  return isBlank(content) ? messages : [{ role: 'system', content, path: [key] }, ...messages];
}

/** In a table, which has no lists, a list is written as JSON: what stands in it stands in the whole cell. */
function fromList(value: unknown, key: string, read: (value: unknown, key: string) => Placed[]): Placed[] {
  if (typeof value !== 'string') return read(value, key);
  let list: unknown;
  try {
    list = JSON.parse(value);
  } catch {
    return fail('bad-message', l10n.t('`{0}` is text that is not valid JSON. Write the list as JSON.', key), [key]);
  }
  try {
    return read(list, key).map(message => ({ ...message, path: [key], inText: true }));
  } catch (error) {
    if (error instanceof InvalidRow) throw new InvalidRow({ ...error.invalid, path: [key] });
    throw error;
  }
}

/** In a table, a cell without a list is blank. */
function isGiven(value: unknown): boolean {
  return isPresent(value) && !(typeof value === 'string' && isBlank(value));
}

/** One side of an exchange: a text, or turns. */
function sideOf(value: unknown, key: string, role: Role): Placed[] {
  return Array.isArray(value) ? turnsOf(value, key) : [{ role, content: textOf(value, key), path: [key] }];
}

function historyOf(value: unknown): Placed[] {
  if (!Array.isArray(value)) return fail('bad-message', l10n.t('`history` is {0}, not a list of [prompt, answer].', describe(value)), ['history']);
  return value.flatMap((turns: unknown, index): Placed[] => {
    const path = ['history', index];
    if (!Array.isArray(turns) || turns.length !== 2 || !turns.every(text => typeof text === 'string')) {
      return fail('bad-message', l10n.t('Entry {0} of `history` is not a list of a prompt and an answer.', index + 1), path);
    }
    const [prompt, answer] = turns as [string, string];
    return [
      { role: 'user', content: prompt, path: [...path, 0] },
      { role: 'assistant', content: answer, path: [...path, 1] },
    ];
  });
}

function turnsOf(value: unknown, key: string): Placed[] {
  if (!Array.isArray(value)) return fail('no-conversation', l10n.t('`{0}` is {1}, not a list. {2}', key, describe(value), EXPECTED), [key]);
  if (value.length === 0) return fail('empty', l10n.t('`{0}` is empty. {1}', key, WRITE_OR_REMOVE), [key]);
  return value.map((turn: unknown, index) => turnOf(turn, index + 1, [key, index]));
}

function turnOf(turn: unknown, number: number, path: JsonPath): Placed {
  const name = l10n.t`Message ${number}`;
  if (!isObject(turn)) return fail('bad-message', l10n.t`${name} is ${describe(turn)}, not an object. ${EXPECTED}`, path);
  const unsupported = forms.unsupported.turn.find(key => isFilled(turn[key]));
  if (unsupported !== undefined) {
    return fail('unsupported', l10n.t('{0} has `{1}`, which is not trained on yet. {2}', name, unsupported, MOVE_OR_REMOVE), [...path, unsupported]);
  }
  if (turn.weight === 0) return fail('unsupported', l10n.t`${name} has the weight 0, but every answer is trained on. ${MOVE_OR_REMOVE}`, [...path, 'weight']);
  const contentKey = forms.contentKeys.find(key => isPresent(turn[key])) ?? forms.contentKeys.find(key => key in turn);
  if (contentKey === undefined) return fail('bad-message', l10n.t('{0} has no `content`. Write its text.', name), path);
  const contentPath = [...path, contentKey];
  const given = turn[contentKey];
  const content = Array.isArray(given) ? given.map((part, index) => partOf(part, name, [...contentPath, index])).join('\n') : given;
  if (typeof content !== 'string') {
    return fail('bad-message', l10n.t('The `{0}` of message {1} is {2}, not text. Write it in double quotes.', contentKey, number, describe(given)), contentPath);
  }
  const roleKey = forms.roleKeys.find(key => isPresent(turn[key])) ?? forms.roleKeys.find(key => key in turn);
  if (roleKey === undefined) return fail('unknown-role', l10n.t('{0} has no `role`. {1}', name, USE_ROLES), path);
  const role = roles.get(turn[roleKey]);
  if (!role) return fail('unknown-role', l10n.t`${name} has the unknown role ${shortened(turn[roleKey])}. ${USE_ROLES}`, [...path, roleKey]);
  return { role, content, path: contentPath };
}

function partOf(part: unknown, name: string, path: JsonPath): string {
  if (isObject(part) && part.type === 'text' && typeof part.text === 'string') return part.text;
  return fail('bad-message', l10n.t`${name} has a part that is not text, which is not trained on. Remove the part, or the row.`, path);
}

function textOf(value: unknown, key: string): string {
  return typeof value === 'string' ? value : fail('bad-message', l10n.t('`{0}` is {1}, not text. Write it in double quotes.', key, describe(value)), [key]);
}

function fail(code: InvalidCode, reason: string, path?: JsonPath): never {
  throw new InvalidRow({ code, reason, ...(path && { path }) });
}

/** Nothing but white space, by Unicode, JavaScript or Python. */
export function isBlank(text: string): boolean {
  return /^[\s\u001c-\u001f\u0085\ufeff]*$/.test(text);
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

export function isFilled(value: unknown): boolean {
  return isPresent(value) && value !== '' && !(Array.isArray(value) && value.length === 0);
}

function shortened(value: unknown): string {
  const json = JSON.stringify(value);
  return json.length > 30 ? `${json.slice(0, 30)}…` : json;
}

export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return l10n.t('a list');
  const words: Record<string, string> = { string: l10n.t('text'), number: l10n.t('a number'), boolean: l10n.t('true or false') };
  return words[typeof value] ?? l10n.t('an object');
}
