/** Errors that the trainer found in a run configuration, shown in the file itself. */
import * as vscode from 'vscode';
import { Disposable } from '../common/disposable';
import type { PreflightCheck } from '../trainerHost/preflight';

export class ConfigurationProblems extends Disposable {
  private readonly collection = this.register(vscode.languages.createDiagnosticCollection('safe-finetuning-configuration'));

  constructor() {
    super();
    // What was found no longer holds once the text changes.
    this.register(vscode.workspace.onDidChangeTextDocument(({ document }) => this.collection.delete(document.uri)));
  }

  async show(configuration: vscode.Uri, checks: readonly PreflightCheck[]): Promise<void> {
    const own = checks.filter(check => check.status !== 'ok' && check.file === configuration.fsPath);
    if (own.length === 0) return this.collection.delete(configuration);
    const document = await vscode.workspace.openTextDocument(configuration);
    const diagnostics = own.map(check => {
      const at = document.validatePosition(new vscode.Position((check.line ?? 1) - 1, (check.column ?? 1) - 1));
      const range = document.getWordRangeAtPosition(at, /"[^"]*"|[\w.-]+/) ?? document.lineAt(at).range;
      const severity =
        check.status === 'error' ? vscode.DiagnosticSeverity.Error : vscode.DiagnosticSeverity.Warning;
      const diagnostic = new vscode.Diagnostic(range, check.message, severity);
      diagnostic.source = 'Safe Fine-Tuning';
      diagnostic.code = check.id;
      return diagnostic;
    });
    this.collection.set(configuration, diagnostics);
  }
}
