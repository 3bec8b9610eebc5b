/**
 * A new run as its form has it, and the configuration file that it becomes. Defaults, limits and descriptions are
 * those of the configuration's schema. Pure.
 */
import * as l10n from '@vscode/l10n';
import schema from '../../schema/run-config.schema.json';
import type { RunConfig } from '../protocol/messages';
import type { PreflightCheck } from '../trainerHost/preflight';

export type Method = RunConfig['method'];

/** The few settings that people change, with what the form calls them. */
const labels = {
  'training.epochs': l10n.t('Epochs'),
  'training.learningRate': l10n.t('Learning rate'),
  'training.batchSize': l10n.t('Batch size'),
  'training.maxLength': l10n.t('Maximum length'),
  'lora.rank': l10n.t('LoRA rank'),
  'dataset.heldOutShare': l10n.t('Held-out share'),
  'risk.threshold': l10n.t('Risk threshold'),
  'canary.maxDrop': l10n.t('Canary budget'),
} as const;

export type SettingKey = keyof typeof labels;
export const settingKeys = Object.keys(labels) as SettingKey[];
export const labelOf = (key: SettingKey): string => labels[key];

/** What the user has typed. Paths are as they are shown. */
export interface NewRun {
  name: string;
  model: string;
  dataset: string;
  method: Method;
  settings: Record<SettingKey, string>;
}

export type FieldName = 'name' | 'model' | 'dataset' | 'method' | SettingKey;

export const emptyRun = (): NewRun => ({
  name: '',
  model: 'example',
  dataset: '',
  method: schema.properties.method.default as Method,
  settings: Object.fromEntries(settingKeys.map(key => [key, defaultText(key)])) as Record<SettingKey, string>,
});

// --- settings, by the schema

