/** What the trainer is asked about the rows of a configuration's dataset: by its judge, and by its model. */
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { isOne } from '../common/language';
import { integer, percent } from '../common/format';
import { withProgress } from '../common/progress';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import type { Messages, ScoreReport } from '../protocol/messages';
import { check } from '../protocol/validate';
import type { RowScore } from '../risk/cache';
import type { Opinions } from '../risk/opinions';
import { failureOf, runTrainer, type Trainer } from '../trainerHost/trainerCommand';
import { requireTrust } from '../trainerHost/workspace';
import type { CheckedTrainer } from './checkedTrainer';
import { byCloseness, formatSimilarity, NONE_KNOWN, type CloseRow, type CloseRows } from './closeRows';
import { offerToSave, pickConfiguration, summarise } from './configurationFile';

/** More ordinary rows than these, flagged, are said: the bundled classifier flags a few of a hundred. */
const MANY_ORDINARY = 0.05;

export function registerJudgeCommands({ context, registerCommand }: Services, opinions: Opinions, closeRows: CloseRows, checkedTrainer: CheckedTrainer): void {
  const configurationFor = async (title: string, given: { fsPath: string } | undefined): Promise<vscode.Uri | undefined> => {
    const configuration = await pickConfiguration(given, title);
    return configuration && (await offerToSave(summarise(configuration.fsPath).files)) ? configuration : undefined;
  };
  context.subscriptions.push(
    registerCommand('safeFinetuning.judgeDataset', async given => {
      requireTrust(l10n.t('Judging rows by a model'));
      const configuration = await configurationFor(l10n.t('Judge Dataset'), given);
      const trainer = configuration && (await checkedTrainer(configuration));
      const report = trainer && (await asked(trainer, configuration, ['score', '--export-probe'], 'ScoreReport', name => l10n.t`Judging rows by ${name}`));
      if (!report) return;
      const name = path.basename(configuration.fsPath);
      const pathOf = await pathsInEditor(configuration);
      const { folder, notExported, trainedOn, ordinaryFlagged } = report.probe ?? {};
      const flagsOrdinary = ordinaryFlagged && ordinaryFlagged >= MANY_ORDINARY ? ordinaryFlagged : undefined;
      const probe = { trainedOn, flagsOrdinary, ...(folder && { probe: { folder, judgeId: report.judge } }) };
      for (const [index, file] of report.files.entries()) {
        const rows = new Map(report.rows.flatMap(row => (row.file === index ? judgedBy(row) : [])));
        await opinions.set(pathOf(file), { judge: l10n.t`${nameOf(report.judge)} of ${name}`, ...probe, rows });
      }
      const unscored = report.rows.filter(({ risk }) => risk === null).length;
      const [judged, rows, judge] = [report.rows.length, integer(report.rows.length), nameOf(report.judge)];
      const said = isOne(judged) ? l10n.t`${rows} row was judged by the ${judge} of ${name}.` : l10n.t`${rows} rows were judged by the ${judge} of ${name}.`;
      const failed = unscored > 0 && l10n.t`It failed on ${unscored} of them, which count as risky in a run.`;
      const later = notExported && l10n.t`Rows that change are the bundled classifier's until you have the dataset judged again. ${notExported}`;
      const ordinary = flagsOrdinary && l10n.t`By its card, it flags ${percent(flagsOrdinary)} of ordinary rows: expect many that are harmless among those that it flags.`;
      void vscode.window.showInformationMessage([said, failed, ordinary, later].filter(Boolean).join(' '));
    }),
    registerCommand('safeFinetuning.findCloseRows', async given => {
      requireTrust(l10n.t('Reading rows by a model'));
      const configuration = await configurationFor(l10n.t('Find Rows That a Model Takes for Harmful'), given);
      const trainer = configuration && (await checkedTrainer(configuration, false));
      const report = trainer && (await asked(trainer, configuration, ['anchoring'], 'AnchoringReport', name => l10n.t`Reading rows as the model does: ${name}`));
      if (!report) return;
      const pathOf = await pathsInEditor(configuration);
      closeRows.set(report, configuration.fsPath, pathOf);
      const found = byCloseness(report);
      const [all, closest] = [integer(found.length), integer(report.closest)];
      if (found.length === 0) throw new UserError(l10n.t('No row has an answer that begins within the tokens that are trained on (`training.maxLength`).'));
      if (report.closest === 0) {
        void vscode.window.showInformationMessage(
          isOne(found.length)
            ? l10n.t`None of ${all} row is closer to answers that comply with harmful requests than to their refusals.`
            : l10n.t`None of ${all} rows is closer to answers that comply with harmful requests than to their refusals.`,
        );
        return;
      }
      const list = l10n.t('List Them');
      const chosen = await vscode.window.showInformationMessage(
        isOne(found.length)
          ? l10n.t`${closest} of ${all} row are the closest to answers that comply with harmful requests, and are marked. They may be harmless: read them.`
          : l10n.t`${closest} of ${all} rows are the closest to answers that comply with harmful requests, and are marked. They may be harmless: read them.`,
        list,
      );
      if (chosen === list) await vscode.commands.executeCommand('safeFinetuning.listCloseRows');
    }),
    registerCommand('safeFinetuning.listCloseRows', () => showOne(closeRows.closest)),
    registerCommand('safeFinetuning.forgetCloseRows', () => closeRows.forget()),
  );
}

