/** What a dataset file holds, above its first line, with the next steps. */
import path from 'node:path';
import * as vscode from 'vscode';
import type { CommandArguments, CommandId } from '../common/commands';
import { DATASETS, type Annotations } from './annotations';
import { locationOf } from './navigation';
import { datasetOf, isQuarantine } from './quarantineFiles';
import { counted, formatRisk } from './report';

class SummaryLens implements vscode.CodeLensProvider {
  readonly onDidChangeCodeLenses: vscode.Event<void>;

  constructor(private readonly annotations: Annotations) {
    this.onDidChangeCodeLenses = (listener: () => unknown) => annotations.onDidChange(() => void listener());
  }

  provideCodeLenses(document: vscode.TextDocument): vscode.CodeLens[] {
    const dataset = this.annotations.get(document);
    const { report, scoring } = dataset?.annotations ?? {};
    if (!dataset || !report || !report.isDataset) return [];
    const { scheme } = document.uri;
    const fsPath = dataset.file;
    if (isQuarantine(fsPath)) {
      const [first, ...more] = dataset.rows().map(row => locationOf(fsPath, row));
      const put = lens(`${counted(report.rows, 'row')} in quarantine, not trained on`);
      if (!first) return [put];
      return [put, lens(`Restore ${more.length > 0 ? `all ${more.length + 1}` : 'it'} to ${path.basename(datasetOf(fsPath))}`, 'safeFinetuning.restoreRow', first, ...more)];
    }
    const { flagged, threshold } = report;
    const unfinished = scoring !== undefined && scoring.done < scoring.total;
    const found = `${flagged.length.toLocaleString('en-US')} of ${counted(report.rows, 'row')} at or above risk ${formatRisk(threshold)}`;
    const lenses = report.unscored < report.rows || !report.unscoredReason ? [lens(`${found}${unfinished ? ' so far' : ''}`)] : [];
    if (report.unscoredReason) lenses.push(lens(`${counted(report.unscored, 'row')} without a risk score: try again`, 'safeFinetuning.scoreFile', { fsPath }));
    const opinion = this.annotations.opinionOf(fsPath);
    if (opinion) lenses.push(lens(`Judged by ${opinion.judge}; use the bundled classifier again`, 'safeFinetuning.useClassifier', { fsPath }));
    if (flagged.length === 0) return lenses;
    lenses.push(lens('Next flagged row', 'safeFinetuning.nextFlaggedRow'));
    if (scheme === 'file' && !unfinished) {
      const [first, ...more] = flagged.map(row => locationOf(fsPath, row));
      lenses.push(lens(`Move ${flagged.length > 1 ? `all ${flagged.length}` : 'it'} to quarantine`, 'safeFinetuning.quarantineRow', first, ...more));
    }
    return lenses;
  }
}

function lens<C extends CommandId>(title: string, command?: C, ...args: CommandArguments[C] | []): vscode.CodeLens {
  return new vscode.CodeLens(new vscode.Range(0, 0, 0, 0), { title, command: command ?? '', arguments: args });
}

export function registerSummaryLens(annotations: Annotations): vscode.Disposable {
  return vscode.languages.registerCodeLensProvider(DATASETS, new SummaryLens(annotations));
}
