/** A report as one HTML file: no script, no network, nothing that is not in it. Pure. */
import { createHash } from 'node:crypto';
import {
  canaryMeaning,
  charts,
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
  type Column,
  type Table,
} from './content';
import { xml } from './escape';
import { methodSentence, methodSettings } from './methodText';
import type { ReportInput } from './reportInput';
import { reportStyle } from './style';
import { svgChart, type ChartSpec } from './svgChart';

/** Text that is HTML already. */
class Html {
  constructor(readonly text: string) {}
}

type Part = string | Html | undefined | readonly Part[];

/** HTML from a template: whatever is put into it is escaped, unless it was made so itself. */
const html = (pieces: TemplateStringsArray, ...parts: Part[]): Html =>
  new Html(pieces.map((piece, index) => piece + (index < parts.length ? written(parts[index]) : '')).join(''));

const written = (part: Part): string =>
  part === undefined ? '' : part instanceof Html ? part.text : typeof part === 'string' ? xml(part) : part.map(written).join('');

export function reportHtml(input: ReportInput): string {
  const hash = createHash('sha256').update(reportStyle).digest('base64');
  const policy = `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`;
  return html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${input.name}: fine-tuning report</title>
<style>${new Html(reportStyle)}</style>
</head>
<body>
<header>
<p class="kind">Fine-tuning report</p>
<h1>${input.name}</h1>
<p class="status">${statusSentence(input)}</p>
${list(headFacts(input), 'head')}
${missingNote(gaps(input))}
</header>
<main>
${[
  section('Before and after', resultPart(input)),
  section('Method', methodPart(input)),
  section('Training', trainingPart(input)),
  section('Changes and notes', tablePart(happenedTable(input))),
  section('Warnings', warningsPart(input.warnings)),
  section('Data', [tablePart(filesTable(input)), tablePart(countsTable(input), 'narrow')]),
  section('Rows to read', rowsPart(input)),
  section('How to have it again', repeatPart(input)),
]}
</main>
<footer>Made by Safe Fine-Tuning on ${moment(input.madeAt)} from the events of the run. Rows are named by file, line and hash; their text is not in this report.</footer>
</body>
</html>
`.text;
}

/** Nothing where there is nothing to say. */
function section(title: string, content: Part): Part {
  const id = title.toLowerCase().replaceAll(' ', '-');
  return written(content).trim() ? html`<section aria-labelledby="${id}">\n<h2 id="${id}">${title}</h2>\n${content}\n</section>\n` : undefined;
}

const list = (facts: readonly [string, string][], name = ''): Html => html`<dl class="${name}">${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;

const missingNote = (texts: readonly string[]): Part =>
  texts.length ? html`<aside class="note" aria-label="What is missing"><ul>${texts.map(text => html`<li>${text}</li>`)}</ul></aside>` : undefined;

function resultPart(input: ReportInput): Part {
  const table = resultTable(input);
  return table && [tablePart(table, 'result'), html`<p class="note">${howMeasured(input)}</p>`, html`<p class="note">${limits}</p>`];
}

function methodPart({ record }: ReportInput): Part {
  return record && [html`<p>${methodSentence(record.config)}</p>`, list(methodSettings(record.config))];
}

function trainingPart(input: ReportInput): Part {
  return [charts(input).map(figure), folded('The course of training as a table', tablePart(courseTable(input)))];
}

const figure = (spec: ChartSpec): Html =>
  html`<figure>${new Html(svgChart(spec))}${spec.description === canaryMeaning ? html`<figcaption>${canaryMeaning}</figcaption>` : undefined}</figure>\n`;

const warningsPart = (warnings: readonly string[]): Part => (warnings.length ? html`<ul>${warnings.map(text => html`<li>${text}</li>`)}</ul>` : undefined);

function rowsPart(input: ReportInput): Part {
  return [tablePart(riskiestTable(input)), tablePart(hardestTable(input))];
}

function repeatPart(input: ReportInput): Part {
  const [command, configuration] = [repeatCommand(input), configurationJson(input)];
  return [
    command && html`<p>In the folder of the configuration, with the same data files:</p><pre tabindex="0">${command}</pre>`,
    configuration && folded('The configuration, with every default', html`<pre tabindex="0">${configuration}</pre>`),
    tablePart(versionsTable(input), 'narrow'),
  ];
}

const folded = (summary: string, content: Part): Part => (content ? html`<details><summary>${summary}</summary>${content}</details>` : undefined);

function tablePart(table: Table | undefined, name = ''): Part {
  if (!table) return undefined;
  const heads = table.columns.map(({ label, kind }) => (label ? html`<th scope="col" class="${kind}">${label}</th>` : html`<td></td>`));
  const rows = table.rows.map(cells => html`<tr>${cells.map((cell, index) => drawnCell(cell, table.columns[index]!, index === 0))}</tr>\n`);
  return html`<div class="wide" tabindex="0" role="group" aria-label="${table.caption}"><table class="${name}">
<caption>${table.caption}</caption>
<thead><tr>${heads}</tr></thead>
<tbody>
${rows}</tbody>
</table></div>
`;
}

function drawnCell(cell: string | Cell, { kind }: Column, names: boolean): Html {
  const { text, tone } = typeof cell === 'string' ? { text: cell, tone: undefined } : cell;
  const classes = [kind, tone].filter(Boolean).join(' ');
  return names ? html`<th scope="row" class="${classes}">${text}</th>` : html`<td class="${classes}">${text}</td>`;
}