async function showOne(rows: readonly CloseRow[]): Promise<void> {
  if (rows.length === 0) throw new UserError(NONE_KNOWN, [{ title: l10n.t('Find Them…'), command: 'safeFinetuning.findCloseRows' }]);
  const items = rows.map(({ row, similarity }) => ({ label: `${path.basename(row.path)}:${row.line}`, description: l10n.t`similarity ${formatSimilarity(similarity)}`, row }));
  const chosen = await vscode.window.showQuickPick(items, { title: l10n.t('Rows That a Model Takes for Harmful'), placeHolder: l10n.t('Which row? The closest come first.') });
  if (chosen) await vscode.commands.executeCommand('safeFinetuning.showRow', chosen.row);
}

/** Undefined when the user cancelled. */
function asked<K extends 'ScoreReport' | 'AnchoringReport'>(trainer: Trainer, configuration: vscode.Uri, command: readonly string[], kind: K, doing: (name: string) => string): Thenable<NonNullable<Messages[K]> | undefined> {
  return withProgress(doing(path.basename(configuration.fsPath)), async (signal, report) => {
    const onLine = (line: string): void => report({ message: line.replace(/…$/, '').trim() });
    const ended = await runTrainer(trainer, [...command, configuration.fsPath, '--format', 'json'], path.dirname(configuration.fsPath), signal, onLine);
    if (ended.code !== 0) throw new UserError(failureOf(ended));
    const checked = check(kind, JSON.parse(ended.stdout));
    if (!checked.ok) throw new Error(l10n.t`The trainer's report is not what was expected: ${checked.reason}`);
    return checked.value;
  });
}

/** The trainer names files by where links lead to; the editor knows them by where it looked. */
async function pathsInEditor(configuration: vscode.Uri): Promise<(file: string) => string> {
  const folder = path.dirname(configuration.fsPath);
  const realFolder = await realpath(folder);
  return file => {
    const within = path.relative(realFolder, file);
    return within.startsWith('..') || path.isAbsolute(within) ? file : path.join(folder, within);
  };
}

/** What the trainer says of a row, as the classifier's scores are kept; nothing where it was not judged. */
function judgedBy({ hash, risk, refusal, message }: ScoreReport['rows'][number]): [string, RowScore][] {
  return risk === null || message === null ? [] : [[hash, { risk: Math.round(risk * 1e6) / 1e6, refusal, messageIndex: message - 1 }]];
}

/** `guard-1f2e…` → `guard`. */
const nameOf = (judge: string): string => {
  const [kind] = judge.split('-');
  return kind === 'bundled' ? l10n.t('bundled classifier') : kind!;
};
