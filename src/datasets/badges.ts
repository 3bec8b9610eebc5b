/** How many rows of a dataset file are flagged, in the explorer. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { isOne } from '../common/language';
import { hundredths, integer } from '../common/format';
import { Disposable } from '../common/disposable';
import type { Annotations } from './annotations';
import type { DatasetIndex } from './datasetIndex';

const MOST_IN_TWO_CHARACTERS = 99;

export class Badges extends Disposable implements vscode.FileDecorationProvider {
  private readonly changed = this.register(new vscode.EventEmitter<vscode.Uri>());
  readonly onDidChangeFileDecorations = this.changed.event;

  constructor(
    private readonly index: DatasetIndex,
    private readonly annotations: Annotations,
  ) {
    super();
    this.register(vscode.window.registerFileDecorationProvider(this));
    this.register(index.onDidChange(file => this.changed.fire(vscode.Uri.file(file))));
    this.register(vscode.workspace.onDidCloseTextDocument(({ uri }) => this.changed.fire(uri)));
  }

  provideFileDecoration({ scheme, fsPath }: vscode.Uri): vscode.FileDecoration | undefined {
    if (scheme !== 'file' || this.annotations.isOpen(fsPath)) return undefined; // VS Code counts its diagnostics
    const { flagged, threshold } = this.index.get(fsPath)?.summary ?? { flagged: 0, threshold: 0 };
    if (flagged === 0) return undefined;
    const badge = flagged > MOST_IN_TWO_CHARACTERS ? '9+' : String(flagged);
    const tooltip = isOne(flagged) ? l10n.t`${integer(flagged)} row at or above risk ${hundredths(threshold)}` : l10n.t`${integer(flagged)} rows at or above risk ${hundredths(threshold)}`;
    return new vscode.FileDecoration(badge, tooltip, new vscode.ThemeColor('list.warningForeground'));
  }
}
