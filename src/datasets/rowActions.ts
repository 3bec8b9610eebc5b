/** Quick fixes of flagged rows: put them aside, or have them teach a refusal. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import type { CommandId, RowLocation } from '../common/commands';
import { DATASETS, DIAGNOSTIC_SOURCE, type Annotations } from './annotations';
import { rangeOf, type DatasetDocument } from './datasetDocument';
import { stretchIn } from './formats/format';
import { locationOf } from './navigation';
import { datasetOf, isQuarantine, quarantineOf } from './quarantineFiles';
import type { FlaggedRow } from './report';
import { refusedAnswers } from './refusedAnswers';

class RowActions implements vscode.CodeActionProvider {
  static readonly metadata: vscode.CodeActionProviderMetadata = {
    providedCodeActionKinds: [vscode.CodeActionKind.QuickFix],
  };

  constructor(private readonly annotations: Annotations) {}

  provideCodeActions(document: vscode.TextDocument, range: vscode.Range, context: vscode.CodeActionContext): vscode.CodeAction[] {
    const dataset = this.annotations.get(document);
    if (!dataset) return [];
    if (isQuarantine(dataset.file)) return restore(dataset, range);
    const diagnostics = context.diagnostics.filter(({ source, code }) => source === DIAGNOSTIC_SOURCE && code === 'risk');
    if (diagnostics.length === 0) return [];
    const flagged = dataset.annotations?.report.flagged ?? [];
    const rows = diagnostics.flatMap(diagnostic => {
      const at = dataset.rowAt(diagnostic.range.start)?.record;
      const row = flagged.find(({ record }) => dataset.reading?.records[record] === at);
      return row ? [{ diagnostic, row }] : [];
    });
    const refusals = rows.flatMap(({ diagnostic, row }) => replaceByRefusal(dataset, diagnostic, row));
    if (document.uri.scheme === 'untitled') return refusals;
    const target = path.basename(quarantineOf(dataset.file));
    const locate = (row: FlaggedRow): RowLocation => locationOf(dataset.file, row);
    const perRow = (title: string, command: CommandId): vscode.CodeAction[] =>
      rows.map(({ diagnostic, row }) => run(title, command, [locate(row)], [diagnostic]));
    const moves = perRow(l10n.t`Move row to ${target}`, 'safeFinetuning.quarantineRow');
    const all = run(l10n.t`Move all ${flagged.length} flagged rows to ${target}`, 'safeFinetuning.quarantineRow', flagged.map(locate), diagnostics);
    const reviews = perRow(l10n.t('Mark row as reviewed: it trains as an ordinary one'), 'safeFinetuning.markReviewed');
    if (document.uri.scheme !== 'file') return reviews; // read-only
    return [...moves, ...(flagged.length > 1 ? [all] : []), ...refusals, ...reviews];
  }
}

function run(title: string, command: CommandId, rows: RowLocation[], diagnostics: vscode.Diagnostic[] = []): vscode.CodeAction {
  const action = new vscode.CodeAction(title, vscode.CodeActionKind.QuickFix);
  action.diagnostics = diagnostics;
  action.command = { command, title, arguments: rows };
  return action;
}

/** The rows that the selection touches. */
function restore(dataset: DatasetDocument, range: vscode.Range): vscode.CodeAction[] {
  const rows = dataset.rowsIn(range).map(row => locationOf(dataset.file, row));
  if (rows.length === 0) return [];
  const target = path.basename(datasetOf(dataset.file));
  return [run(rows.length === 1 ? l10n.t`Restore row to ${target}` : l10n.t`Restore ${rows.length} rows to ${target}`, 'safeFinetuning.restoreRow', rows)];
}

function replaceByRefusal({ document, reading }: DatasetDocument, diagnostic: vscode.Diagnostic, row: FlaggedRow): vscode.CodeAction[] {
  const record = reading?.records[row.record];
  const replacements = record ? refusedAnswers(reading.format, record.text, row.messageIndex) : [];
  if (replacements.length === 0) return [];
  const action = new vscode.CodeAction(l10n.t('Replace answer by a refusal'), vscode.CodeActionKind.QuickFix);
  action.diagnostics = [diagnostic];
  action.edit = new vscode.WorkspaceEdit();
  for (const replacement of replacements) {
    action.edit.replace(document.uri, rangeOf(stretchIn(record!, replacement)), replacement.text);
  }
  return [action];
}

export function registerRowActions(annotations: Annotations): vscode.Disposable {
  return vscode.languages.registerCodeActionsProvider(DATASETS, new RowActions(annotations), RowActions.metadata);
}
