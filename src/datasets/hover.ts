/** What the extension knows about the row under the mouse. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { hundredths, percent } from '../common/format';
import type { CommandId } from '../common/commands';
import { setting } from '../common/configuration';
import type { Opinion } from '../risk/opinions';
import { DATASETS, type Annotations } from './annotations';
import { locationOf } from './navigation';
import { isQuarantine } from './quarantineFiles';

export function registerHover(annotations: Annotations): vscode.Disposable {
  return vscode.languages.registerHoverProvider(DATASETS, {
    provideHover: (document, position) => describeRow(annotations, document, position),
  });
}

const enabledCommands: CommandId[] = [
  'safeFinetuning.scoreFile',
  'safeFinetuning.showClassifierCard',
  'safeFinetuning.quarantineRow',
  'safeFinetuning.restoreRow',
  'safeFinetuning.markReviewed',
  'safeFinetuning.unmarkReviewed',
];

function describeRow(annotations: Annotations, document: vscode.TextDocument, position: vscode.Position): vscode.Hover | undefined {
  const dataset = annotations.get(document);
  const row = dataset?.rowAt(position);
  if (!dataset || !row?.score) return undefined;
  const { risk, refusal } = row.score;
  const threshold = setting('risk.threshold', document.uri);
  const custom = setting('risk.classifierFolder', document.uri);
  const other = dataset.otherJudgeOf(row.hash);
  const judge = byMessage(other ? asPlainText(opinionText(other, annotations.opinionOf(dataset.file))) : classifierText(custom), dataset.worstOfSeveral(row));
  const quarantined = isQuarantine(dataset.file);
  const reviewed = dataset.reviewed.has(row.hash);
  const text = new vscode.MarkdownString(undefined, true);
  if (refusal) {
    text.appendMarkdown(
      l10n.t('$(shield) **Risk 0.00 · refusal, kept as safety data**\n\nThe answer declines the request. Rows like this one teach the model to stay safe; they are never flagged.'),
    );
  } else if (quarantined) {
    text.appendMarkdown(l10n.t`Risk ${hundredths(risk)} · in quarantine, not trained on · judged by ${judge}`);
  } else if (risk >= threshold && reviewed) {
    text.appendMarkdown(l10n.t`$(pass) Risk ${hundredths(risk)} · **reviewed: trains as an ordinary row** · judged by ${judge}`);
  } else if (risk >= threshold) {
    text.appendMarkdown(
      l10n.t("$(warning) **Risk {0}** · flagged from {1} · judged by {2}\n\nTraining on rows whose answer complies with a harmful request undoes a model's refusals, often within a few steps. The classifier is triage, not a verdict: read the row and decide. Where it stays, the method `adaptive` holds the model near its safe reference on it.", hundredths(risk), hundredths(threshold), judge),
    );
  } else {
    text.appendMarkdown(l10n.t`Risk ${hundredths(risk)} · below ${hundredths(threshold)} · judged by ${judge}`);
  }
  const { record, range, hash } = row;
  for (const note of annotations.notesOf(dataset.file, hash)) text.appendMarkdown(`\n\n$(pulse) ${asPlainText(note.describe())}`);
  const location = locationOf(dataset.file, { line: record.start.line, hash });
  const links = [link(l10n.t('Score file again'), 'safeFinetuning.scoreFile', { fsPath: dataset.file })];
  if (!refusal && risk >= threshold && document.uri.scheme !== 'untitled' && !quarantined) {
    links.unshift(reviewed ? link(l10n.t('Flag row again'), 'safeFinetuning.unmarkReviewed', location) : link(l10n.t('Mark as reviewed'), 'safeFinetuning.markReviewed', location));
    if (!reviewed && document.uri.scheme === 'file') links.unshift(link(l10n.t('Move row to quarantine'), 'safeFinetuning.quarantineRow', location));
  }
  if (quarantined) links.unshift(link(l10n.t('Restore row to the dataset'), 'safeFinetuning.restoreRow', location));
  text.appendMarkdown(`\n\n${links.join(' · ')}`);
  text.isTrusted = { enabledCommands };
  return new vscode.Hover(text, range);
}

function opinionText(judge: string, { trainedOn, flagsOrdinary }: Partial<Opinion> = {}): string {
  const trained = trainedOn ? l10n.t`${judge}, trained on ${trainedOn}` : judge;
  return flagsOrdinary ? l10n.t`${trained}, which flags ${percent(flagsOrdinary)} of ordinary rows` : trained;
}

function classifierText(custom: string): string {
  return custom ? l10n.t('the classifier in `{0}`', custom) : l10n.t`the bundled classifier, on this machine, trained on English requests and answers that were written for it (${link(l10n.t('its card'), 'safeFinetuning.showClassifierCard')})`;
}

const byMessage = (judge: string, message: number | undefined): string => (message === undefined ? judge : l10n.t`${judge}, by its message ${message}`);

/** `appendText` would keep the text from being wrapped. */
const asPlainText = (text: string): string => text.replace(/[\\`*_{}[\]()#+\-.!~|<>$&]/g, '\\$&');

function link(title: string, command: CommandId, ...given: unknown[]): string {
  const encoded = encodeURIComponent(JSON.stringify(given)).replaceAll('(', '%28').replaceAll(')', '%29');
  return `[${title}](command:${command}?${encoded})`;
}