/** A part of the schema, as far as it matters here. */
interface SchemaPart {
  $ref?: string;
  anyOf?: SchemaPart[];
  type?: string;
  default?: unknown;
  description?: string;
  properties?: Record<string, SchemaPart>;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

const definitions = schema.$defs as Record<string, SchemaPart>;

/** Follows a reference, and of a part that may be null the other one. */
function resolved(part: SchemaPart): SchemaPart {
  const of = part.anyOf?.find(({ type }) => type !== 'null');
  if (of) return { ...part, ...resolved(of) };
  return part.$ref ? definitions[part.$ref.split('/').at(-1)!]! : part;
}

function schemaOf(path: string): SchemaPart {
  const [first, ...rest] = path.split('.');
  let part = (schema.properties as Record<string, SchemaPart>)[first!]!;
  for (const step of rest) part = resolved(part).properties![step]!;
  return resolved(part);
}

export const descriptionOf = (path: string): string => schemaOf(path).description ?? '';

/** Empty where nothing is set. */
export const defaultText = (key: SettingKey): string => {
  const value = schemaOf(key).default;
  return typeof value === 'number' ? String(value) : '';
};

/** What is typed as the configuration has it; null where that leaves the setting to its default. */
export function readSetting(key: SettingKey, text: string): { value: number | null } | { problem: string } {
  const trimmed = text.trim();
  if (trimmed === '') return { value: null };
  const value = Number(trimmed);
  const { type, minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schemaOf(key);
  if (!Number.isFinite(value)) return { problem: l10n.t('Write a number, such as 0.5 or 2e-4.') };
  if (type === 'integer' && !Number.isInteger(value)) return { problem: l10n.t('Write a whole number.') };
  if (minimum !== undefined && value < minimum) return { problem: l10n.t`It must be at least ${minimum}.` };
  if (exclusiveMinimum !== undefined && value <= exclusiveMinimum) return { problem: l10n.t`It must be above ${exclusiveMinimum}.` };
  if (maximum !== undefined && value > maximum) return { problem: l10n.t`It must be at most ${maximum}.` };
  if (exclusiveMaximum !== undefined && value >= exclusiveMaximum) return { problem: l10n.t`It must be below ${exclusiveMaximum}.` };
  return { value };
}

// --- methods

export interface MethodCard {
  method: Method;
  what: string;
  when: string;
  /** Within a sentence. */
  cost: string;
}

/** As docs/methods.md has it, the first choice first. */
export const methodCards: readonly MethodCard[] = [
  {
    method: 'recommended',
    what: l10n.t('Risky rows are held near the safe reference, and anchor rows hold its refusals where they are.'),
    when: l10n.t('As a rule.'),
    cost: l10n.t("one anchor row for every eight rows, and the reference's word on risky rows, once each."),
  },
  {
    method: 'adaptive',
    what: l10n.t('Risky rows are held near the safe reference; all others train as usual.'),
    when: l10n.t('Data that may hold harmful rows among ordinary ones. What harmless rows wear down, it does not see.'),
    cost: l10n.t('a second forward pass over the risky rows, once each.'),
  },
  {
    method: 'safety-tokens',
    what: l10n.t("The log-probabilities of refusal tokens are held near the reference's."),
    when: l10n.t('Harmless data that wears refusals down, where no risk can be seen.'),
    cost: l10n.t('a second forward pass over all rows, once each.'),
  },
];

/** For comparison. */
export const baselineCards: readonly MethodCard[] = [
  { method: 'standard', what: l10n.t('Plain fine-tuning; risk is judged and shown all the same.'), when: l10n.t('To see what is lost without protection.'), cost: l10n.t('none.') },
  { method: 'kl', what: l10n.t('Every row is held near the reference, whatever its risk.'), when: l10n.t('To compare with.'), cost: l10n.t('a second forward pass over all rows, once each.') },
  { method: 'constrained', what: l10n.t('The first tokens of every answer are held near the reference.'), when: l10n.t('To compare with.'), cost: l10n.t('a second forward pass over all rows, once each.') },
  { method: 'mix-safety', what: l10n.t("The reference's refusals are mixed in and trained on."), when: l10n.t('To compare with.'), cost: l10n.t('one refusal for every eight rows.') },
  { method: 'filter', what: l10n.t('Rows at or above the risk threshold are left out; the rest trains plainly.'), when: l10n.t('To compare with.'), cost: l10n.t('none.') },
];

const cardOf = (method: Method): MethodCard => [...methodCards, ...baselineCards].find(card => card.method === method)!;

// --- the file

/** What a configuration file says, without what is as by default. */
export interface Configuration {
  model: string;
  dataset: { path: string } & Record<string, number | string>;
  method: Method;
  [section: string]: unknown;
}

/** `model` and `dataset` as the file is to name them. A setting that cannot be read is left out. */
export function configurationOf({ method, settings }: NewRun, model: string, dataset: string): Configuration {
  const configuration: Configuration = { model, dataset: { path: dataset }, method };
  for (const key of settingKeys) {
    const read = readSetting(key, settings[key]);
    if ('problem' in read || read.value === null || read.value === schemaOf(key).default) continue;
    const [section, name] = key.split('.') as [string, string];
    configuration[section] = { ...(configuration[section] as object | undefined), [name]: read.value };
  }
  return configuration;
}

const LINE = 96;

/** With a comment on everything that it says. */
export function configurationText(configuration: Configuration): string {
  const sections = Object.entries(configuration).map(([key, value]) => {
    if (typeof value !== 'object' || value === null) return [...comment(key, configuration, '  '), `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`];
    const settings = Object.entries(value).map(([name, setting]) => [...comment(`${key}.${name}`, configuration, '    '), `    ${JSON.stringify(name)}: ${JSON.stringify(setting)}`].join('\n'));
    return [`  ${JSON.stringify(key)}: {`, settings.join(',\n'), '  }'];
  });
  // eslint-disable-next-line no-restricted-syntax -- goes into the file
  return `{\n${sections.map(lines => lines.join('\n')).join(',\n\n')}\n\n  // Everything else has a default: type a quotation mark to see what there is.\n}\n`;
}

function comment(path: string, { method }: Configuration, indent: string): string[] {
  const text = path === 'method' ? cardOf(method).what : firstSentence(descriptionOf(path));
  const lines = [''];
  for (const word of text.split(' ')) {
    const next = `${lines.at(-1)} ${word}`;
    if (indent.length + 2 + next.length <= LINE) lines.splice(-1, 1, next);
    else lines.push(` ${word}`);
  }
  return lines.map(line => `${indent}//${line}`);
}

const firstSentence = (text: string): string => /^.*?\.(?=\s|$)/.exec(text)?.[0] ?? text;

// --- what the trainer says of it

/** The field that a check is about; undefined where it is about none. */
export function fieldOf({ id, message }: Pick<PreflightCheck, 'id' | 'message'>): FieldName | undefined {
  switch (id) {
    case 'model':
      return /`lora/.test(message) ? 'lora.rank' : 'model';
    case 'rows':
      return message.includes('`training.maxLength`') ? 'training.maxLength' : 'dataset';
    case 'dataset':
      return 'dataset';
    case 'configuration': {
      const named = /`([\w.]+)`/.exec(message)?.[1];
      if (named === 'dataset.path') return 'dataset';
      return ([...settingKeys, 'model', 'method'] as FieldName[]).find(field => field === named);
    }
    case 'device':
    case 'packages':
    case 'interpreter':
    case 'trainer':
    case 'trackers':
    case 'disk':
      return undefined;
  }
}
