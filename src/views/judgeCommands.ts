/** What the trainer is asked about the rows of a configuration's dataset: by its judge, and by its model. */
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import * as vscode from 'vscode';
import { withProgress } from '../common/progress';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import type { Messages } from '../protocol/messages';
import { check } from '../protocol/validate';
import { counted } from '../datasets/report';
import type { Opinions } from '../risk/opinions';
import { failureOf, runTrainer, type Trainer } from '../trainerHost/trainerCommand';
import { requireTrust } from '../trainerHost/workspace';
import type { CheckedTrainer } from './checkedTrainer';
import { byCloseness, formatSimilarity, NONE_KNOWN, type CloseRow, type CloseRows } from './closeRows';
import { offerToSave, pickConfiguration, summarise } from './configurationFile';

export function registerJudgeCommands({ context, registerCommand }: Services, opinions: Opinions, closeRows: CloseRows, checkedTrainer: CheckedTrainer): void {
  const configurationFor = async (title: string, given: { fsPath: string } | undefined): Promise<vscode.Uri | undefined> => {
    const configuration = await pickConfiguration(given, title);
    return configuration && (await offerToSave(summarise(configuration.fsPath).files)) ? configuration : undefined;
  };
  context.subscriptions.push(
    registerCommand('safeFinetuning.judgeDataset', async given => {
      requireTrust('Judging rows by a model');
      const configuration = await configurationFor('Judge Dataset', given);
      const trainer = configuration && (await checkedTrainer(configuration));
      const report = trainer && (await asked(trainer, configuration, ['score', '--export-probe'], 'ScoreReport', 'Judging rows by'));
      if (!report) return;
      const name = path.basename(configuration.fsPath);
      const pathOf = await pathsInEditor(configuration);
      const { folder, notExported, trainedOn } = report.probe ?? {};
      const probe = folder ? { trainedOn, probe: { folder, judgeId: report.judge } } : { trainedOn };
      for (const [index, file] of report.files.entries()) {
        const said = report.rows.flatMap(row => (row.file === index && row.risk !== null && !row.reviewed ? [[row.hash, { risk: toMillionths(row.risk), refusal: row.refusal }] as const] : []));
        await opinions.set(pathOf(file), { judge: `${nameOf(report.judge)} of ${name}`, ...probe, rows: new Map(said) });
      }
      const unscored = report.rows.filter(({ risk }) => risk === null).length;
      const failed = unscored > 0 ? ` It failed on ${unscored} of them, which count as risky in a run.` : '';
      const later = notExported ? ` Rows that change are the bundled classifier's until you have the dataset judged again. ${notExported}` : '';
      void vscode.window.showInformationMessage(`${report.rows.length.toLocaleString('en-US')} rows were judged by the ${nameOf(report.judge)} of ${name}.${failed}${later}`);
    }),
    registerCommand('safeFinetuning.findCloseRows', async given => {
      requireTrust('Reading rows by a model');
      const configuration = await configurationFor('Find Rows That a Model Takes for Harmful', given);
      const trainer = configuration && (await checkedTrainer(configuration, false));
      const report = trainer && (await asked(trainer, configuration, ['anchoring'], 'AnchoringReport', 'Reading rows as the model does:'));
      if (!report) return;
      const pathOf = await pathsInEditor(configuration);
      closeRows.set(report, configuration.fsPath, pathOf);
      const found = byCloseness(report);
      const of = counted(found.length, 'row');
      if (found.length === 0) throw new UserError('No row has an answer that begins within the tokens that are trained on (`training.maxLength`).');
      if (report.closest === 0) {
        void vscode.window.showInformationMessage(`None of ${of} is closer to answers that comply with harmful requests than to their refusals.`);
        return;
      }
      const list = 'List Them';
      const chosen = await vscode.window.showInformationMessage(`${report.closest} of ${of} are the closest to answers that comply with harmful requests, and are marked. They may be harmless: read them.`, list);
      if (chosen === list) await vscode.commands.executeCommand('safeFinetuning.listCloseRows');
    }),
    registerCommand('safeFinetuning.listCloseRows', () => showOne(closeRows.closest)),
    registerCommand('safeFinetuning.forgetCloseRows', () => closeRows.forget()),
  );
}

async function showOne(rows: readonly CloseRow[]): Promise<void> {
  if (rows.length === 0) throw new UserError(NONE_KNOWN, [{ title: 'Find Them…', command: 'safeFinetuning.findCloseRows' }]);
  const items = rows.map(({ row, similarity }) => ({ label: `${path.basename(row.path)}:${row.line}`, description: `similarity ${formatSimilarity(similarity)}`, row }));
  const chosen = await vscode.window.showQuickPick(items, { title: 'Rows That a Model Takes for Harmful', placeHolder: 'Which row? The closest come first.' });
  if (chosen) await vscode.commands.executeCommand('safeFinetuning.showRow', chosen.row);
}

/** Undefined when the user cancelled. */
function asked<K extends 'ScoreReport' | 'AnchoringReport'>(trainer: Trainer, configuration: vscode.Uri, command: readonly string[], kind: K, doing: string): Thenable<NonNullable<Messages[K]> | undefined> {
  return withProgress(`${doing} ${path.basename(configuration.fsPath)}`, async (signal, report) => {
    const onLine = (line: string): void => report({ message: line.replace(/…$/, '').trim() });
    const ended = await runTrainer(trainer, [...command, configuration.fsPath, '--format', 'json'], path.dirname(configuration.fsPath), signal, onLine);
    if (signal.aborted) return undefined;
    if (ended.code !== 0) throw new UserError(failureOf(ended));
    const checked = check(kind, JSON.parse(ended.stdout));
    if (!checked.ok) throw new Error(`The trainer's report is not what was expected: ${checked.reason}`);
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

/** As the classifier's scores are kept. */
const toMillionths = (risk: number): number => Math.round(risk * 1e6) / 1e6;

/** `guard-1f2e…` → `guard`. */
const nameOf = (judge: string): string => {
  const [kind] = judge.split('-');
  return kind === 'bundled' ? 'bundled classifier' : kind!;
};
