/** The report of a run: chosen, written beside the run, and opened. */
import fs from 'node:fs';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { errorText } from '../common/log';
import { inEnglish } from '../common/language';
import { withProgress } from '../common/progress';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import { reportHtml } from '../report/html';
import { reportMarkdown } from '../report/markdown';
import { modelCard } from '../report/modelCard';
import type { ReportInput } from '../report/reportInput';
import { readNotableRows, type NotableRows } from '../trainerHost/notableRows';
import type { Run } from '../trainerHost/run';
import { eventsFile } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { runLabel } from './describe';
import { readSeries, reportInput } from './reportModel';
import { needRun } from './runsTree';

interface Form extends vscode.QuickPickItem {
  write: (input: ReportInput) => string;
  /** In the run's folder; without one it goes to the clipboard. */
  file?: string;
}

const forms: Form[] = [
  { label: l10n.t('$(browser) HTML'), description: 'report.html', detail: l10n.t('One file with charts, to look at, to print or to hand on. It loads nothing.'), write: reportHtml, file: 'report.html' },
  { label: l10n.t('$(markdown) Markdown'), description: 'report.md', detail: l10n.t('The same without charts, for a repository or an issue.'), write: reportMarkdown, file: 'report.md' },
  { label: l10n.t('$(clippy) Block for a model card'), description: l10n.t('to the clipboard'), detail: l10n.t('Metadata and a section on safety, for the README of a model on the Hugging Face hub.'), write: modelCard },
];

export function registerReportCommand({ context, registerCommand }: Services, registry: RunRegistry): void {
  context.subscriptions.push(
    registerCommand('safeFinetuning.exportReport', async item => {
      const run = needRun(item ? registry.byId(item.runId) : registry.current);
      const form = await vscode.window.showQuickPick(forms, { title: l10n.t`Report of ${runLabel(run)}`, placeHolder: l10n.t('In which form?') });
      if (!form) return undefined;
      const file = form.file ? await askWhere(run, form.file) : undefined;
      if (form.file && !file) return undefined;
      const input = await withProgress(l10n.t`Reading the events of ${run.name}`, (signal, report) => readInput(run, signal, text => report({ message: text })));
      if (!input) return undefined;
      const text = inEnglish(() => form.write(input));
      if (!file) {
        await vscode.env.clipboard.writeText(text);
        void vscode.window.showInformationMessage(l10n.t`A block for the model card of ${run.name} is on the clipboard: paste it into README.md of the model.`);
        return text;
      }
      await writeBeside(file.fsPath, text);
      void offerToOpen(run, file);
      return file.fsPath;
    }),
  );
}

function askWhere(run: Run, name: string): Thenable<vscode.Uri | undefined> {
  return vscode.window.showSaveDialog({
    title: l10n.t`Report of ${runLabel(run)}`,
    saveLabel: l10n.t('Export'),
    defaultUri: vscode.Uri.file(path.join(run.folder, name)),
    filters: name.endsWith('.html') ? { HTML: ['html'] } : { Markdown: ['md'] },
  });
}

async function writeBeside(file: string, text: string): Promise<void> {
  const beside = `${file}.${process.pid}.tmp`;
  try {
    await fs.promises.writeFile(beside, text);
    await fs.promises.rename(beside, file);
  } catch (error) {
    await fs.promises.rm(beside, { force: true }).catch(() => undefined); // the error says more
    throw new UserError(l10n.t`The report cannot be written to ${file}: ${errorText(error)}. Export it again to another folder.`);
  }
}

async function offerToOpen(run: Run, file: vscode.Uri): Promise<void> {
  // A browser opens files of its own machine only.
  const local = vscode.env.uiKind === vscode.UIKind.Desktop && !vscode.env.remoteName;
  const preview = file.path.endsWith('.md');
  const open = preview || local ? l10n.t('Open') : l10n.t('Show in Explorer');
  const chosen = await vscode.window.showInformationMessage(l10n.t`The report of ${run.name} is written: ${file.fsPath}`, open);
  if (!chosen) return;
  if (preview) await vscode.commands.executeCommand('markdown.showPreview', file);
  else if (!local || !(await vscode.env.openExternal(file))) await vscode.commands.executeCommand('revealInExplorer', file);
}

async function readInput(run: Run, signal: AbortSignal, report: (text: string) => void): Promise<ReportInput> {
  const hold = run.hold();
  try {
    await run.refresh();
    await run.read(signal, share => report(`${Math.floor(100 * share)} %`));
    signal.throwIfAborted();
    report(l10n.t('which rows to read'));
    const rows = await notableRows(run, signal);
    const series = await readSeries(run.state);
    return inEnglish(() => reportInput(run, rows, series, Date.now()));
  } finally {
    hold.dispose();
  }
}

async function notableRows(run: Run, signal: AbortSignal): Promise<NotableRows> {
  if (!fs.existsSync(eventsFile(run.folder))) return { riskiest: [], hardest: [] };
  return readNotableRows(eventsFile(run.folder), run.state.series, signal);
}
