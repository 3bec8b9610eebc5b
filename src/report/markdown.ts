/** A report as GitHub-flavoured Markdown, without HTML. Pure. */
import {
  configurationJson,
  countsTable,
  courseTable,
  filesTable,
  gaps,
  happenedTable,
  hardestTable,
  headFacts,
  howMeasured,
  limits,
  moment,
  repeatCommand,
  resultTable,
  riskiestTable,
  statusSentence,
  versionsTable,
  type Cell,
  type Table,
} from './content';
import { fenced, markdown, markdownLine } from './escape';
import { methodSentence, methodSettings } from './methodText';
import type { ReportInput } from './reportInput';

export function reportMarkdown(input: ReportInput): string {
  const { record } = input;
  const [command, configuration] = [repeatCommand(input), configurationJson(input)];
  return blocks(
    `# Fine-tuning report: ${markdown(input.name)}`,
    markdownLine(statusSentence(input)),
    facts(headFacts(input)),
    bullets(gaps(input)),
    section('Before and after', resultBlock(input)),
    section('Method', record && blocks(markdown(methodSentence(record.config)), facts(methodSettings(record.config)))),
    section('Training', markdownTable(courseTable(input))),
    section('Changes and notes', markdownTable(happenedTable(input))),
    section('Warnings', bullets(input.warnings)),
    section('Data', blocks(markdownTable(filesTable(input)), markdownTable(countsTable(input)))),
    section('Rows to read', blocks(markdownTable(riskiestTable(input)), markdownTable(hardestTable(input)))),
    section(
      'How to have it again',
      blocks(
        command && `In the folder of the configuration, with the same data files:\n\n${fenced(command, 'sh')}`,
        configuration && `The configuration, with every default:\n\n${fenced(configuration, 'json')}`,
        markdownTable(versionsTable(input)),
      ),
    ),
    `Made by Safe Fine-Tuning on ${moment(input.madeAt)} from the events of the run. Rows are named by file, line and hash; their text is not in this report.`,
  ).concat('\n');
}

/** The table, how it came about and what it does not show: in a model card as well. */
export function resultBlock(input: ReportInput): string | undefined {
  const table = markdownTable(resultTable(input));
  return table && blocks(table, markdown(howMeasured(input)), markdown(limits));
}

export const blocks = (...parts: (string | undefined)[]): string => parts.filter(Boolean).join('\n\n');

export const section = (title: string, content: string | undefined): string | undefined => (content ? `## ${title}\n\n${content}` : undefined);

const bullets = (texts: readonly string[]): string => texts.map(text => `- ${markdownLine(text)}`).join('\n');

export const facts = (pairs: readonly [string, string][]): string => pairs.map(([name, value]) => `- ${markdown(name)}: ${markdown(value)}`).join('\n');

export function markdownTable(table: Table | undefined): string | undefined {
  if (!table) return undefined;
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return blocks(
    markdown(table.caption),
    [
      line(table.columns.map(({ label }) => markdown(label))),
      line(table.columns.map(({ kind }) => (kind === 'number' ? '---:' : '---'))),
      ...table.rows.map(cells => line(cells.map((cell, index) => drawnCell(cell, table.columns[index]!.kind === 'code')))),
    ].join('\n'),
  );
}

/** A hash stands as code, which nothing in it can end. */
function drawnCell(cell: string | Cell, code: boolean): string {
  const { text, tone } = typeof cell === 'string' ? { text: cell, tone: undefined } : cell;
  if (code && /^[0-9a-z]+$/i.test(text)) return `\`${text}\``;
  return tone ? `**${markdown(text)}**` : markdown(text);
}
