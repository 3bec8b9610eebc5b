/**
 * Columns that a dataset names in its own way: `dataset_info.json` beside the file, as LLaMA-Factory has it. The
 * trainer reads it by the same rules (trainer/safe_finetuning/column_names.py): rows are brought into a usual form.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import forms from '../../trainer/safe_finetuning/row_forms.json';
import { errorText } from '../common/log';
import { UserError } from '../common/userError';
import type { JsonPath } from './jsonScan';
import { datasetOf, isQuarantine } from './quarantineFiles';
import { isFilled, isObject, MOVE_OR_REMOVE, type Invalid, type JsonObject } from './rowForms';

export const COLUMN_NAMES_FILE = 'dataset_info.json';

const usual = forms.datasetInfo;
type Form = keyof typeof usual.parts;

/** How a file names what `dataset_info.json` names by their keys. */
export class ColumnNames {
  private readonly columns: Record<string, string>;
  private readonly tags: Record<string, string>;
  /** Says everything that reading depends on. */
  readonly id: string;

  constructor(
    private readonly form: Form,
    columns: Record<string, string>,
    tags: Record<string, string>,
  ) {
    this.columns = { ...usual.columns, ...columns };
    this.tags = { ...usual.tags, ...tags };
    this.id = JSON.stringify([form, this.columns, this.tags]);
  }

  /** The row with the usual names, or what it lacks. */
  usual(row: JsonObject): JsonObject | { invalid: Invalid } {
    for (const part of usual.unsupported) {
      const column = this.columns[part];
      if (column !== undefined && isFilled(row[column])) {
        return { invalid: { code: 'unsupported', reason: l10n.t('The row has `{0}`, which is not trained on yet. {1}', column, MOVE_OR_REMOVE), path: [column] } };
      }
    }
    const named = Object.values(this.columns);
    const unsupported = forms.unsupported.row.find(key => !named.includes(key) && isFilled(row[key]));
    if (unsupported !== undefined) return { invalid: { code: 'unsupported', reason: l10n.t('The row has `{0}`, which is not trained on yet. {1}', unsupported, MOVE_OR_REMOVE), path: [unsupported] } };
    for (const part of usual.required[this.form]) {
      const column = this.columns[part]!;
      if (row[column] === undefined || row[column] === null) {
        return { invalid: { code: 'no-conversation', reason: l10n.t('The row has no `{0}`, which {1} names as its {2}. Correct the name there, or the row.', column, COLUMN_NAMES_FILE, part) } };
      }
    }
    const parts = Object.entries(usual.parts[this.form]).filter(([part]) => Object.hasOwn(row, this.columns[part]!));
    const found = Object.fromEntries(parts.map(([part, name]) => [name, row[this.columns[part]!]]));
    return this.form === 'sharegpt' ? { ...found, messages: this.turns(found.messages) } : found;
  }

  /** Where in the row stands what is at `path` in the usual one. */
  pathInRow([key, ...rest]: JsonPath): JsonPath {
    const [part] = Object.entries(usual.parts[this.form]).find(([, name]) => name === key) ?? [];
    const column = part === undefined ? key! : this.columns[part]!;
    if (this.form !== 'sharegpt' || key !== 'messages') return [column, ...rest];
    const names: Record<string, string> = { role: this.tags.role_tag!, content: this.tags.content_tag! };
    return [column, ...rest.map((step, index) => (index === 1 ? (names[step] ?? step) : step))];
  }

  private turns(value: unknown): unknown {
    if (typeof value === 'string') {
      try {
        return JSON.stringify(this.turns(JSON.parse(value))); // a list in a table
      } catch {
        return value;
      }
    }
    return Array.isArray(value) ? value.map(turn => this.turn(turn)) : value;
  }

  private turn(turn: unknown): unknown {
    if (!isObject(turn)) return turn;
    const own = (key: string): unknown => (Object.hasOwn(turn, key) ? turn[key] : undefined);
    const others = Object.entries(turn).filter(([key]) => !usual.turnKeys.includes(key));
    const roles = new Map<unknown, string>(Object.entries(usual.roles).map(([tag, role]) => [this.tags[tag], role]));
    const role = own(this.tags.role_tag!);
    const named = { role: roles.get(role) ?? role, content: own(this.tags.content_tag!) };
    return Object.fromEntries([...others, ...Object.entries(named).filter(([, value]) => value !== undefined && value !== null)]);
  }
}

/** Those that `dataset_info.json` gives a file, or the one whose quarantine it is, if any. Rejects with a `UserError` where it cannot be read. */
export async function columnNamesOf(dataset: string): Promise<ColumnNames | undefined> {
  const file = path.join(path.dirname(dataset), COLUMN_NAMES_FILE);
  let info: unknown;
  try {
    info = JSON.parse((await readFile(file, 'utf8')).replace(/^\ufeff/, ''));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new UserError(`${COLUMN_NAMES_FILE}: ${errorText(error)}`);
  }
  const name = path.basename(isQuarantine(dataset) ? datasetOf(dataset) : dataset);
  const entries = isObject(info) ? Object.values(info) : [];
  const found = entries.filter((value): value is JsonObject => isObject(value) && value.file_name === name).map(entry => ofEntry(entry, name));
  if (found.some(names => names?.id !== found[0]?.id)) {
    throw new UserError(l10n.t`${COLUMN_NAMES_FILE}: two entries say different things of ${name}. Remove one of them.`);
  }
  return found[0];
}

function ofEntry(entry: JsonObject, name: string): ColumnNames | undefined {
  if (!['formatting', 'columns', 'tags'].some(key => key in entry)) return undefined;
  const { formatting = 'alpaca', columns = {}, tags = {} } = entry;
  if (typeof formatting !== 'string' || !Object.hasOwn(usual.parts, formatting)) {
    throw new UserError(l10n.t('{0}: `formatting` of {1} is not one of {2}.', COLUMN_NAMES_FILE, name, Object.keys(usual.parts).join(', ')));
  }
  if (!isTexts(columns)) throw new UserError(l10n.t('{0}: `columns` of {1} must be an object of texts.', COLUMN_NAMES_FILE, name));
  if (!isTexts(tags)) throw new UserError(l10n.t('{0}: `tags` of {1} must be an object of texts.', COLUMN_NAMES_FILE, name));
  return new ColumnNames(formatting as Form, columns, tags);
}

const isTexts = (value: unknown): value is Record<string, string> => isObject(value) && Object.values(value).every(text => typeof text === 'string');
