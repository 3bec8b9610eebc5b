/** Quick fixes of flagged rows: put them aside, or have them teach a refusal. */
import path from 'node:path';
import * as vscode from 'vscode';
import type { RowLocation } from '../common/commands';
import { DATASETS, DIAGNOSTIC_SOURCE, type Annotations } from './annotations';
import { locationOf } from './navigation';
import { quarantinePath, type FlaggedRow } from './report';
import { refusedAnswers } from './refusedAnswers';

class RowActions implements vscode.CodeActionProvider {
  static readonly metadata: vscode.CodeActionProviderMetadata = {
    providedCodeActionKinds: [vscode.CodeActionKind.QuickFix],
  };

  constructor(private readonly annotations: Annotations) {}

  provideCodeActions(document: vscode.TextDocument, _: vscode.Range, context: vscode.CodeActionContext): vscode.CodeAction[] {
    const diagnostics = context.diagnostics.filter(({ source, code }) => source === DIAGNOSTIC_SOURCE && code === 'risk');
    if (diagnostics.length === 0) return [];
    const flagged = this.annotations.get(document)?.annotations?.report.flagged ?? [];
    const rows = diagnostics.flatMap(diagnostic => {
      const row = flagged.find(({ line }) => line === diagnostic.range.start.line);
      return row ? [{ diagnostic, row }] : [];
    });
    const refusals = rows.map(({ diagnostic, row }) => replaceByRefusal(document, diagnostic, row));
    if (document.uri.scheme !== 'file') return refusals;
    const { fsPath } = document.uri;
    const target = path.basename(quarantinePath(fsPath));
    const locate = (row: FlaggedRow): RowLocation => locationOf(fsPath, row);
    const moves = rows.map(({ diagnostic, row }) => move(`Move row to ${target}`, [diagnostic], [locate(row)]));
    const all = flagged.length > 1 ? [move(`Move all ${flagged.length} flagged rows to ${target}`, diagnostics, flagged.map(locate))] : [];
    return [...moves, ...all, ...refusals];
  }
}

function move(title: string, diagnostics: vscode.Diagnostic[], rows: RowLocation[]): vscode.CodeAction {
  const action = new vscode.CodeAction(title, vscode.CodeActionKind.QuickFix);
  action.diagnostics = diagnostics;
  action.command = { command: 'safeFinetuning.quarantineRow', title, arguments: rows };
  return action;
}

function replaceByRefusal(document: vscode.TextDocument, diagnostic: vscode.Diagnostic, { line, messageIndex }: FlaggedRow): vscode.CodeAction {
  const action = new vscode.CodeAction('Replace answer by a refusal', vscode.CodeActionKind.QuickFix);
  action.diagnostics = [diagnostic];
  action.edit = new vscode.WorkspaceEdit();
  for (const { start, end, text } of refusedAnswers(document.lineAt(line).text, messageIndex)) {
    action.edit.replace(document.uri, new vscode.Range(line, start, line, end), text);
  }
  return action;
}

export function registerRowActions(annotations: Annotations): vscode.Disposable {
  return vscode.languages.registerCodeActionsProvider(DATASETS, new RowActions(annotations), RowActions.metadata);
}
