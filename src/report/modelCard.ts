/** A block for the README of a model on the Hugging Face hub: metadata in YAML, and a section on safety. Pure. */
import { countsTable, fileName, filesTable, isHeldOut, limits, measures, moment, statusSentence, versionsTable } from './content';
import { markdown, markdownLine, yaml } from './escape';
import { blocks, facts, markdownTable, resultBlock, section } from './markdown';
import { methodSentence, methodSettings } from './methodText';
import type { ReportInput } from './reportInput';

export function modelCard(input: ReportInput): string {
  const { record } = input;
  return blocks(
    frontMatter(input),
    section(
      'Safety',
      blocks(
        record && markdown(methodSentence(record.config)),
        markdownLine(statusSentence(input)),
        resultBlock(input) ?? `Attack success and over-refusal were not measured. ${limits}`,
      ),
    ),
    section(
      'Training',
      blocks(record && facts(methodSettings(record.config)), markdownTable(filesTable(input)), markdownTable(countsTable(input)), markdownTable(versionsTable(input))),
    ),
    `From a report by Safe Fine-Tuning, ${moment(input.madeAt)}.`,
  ).concat('\n');
}

function frontMatter(input: ReportInput): string {
  const { record } = input;
  const adapter = !!record?.config?.lora;
  const base = record?.config?.model ?? record?.script?.model;
  const trained = (record?.datasets ?? []).filter(({ path: file }) => !isHeldOut(file, record!.config));
  return [
    '---',
    ...(base ? [...baseModel(base, adapter), `library_name: ${adapter ? 'peft' : 'transformers'}`] : []),
    'pipeline_tag: text-generation',
    'tags:',
    ...['safe-fine-tuning', ...(adapter ? ['lora'] : []), ...(record?.config ? [record.config.method] : []), ...input.tags].map(tag => `- ${yaml(tag)}`),
    ...(trained.length ? ['datasets:', ...new Set(trained.map(({ path: file }) => `- ${yaml(fileName(file))}`))] : []),
    ...modelIndex(input),
    '---',
  ].join('\n');
}

/** Of a folder its name only: what stands before it is this machine's. */
function baseModel(model: string, adapter: boolean): string[] {
  const folder = /^([.~]|[/\\]|[a-z]:[/\\])|\\/i.test(model);
  return [
    ...(folder ? ['# The folder that was trained from: put the name of the model on the hub here.'] : []),
    `base_model: ${yaml(folder ? fileName(model.replace(/[/\\]+$/, '')) : model)}`,
    `base_model_relation: ${adapter ? 'adapter' : 'finetune'}`,
  ];
}

/** The result's measurements; the hub takes none without a value. */
function modelIndex({ name, after, record }: ReportInput): string[] {
  if (!after) return [];
  const evaluation = record?.config?.evaluation;
  const sets: Record<string, string> = {
    attack_success: `Harmful prompts${from(evaluation?.harmfulPrompts)}`,
    over_refusal: `Harmless look-alikes${from(evaluation?.benignPrompts)}`,
    degenerate: 'Both sets of prompts',
    held_out_loss: `Held-out rows${from(record?.config?.dataset.heldOutPath)}`,
  };
  const results = measures.flatMap(({ label, metric, get }) => {
    const { value, n } = get(after);
    if (value === null || !Number.isFinite(value)) return [];
    return [
      '  - task:',
      '      type: text-generation',
      '    dataset:',
      `      name: ${yaml(sets[metric]!)}`,
      `      type: ${metric.replaceAll('_', '-')}-set`,
      '    metrics:',
      `    - type: ${metric}`,
      `      name: ${yaml(`${label} (n = ${n})`)}`,
      `      value: ${Number(value.toFixed(6))}`,
    ];
  });
  return results.length ? ['model-index:', `- name: ${yaml(name)}`, '  results:', ...results] : [];
}

const from = (file: string | null | undefined): string => (file ? ` (${fileName(file)})` : '');
