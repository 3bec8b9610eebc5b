/** What a dataset file holds, above its first line, with the next steps. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { isOne } from '../common/language';
import { hundredths, integer, percent } from '../common/format';
import type { CommandArguments, CommandId } from '../common/commands';
import type { Opinion } from '../risk/opinions';
import { DATASETS, type Annotations } from './annotations';
import { locationOf } from './navigation';
import { datasetOf, isQuarantine } from './quarantineFiles';
import type { FileReport } from './report';

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
      const put = lens(isOne(report.rows) ? l10n.t`${integer(report.rows)} row in quarantine, not trained on` : l10n.t`${integer(report.rows)} rows in quarantine, not trained on`);
      if (!first) return [put];
      const target = path.basename(datasetOf(fsPath));
      return [put, lens(more.length > 0 ? l10n.t`Restore all ${integer(more.length + 1)} to ${target}` : l10n.t`Restore it to ${target}`, 'safeFinetuning.restoreRow', first, ...more)];
    }
    const { flagged } = report;
    const unfinished = scoring !== undefined && scoring.done < scoring.total;
    const lenses = report.unscored < report.rows || !report.unscoredReason ? [lens(foundText(report, unfinished))] : [];
    if (report.unscoredReason) {
      const rows = integer(report.unscored);
      const again = isOne(report.unscored) ? l10n.t`${rows} row without a risk score: try again` : l10n.t`${rows} rows without a risk score: try again`;
      lenses.push(lens(again, 'safeFinetuning.scoreFile', { fsPath }));
    }
    const opinion = this.annotations.opinionOf(fsPath);
    if (opinion) lenses.push(lens(judgedText(opinion), 'safeFinetuning.useClassifier', { fsPath }));
    if (flagged.length === 0) return lenses;
    lenses.push(lens(l10n.t('Next flagged row'), 'safeFinetuning.nextFlaggedRow'));
    if (scheme === 'file' && !unfinished) {
      const [first, ...more] = flagged.map(row => locationOf(fsPath, row));
      lenses.push(lens(flagged.length > 1 ? l10n.t`Move all ${integer(flagged.length)} to quarantine` : l10n.t('Move it to quarantine'), 'safeFinetuning.quarantineRow', first, ...more));
    }
    return lenses;
  }
}

function judgedText({ judge, flagsOrdinary }: Opinion): string {
  return flagsOrdinary
    ? l10n.t`Judged by ${judge}, which flags ${percent(flagsOrdinary)} of ordinary rows; use the bundled classifier again`
    : l10n.t`Judged by ${judge}; use the bundled classifier again`;
}

function foundText({ flagged, rows, threshold }: FileReport, unfinished: boolean): string {
  const [found, of, least] = [integer(flagged.length), integer(rows), hundredths(threshold)];
  if (unfinished) return isOne(rows) ? l10n.t`${found} of ${of} row at or above risk ${least} so far` : l10n.t`${found} of ${of} rows at or above risk ${least} so far`;
  return isOne(rows) ? l10n.t`${found} of ${of} row at or above risk ${least}` : l10n.t`${found} of ${of} rows at or above risk ${least}`;
}

function lens<C extends CommandId>(title: string, command?: C, ...args: CommandArguments[C] | []): vscode.CodeLens {
  return new vscode.CodeLens(new vscode.Range(0, 0, 0, 0), { title, command: command ?? '', arguments: args });
}

export function registerSummaryLens(annotations: Annotations): vscode.Disposable {
  return vscode.languages.registerCodeLensProvider(DATASETS, new SummaryLens(annotations));
}
