/** Has a dataset judged by the judge that a configuration names: probe, guard model or server. */
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import * as vscode from 'vscode';
import { withProgress } from '../common/progress';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import type { ScoreReport } from '../protocol/messages';
import { check } from '../protocol/validate';
import type { Opinions } from '../risk/opinions';
import { runTrainer, type Trainer } from '../trainerHost/trainerCommand';
import { requireTrust } from '../trainerHost/workspace';
import type { CheckedTrainer } from './checkedTrainer';
import { offerToSave, pickConfiguration, summarise } from './configurationFile';

export function registerJudgeCommand({ context, registerCommand }: Services, opinions: Opinions, checkedTrainer: CheckedTrainer): void {
  context.subscriptions.push(
    registerCommand('safeFinetuning.judgeDataset', async given => {
      requireTrust('Judging rows by a model');
      const configuration = await pickConfiguration(given, 'Judge Dataset');
      if (!configuration || !(await offerToSave(summarise(configuration.fsPath).files))) return;
      const trainer = await checkedTrainer(configuration);
      const report = trainer && (await judged(trainer, configuration));
      if (!report) return;
      const name = path.basename(configuration.fsPath);
      const folder = path.dirname(configuration.fsPath);
      const realFolder = await realpath(folder);
      for (const [index, file] of report.files.entries()) {
        const said = report.rows.flatMap(row => (row.file === index && row.risk !== null && !row.reviewed ? [[row.hash, { risk: row.risk, refusal: row.refusal }] as const] : []));
        // The trainer names files by where links lead to; the editor knows them by where it looked.
        await opinions.set(path.join(folder, path.relative(realFolder, file)), { judge: `${nameOf(report.judge)} of ${name}`, rows: new Map(said) });
      }
      const unscored = report.rows.filter(({ risk }) => risk === null).length;
      const failed = unscored > 0 ? ` It failed on ${unscored} of them, which count as risky in a run.` : '';
      void vscode.window.showInformationMessage(`${report.rows.length.toLocaleString('en-US')} rows were judged by the ${nameOf(report.judge)} of ${name}.${failed}`);
    }),
  );
}

/** Undefined when the user cancelled. What has been judged by then is kept by the trainer. */
function judged(trainer: Trainer, configuration: vscode.Uri): Thenable<ScoreReport | undefined> {
  return withProgress(`Judging rows by ${path.basename(configuration.fsPath)}`, async (signal, report) => {
    const onLine = (line: string): void => report({ message: line.replace(/…$/, '').trim() });
    const { code, stdout, stderr } = await runTrainer(trainer, ['score', configuration.fsPath, '--format', 'json'], path.dirname(configuration.fsPath), signal, onLine);
    if (signal.aborted) return undefined;
    if (code !== 0) throw new UserError(stderr.trim().split(/^error: /m).at(-1) || `The trainer ended with exit code ${code} and said nothing.`);
    const checked = check('ScoreReport', JSON.parse(stdout));
    if (!checked.ok) throw new Error(`The trainer's report is not what was expected: ${checked.reason}`);
    return checked.value;
  });
}

/** `guard-1f2e…` → `guard`. */
const nameOf = (judge: string): string => {
  const [kind] = judge.split('-');
  return kind === 'bundled' ? 'bundled classifier' : kind!;
};
