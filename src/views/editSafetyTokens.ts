/** Copies the safety tokens of a run into its configuration, where they can be edited. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import { findNodeAtLocation, parseTree } from 'jsonc-parser';
import * as vscode from 'vscode';
import { UserError } from '../common/userError';
import type { Run } from '../trainerHost/run';
import { safetyTokenEdits } from './safetyTokenList';

/** The configuration is left unsaved, with the list selected. */
export async function editSafetyTokensOf(run: Run | undefined): Promise<void> {
  if (!run || run.safetyTokens.length === 0) return;
  const { configPath } = run;
  const document = configPath && (await vscode.workspace.openTextDocument(configPath).then(found => found, () => undefined));
  if (!document) {
    throw new UserError(l10n.t`The configuration of run ${run.name}, ${configPath ?? l10n.t('unknown')}, is gone. Put it back to edit its safety tokens.`);
  }
  const changes = safetyTokenEdits(document.getText(), run.safetyTokens.map(({ text }) => text));
  if (!changes) throw new UserError(l10n.t`${path.basename(document.fileName)} is no valid JSON, so nothing was written. Mend it first.`);
  const edit = new vscode.WorkspaceEdit();
  for (const { offset, length, content } of changes) {
    edit.replace(document.uri, new vscode.Range(document.positionAt(offset), document.positionAt(offset + length)), content);
  }
  if (!(await vscode.workspace.applyEdit(edit))) {
    throw new UserError(l10n.t`${path.basename(document.fileName)} cannot be written, so nothing has changed. Is it read-only?`);
  }
  const tree = parseTree(document.getText(), [], { allowTrailingComma: true });
  const list = tree && findNodeAtLocation(tree, ['safetyTokens', 'tokens']);
  const selection = list && new vscode.Range(document.positionAt(list.offset), document.positionAt(list.offset + list.length));
  await vscode.window.showTextDocument(document, { selection });
}
