/** The dataset side of the extension: annotations of open dataset files, and what can be done about rows. */
import path from 'node:path';
import * as vscode from 'vscode';
import { setting } from '../common/configuration';
import { Disposable } from '../common/disposable';
import { withProgress } from '../common/progress';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import { ScoreCache } from '../risk/cache';
import { Scorer } from '../risk/scorer';
import { Annotations } from './annotations';
import { registerHover } from './hover';
import { nextLine, promptRange, showRow, type Direction } from './navigation';
import { quarantineRows } from './quarantine';
import { formatRisk, summary, type FileReport } from './report';
import { registerRowActions } from './rowActions';
import { registerSummaryLens } from './summaryLens';

export class DatasetFeature extends Disposable {
  private readonly annotations: Annotations;

  constructor({ context, log, registerCommand }: Services) {
    super();
    const bundled = context.asAbsolutePath('trainer/safe_finetuning/classifier');
    const scorer = this.register(
      new Scorer({
        workerFile: context.asAbsolutePath('dist/worker.js'),
        folder: () => setting('risk.classifierFolder') || bundled,
        log,
      }),
    );
    const storage = (context.storageUri ?? context.globalStorageUri).fsPath;
    const cache = this.register(new ScoreCache(path.join(storage, 'scores.txt'), log));
    this.annotations = this.register(new Annotations({ scorer, cache, log }));
    this.register(registerHover(this.annotations));
    this.register(registerRowActions(this.annotations));
    this.register(registerSummaryLens(this.annotations));
    this.register(registerCommand('safeFinetuning.quarantineRow', (...rows) => quarantineRows(rows)));
    this.register(registerCommand('safeFinetuning.showRow', showRow));
    this.register(registerCommand('safeFinetuning.nextFlaggedRow', () => this.goToFlagged('next')));
    this.register(registerCommand('safeFinetuning.previousFlaggedRow', () => this.goToFlagged('previous')));
    this.register(registerCommand('safeFinetuning.scoreFile', file => this.scoreFile(file)));
  }

  /** The report of an open file once every row has been dealt with; undefined where rows are not judged. */
  async whenScored(uri: vscode.Uri): Promise<FileReport | undefined> {
    const document = await vscode.workspace.openTextDocument(uri);
    const dataset = this.annotations.get(document);
    await dataset?.settled();
    return dataset?.annotations?.report;
  }

  /** From the cursor on, and from the other end of the file after the last one. */
  private goToFlagged(direction: Direction): void {
    const editor = vscode.window.activeTextEditor;
    const report = editor && this.annotations.get(editor.document)?.annotations?.report;
    if (!report) throw new UserError('Open a dataset file (*.jsonl) first; its flagged rows are found from the cursor on.');
    const line = nextLine(report.flagged.map(flagged => flagged.line), editor.selection.active.line, direction);
    if (line === undefined) {
      void vscode.window.setStatusBarMessage(`No row is at or above risk ${formatRisk(report.threshold)}`, 5000);
      return;
    }
    const range = promptRange(editor.document, line);
    editor.selection = new vscode.Selection(range.start, range.start);
    editor.revealRange(range, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
  }

  private async scoreFile(file: { fsPath: string } | undefined): Promise<void> {
    const uri = file ? vscode.Uri.file(file.fsPath) : vscode.window.activeTextEditor?.document.uri;
    if (!uri) throw new UserError('Open a dataset file (*.jsonl) first, then score it.');
    const document = await vscode.workspace.openTextDocument(uri);
    await vscode.window.showTextDocument(document);
    const name = path.basename(uri.fsPath);
    const dataset = await withProgress(`Scoring ${name}`, (signal, report) => {
      let reported = 0;
      signal.addEventListener('abort', () => this.annotations.get(document)?.cancelScoring());
      return this.annotations.scoreAgain(document, ({ done, total }) => {
        const increment = Math.max(0, (100 * (done - reported)) / Math.max(total, 1));
        report({ message: `${done} of ${total} rows`, increment });
        reported = Math.max(reported, done);
      });
    });
    if (!dataset) {
      throw new UserError(`${name} is no JSON Lines dataset, or judging rows is switched off for it.`, [
        { title: 'Open Settings', command: 'workbench.action.openSettings', arguments: ['safeFinetuning.risk.enabled'] },
      ]);
    }
    const { report, scoring } = dataset.annotations ?? {};
    if (report && !scoring) void vscode.window.showInformationMessage(`${name}: ${report.notice ?? summary(report)}`);
  }
}

export function registerDatasets(services: Services): DatasetFeature {
  const feature = new DatasetFeature(services);
  services.context.subscriptions.push(feature);
  return feature;
}
