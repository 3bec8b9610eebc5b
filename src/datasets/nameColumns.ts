/** Asks which columns of a dataset are prompt and answer, where they have names of their own, and writes it down. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { applyEdits, modify, parse } from 'jsonc-parser';
import * as vscode from 'vscode';
import forms from '../../trainer/safe_finetuning/row_forms.json';
import { UserError } from '../common/userError';
import { changeBeside } from './besideFile';
import { COLUMN_NAMES_FILE } from './columnNames';
import { isObject, type JsonObject } from './rowForms';

/** What is asked for, in the words of `dataset_info.json`; other columns of an entry stay as they are. */
const ASKED = ['prompt', 'query', 'response', 'history', 'system', 'messages'];

interface Entry {
  formatting?: string;
  columns: Record<string, string>;
  tags?: Record<string, string>;
}

export const LOOKED_AT_ROWS = 50;
const SAMPLE_CHARACTERS = 80;

/** `rows` are the first ones of the dataset, as they name their columns themselves. */
export async function nameColumns(dataset: string, rows: readonly JsonObject[]): Promise<void> {
  const name = path.basename(dataset);
  if (rows.length === 0) throw new UserError(l10n.t`${name} has no row with columns. A dataset has a header, or an object on each line.`);
  const ask = new Questions(l10n.t`Columns of ${name}`);
  const columns = samples(rows);
  const prompt = await ask.oneOf(columns, l10n.t('Which column holds the prompt, or the list of turns?'));
  if (prompt === undefined) return;
  const lists = rows.flatMap(row => listOf(row[prompt]) ?? []);
  const entry = lists.length > 0 ? await askOfTurns(ask, prompt, lists.flat()) : await askOfColumns(ask, prompt, columns);
  if (!entry) return;
  const file = path.join(path.dirname(dataset), COLUMN_NAMES_FILE);
  await changeBeside(file, text => withEntry(text, name, entry));
}

/** `dataset_info.json` with the entry of a file; everything else stays as it is. */
export function withEntry(text: string, fileName: string, entry: Entry): string {
  const info: unknown = text.trim() === '' ? {} : parse(text);
  if (!isObject(info)) throw new UserError(l10n.t`${COLUMN_NAMES_FILE} is no JSON object, so nothing was written. Mend it, or remove it.`);
  const entryOf = (key: string): JsonObject | undefined => (isObject(info[key]) ? info[key] : undefined);
  const known = Object.keys(info).find(key => entryOf(key)?.file_name === fileName);
  const before: JsonObject = known === undefined ? {} : entryOf(known)!;
  const columns = isObject(before.columns) ? Object.entries(before.columns).filter(([part]) => !ASKED.includes(part)) : [];
  const others = Object.entries(before).filter(([key]) => !['formatting', 'tags', 'columns'].includes(key));
  const merged = { ...Object.fromEntries(others), file_name: fileName, ...entry, columns: { ...Object.fromEntries(columns), ...entry.columns } };
  const formattingOptions = { insertSpaces: true, tabSize: 2, eol: '\n' };
  const changed = applyEdits(text, modify(text, [known ?? freeKey(info, fileName)], merged, { formattingOptions }));
  return changed.endsWith('\n') ? changed : `${changed}\n`;
}

function freeKey(info: object, name: string): string {
  for (let number = 1; ; number++) {
    const key = number === 1 ? name : `${name} ${number}`;
    if (!(key in info)) return key;
  }
}

async function askOfColumns(ask: Questions, prompt: string, columns: Samples): Promise<Entry | undefined> {
  const others = without(columns, prompt);
  const response = await ask.oneOf(others, l10n.t('Which column holds the answer?'));
  if (response === undefined) return undefined;
  const rest = without(others, response);
  const query = await ask.oneOrNone(rest, l10n.t('Which column holds more input, to follow the prompt?'));
  if (query === undefined) return undefined;
  const system = await ask.oneOrNone(without(rest, query.column), l10n.t('Which column holds a system prompt?'));
  if (system === undefined) return undefined;
  const named = { prompt, response, query: query.column, system: system.column };
  return { columns: Object.fromEntries(Object.entries(named).filter((column): column is [string, string] => column[1] !== undefined)) };
}

async function askOfTurns(ask: Questions, messages: string, turns: JsonObject[]): Promise<Entry | undefined> {
  const keys = samples(turns);
  const role = await ask.oneOf(keys, l10n.t('What says whose turn it is?'));
  if (role === undefined) return undefined;
  const content = await ask.oneOf(without(keys, role), l10n.t('What holds its text?'));
  if (content === undefined) return undefined;
  const speakers: Samples = new Map(turns.map(turn => [asText(turn[role]), asText(turn[content])]));
  const user = await ask.oneOf(speakers, l10n.t('Who is the user?'), usualSpeaker(speakers, 'user'));
  if (user === undefined) return undefined;
  const assistant = await ask.oneOf(without(speakers, user), l10n.t('Who is the assistant?'), usualSpeaker(speakers, 'assistant'));
  if (assistant === undefined) return undefined;
  const tags = { role_tag: role, content_tag: content, user_tag: user, assistant_tag: assistant };
  return { formatting: 'sharegpt', columns: { messages }, tags };
}

/** Names with something that stands under them. */
type Samples = ReadonlyMap<string, string>;

class Questions {
  constructor(private readonly title: string) {}

  /** Undefined where the question was dismissed. What is `usual` need not be asked. */
  async oneOf(names: Samples, placeHolder: string, usual?: string): Promise<string | undefined> {
    if (usual !== undefined) return usual;
    const items = [...names].map(([label, description]) => ({ label, description }));
    const chosen = await vscode.window.showQuickPick(items, { title: this.title, placeHolder, matchOnDescription: true, ignoreFocusOut: true });
    return chosen?.label;
  }

  async oneOrNone(names: Samples, placeHolder: string): Promise<{ column: string | undefined } | undefined> {
    if (names.size === 0) return { column: undefined };
    const none = { label: l10n.t('$(dash) None'), column: undefined };
    const items = [none, ...[...names].map(([label, description]) => ({ label, description, column: label }))];
    return vscode.window.showQuickPick(items, { title: this.title, placeHolder, matchOnDescription: true, ignoreFocusOut: true });
  }
}

function samples(rows: readonly JsonObject[]): Samples {
  const found = new Map<string, string>();
  for (const [key, value] of rows.flatMap(row => Object.entries(row))) {
    if (!found.get(key)) found.set(key, asText(value));
  }
  return found;
}

function asText(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value ?? '');
  return text.replace(/\s+/g, ' ').slice(0, SAMPLE_CHARACTERS);
}

const without = (names: Samples, name: string | undefined): Samples => new Map([...names].filter(([key]) => key !== name));

function usualSpeaker(speakers: Samples, role: string): string | undefined {
  return [...speakers.keys()].find(name => (forms.roles as Record<string, string>)[name] === role);
}

/** The turns in a list, or in the text of one. */
function listOf(value: unknown): JsonObject[] | undefined {
  try {
    const list: unknown = typeof value === 'string' && value.startsWith('[') ? JSON.parse(value) : value;
    return Array.isArray(list) && list.some(isObject) ? list.filter(isObject) : undefined;
  } catch {
    return undefined;
  }
}
