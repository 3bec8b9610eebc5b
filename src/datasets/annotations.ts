/**
 * Keeps every open dataset file annotated: diagnostics, the overview ruler, labels of refusals and the
 * language status. Off where `risk.enabled` is false; settings take effect at once. The extension's own
 * run folders are left alone.
 */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { isOne } from '../common/language';
import { integer } from '../common/format';
import { setting } from '../common/configuration';
import { setContext } from '../common/context';
import { Disposable } from '../common/disposable';
import { DatasetDocument, rangeOf, type DatasetDocumentServices, type OnProgress } from './datasetDocument';
import type { Finding, Severity } from './findings';
import type { Opinion } from '../risk/opinions';
import type { RowServices } from './judging';
import { isAbout, onDidChangeBeside } from './besideFile';
import { COLUMN_NAMES_FILE } from './columnNames';
import { EXTENSIONS } from './formats';
import { isQuarantine } from './quarantineFiles';
import { summary, summaryOf } from './report';
import type { RowNote, RowNotes } from './rowNotes';

/** Files that are datasets, and files that may be. */
export const DATASETS: vscode.DocumentSelector = [
  { language: 'jsonl', scheme: 'file' },
  { language: 'jsonl', scheme: 'untitled' },
  { pattern: `**/*{${EXTENSIONS.join()}}`, scheme: 'file' },
];

export const DIAGNOSTIC_SOURCE = 'Safe Fine-Tuning';

const TYPING_PAUSE_MS = 250;

const SEVERITIES: Record<Severity, vscode.DiagnosticSeverity> = {
  error: vscode.DiagnosticSeverity.Error,
  warning: vscode.DiagnosticSeverity.Warning,
  information: vscode.DiagnosticSeverity.Information,
};

export class Annotations extends Disposable {
  private readonly documents = new Map<string, DatasetDocument>();
  private readonly diagnostics = this.register(vscode.languages.createDiagnosticCollection(DIAGNOSTIC_SOURCE));
  private readonly flaggedRow = this.register(
    vscode.window.createTextEditorDecorationType({
      overviewRulerColor: new vscode.ThemeColor('editorOverviewRuler.warningForeground'),
      overviewRulerLane: vscode.OverviewRulerLane.Right,
    }),
  );
  private readonly refusalRow = this.register(
    vscode.window.createTextEditorDecorationType({
      before: {
        contentText: l10n.t('refusal · kept as safety data'),
        color: new vscode.ThemeColor('editorCodeLens.foreground'),
        fontStyle: 'italic',
        margin: '0 1.5ch 0 0',
      },
    }),
  );
  private readonly reviewedRow = this.register(
    vscode.window.createTextEditorDecorationType({
      before: {
        contentText: l10n.t('reviewed · trains as an ordinary row'),
        color: new vscode.ThemeColor('editorCodeLens.foreground'),
        fontStyle: 'italic',
        margin: '0 1.5ch 0 0',
      },
    }),
  );
  private readonly notedRow = this.register(
    vscode.window.createTextEditorDecorationType({
      after: { color: new vscode.ThemeColor('editorCodeLens.foreground'), fontStyle: 'italic', margin: '0 0 0 2ch' },
      overviewRulerColor: new vscode.ThemeColor('editorInfo.foreground'),
      overviewRulerLane: vscode.OverviewRulerLane.Center,
      // At the beginning of the line: its end may be far away.
      borderStyle: 'solid',
      borderWidth: '0 0 0 3px',
      borderColor: new vscode.ThemeColor('editorInfo.foreground'),
    }),
  );
  private readonly status = this.register(vscode.languages.createLanguageStatusItem('safeFinetuning.dataset', DATASETS));
  private readonly changed = this.register(new vscode.EventEmitter<DatasetDocument>());
  /** What is known of a file has changed. */
  readonly onDidChange = this.changed.event;
  private readonly services: DatasetDocumentServices;
  private warnedOf: string | undefined;
  private readonly notes: RowNotes[] = [];
  private readonly notesChanged = this.register(new vscode.EventEmitter<void>());
  readonly onDidChangeNotes = this.notesChanged.event;

  constructor(services: RowServices) {
    super();
    this.services = {
      ...services,
      show: document => this.show(document),
      onUnavailable: reason => this.warnOnce(l10n.t`Rows stay unscored. ${reason}`),
      onProbeUnavailable: reason => this.warnOnce(l10n.t`The bundled classifier judges rows that change. ${reason}`),
    };
    this.status.name = l10n.t('Safe Fine-Tuning: dataset');
    this.status.command = { command: 'safeFinetuning.scoreFile', title: l10n.t('Score Again') };
    const { workspace, window } = vscode;
    this.register(workspace.onDidOpenTextDocument(document => this.follow(document)));
    this.register(workspace.onDidCloseTextDocument(document => this.forget(document)));
    this.register(workspace.onDidChangeTextDocument(change => this.onChange(change)));
    this.register(workspace.onDidSaveTextDocument(document => this.onSave(document)));
    this.register(workspace.onDidChangeConfiguration(change => this.onSettings(change)));
    this.register(window.onDidChangeVisibleTextEditors(editors => editors.forEach(editor => this.decorate(editor))));
    this.register(window.onDidChangeActiveTextEditor(() => this.showStatus()));
    this.register(onDidChangeBeside(file => this.onBeside(vscode.Uri.file(file))));
    this.register(services.opinions.onDidChange(file => this.documents.get(vscode.Uri.file(file).toString())?.refresh()));
    const beside = this.register(workspace.createFileSystemWatcher(`**/{*.reviewed.txt,${COLUMN_NAMES_FILE}}`));
    for (const event of [beside.onDidCreate, beside.onDidChange, beside.onDidDelete]) this.register(event(file => this.onBeside(file)));
    const scan = setTimeout(() => workspace.textDocuments.forEach(document => this.follow(document)));
    this.register({ dispose: () => clearTimeout(scan) });
  }

  /** The open dataset file, if rows of it are to be judged at all. */
  get(document: vscode.TextDocument): DatasetDocument | undefined {
    return this.documents.get(document.uri.toString()) ?? this.follow(document);
  }

  /** What the judge of a configuration has said of a dataset. */
  opinionOf(file: string): Opinion | undefined {
    return this.services.opinions.of(file);
  }

  isOpen(file: string): boolean {
    return this.documents.has(vscode.Uri.file(file).toString());
  }

  /** Shows what others know of the rows. */
  showNotes(notes: RowNotes): void {
    this.notes.push(notes);
    this.register(
      notes.onDidChange(() => {
        vscode.window.visibleTextEditors.forEach(editor => this.decorate(editor));
        this.notesChanged.fire();
      }),
    );
  }

  /** What others know of a row. */
  notesOf(file: string, hash: string): RowNote[] {
    return this.notes.flatMap(notes => notes.of(file)?.get(hash) ?? []);
  }

  /** Scores every row again, whatever the cache knows. */
  async scoreAgain(document: vscode.TextDocument, onProgress: OnProgress): Promise<DatasetDocument | undefined> {
    const dataset = this.get(document);
    this.warnedOf = undefined;
    this.services.scorer.retry();
    await dataset?.scoreAgain(onProgress);
    return dataset;
  }

  override dispose(): void {
    this.documents.forEach(document => document.dispose());
    this.documents.clear();
    super.dispose();
  }

  private follow(document: vscode.TextDocument): DatasetDocument | undefined {
    const key = document.uri.toString();
    if (document.isClosed || this.documents.has(key) || !isJudged(document)) return undefined;
    const dataset = new DatasetDocument(document, this.services);
    this.documents.set(key, dataset);
    dataset.refresh();
    return dataset;
  }

  private forget({ uri }: vscode.TextDocument): void {
    const dataset = this.documents.get(uri.toString());
    if (!dataset) return;
    this.documents.delete(uri.toString());
    dataset.dispose();
    this.diagnostics.delete(uri);
    for (const editor of vscode.window.visibleTextEditors) {
      if (editor.document.uri.toString() !== uri.toString()) continue;
      for (const decoration of [this.flaggedRow, this.refusalRow, this.reviewedRow, this.notedRow]) editor.setDecorations(decoration, []);
    }
    this.showStatus();
  }

  private onChange({ document, contentChanges }: vscode.TextDocumentChangeEvent): void {
    const dataset = this.documents.get(document.uri.toString());
    if (!dataset || contentChanges.length === 0) return;
    if (!document.isDirty) dataset.synchronised();
    dataset.refresh(TYPING_PAUSE_MS);
  }

  private onSave(document: vscode.TextDocument): void {
    const dataset = this.documents.get(document.uri.toString());
    dataset?.synchronised();
    dataset?.refresh();
  }

  /** A file has changed that says something of the datasets beside it. */
  private onBeside({ fsPath }: vscode.Uri): void {
    for (const dataset of this.documents.values()) if (isAbout(fsPath, dataset.file)) dataset.refresh();
  }

  private onSettings(change: vscode.ConfigurationChangeEvent): void {
    if (!change.affectsConfiguration('safeFinetuning.risk') && !change.affectsConfiguration('safeFinetuning.runs')) return;
    if (change.affectsConfiguration('safeFinetuning.risk.classifierFolder')) {
      this.warnedOf = undefined;
      this.documents.forEach(dataset => dataset.forgetScores());
      this.services.scorer.restart();
    }
    for (const document of vscode.workspace.textDocuments) {
      const dataset = this.documents.get(document.uri.toString());
      if (!isJudged(document)) this.forget(document);
      else if (dataset) dataset.refresh();
      else this.follow(document);
    }
  }

  private show(dataset: DatasetDocument): void {
    const { uri } = dataset.document;
    if (this.documents.get(uri.toString()) !== dataset) return;
    this.diagnostics.set(uri, dataset.annotations!.findings.map(asDiagnostic));
    for (const editor of vscode.window.visibleTextEditors) {
      if (editor.document === dataset.document) this.decorate(editor);
    }
    this.changed.fire(dataset);
    this.showStatus();
  }

  private decorate(editor: vscode.TextEditor): void {
    const report = this.documents.get(editor.document.uri.toString())?.annotations?.report;
    if (!report) return;
    const atLine = (line: number): vscode.Range => new vscode.Range(line, 0, line, 0);
    editor.setDecorations(this.flaggedRow, report.flagged.map(({ line }) => atLine(line)));
    editor.setDecorations(this.refusalRow, report.refusals.map(atLine));
    editor.setDecorations(this.reviewedRow, report.reviewed.map(atLine));
    editor.setDecorations(this.notedRow, this.notesIn(editor.document));
  }

  private notesIn(document: vscode.TextDocument): vscode.DecorationOptions[] {
    const dataset = this.documents.get(document.uri.toString());
    if (!dataset || this.notes.every(notes => !notes.of(dataset.file))) return [];
    return dataset.rows().flatMap(({ line, hash }) => {
      const labels = this.notesOf(dataset.file, hash).flatMap(({ label }) => label ?? []);
      if (labels.length === 0 || line >= document.lineCount) return [];
      return [{ range: document.lineAt(line).range, renderOptions: { after: { contentText: labels.join(' · ') } } }];
    });
  }

  private showStatus(): void {
    const document = vscode.window.activeTextEditor?.document;
    const dataset = document && this.documents.get(document.uri.toString());
    const { report, scoring } = dataset?.annotations ?? {};
    const { status } = this;
    status.busy = dataset !== undefined && (!report || scoring !== undefined);
    const { Warning, Information } = vscode.LanguageStatusSeverity;
    status.severity = report?.unscoredReason ? Warning : Information;
    // A file that only might have been a dataset is left alone.
    const isOther = dataset && document.languageId !== 'jsonl' && !report?.isDataset;
    status.selector = isOther ? [] : DATASETS;
    setContext('safeFinetuning.datasetOpen', dataset !== undefined && !isOther);
    if (!dataset) {
      status.text = l10n.t('Rows are not judged');
      status.detail = l10n.t('Safe Fine-Tuning: Risk is off for this file');
    } else if (!report) {
      status.text = l10n.t('Reading rows');
      status.detail = undefined;
    } else if (scoring && scoring.total > 0) {
      status.text = l10n.t`Scoring rows: ${integer(scoring.done)} of ${integer(scoring.total)}`;
      status.detail = summary(summaryOf(report));
    } else if (report.notice !== undefined) {
      status.text = l10n.t('No dataset rows');
      status.detail = undefined;
    } else {
      const inQuarantine = isQuarantine(dataset.file);
      const { rows, refusals, unscoredReason } = report;
      const put = isOne(rows) ? l10n.t`${integer(rows)} row in quarantine` : l10n.t`${integer(rows)} rows in quarantine`;
      const kept = isOne(refusals.length) ? l10n.t`${integer(refusals.length)} refusal kept as safety data` : l10n.t`${integer(refusals.length)} refusals kept as safety data`;
      status.text = inQuarantine ? put : summary(summaryOf(report));
      status.detail = unscoredReason ?? kept;
    }
  }

  private warnOnce(reason: string): void {
    if (this.warnedOf !== undefined) return;
    this.warnedOf = reason;
    const again = l10n.t('Try Again');
    const showLog = l10n.t('Show Log');
    void vscode.window.showWarningMessage(reason, again, showLog).then(chosen => {
      if (chosen === showLog) void vscode.commands.executeCommand('safeFinetuning.showLog');
      if (chosen !== again) return;
      this.warnedOf = undefined;
      this.services.scorer.retry();
      this.documents.forEach(dataset => dataset.refresh());
    });
  }
}

function isJudged(document: vscode.TextDocument): boolean {
  return vscode.languages.match(DATASETS, document) > 0 && setting('risk.enabled', document.uri) && !isOfRun(document.uri);
}

/** Events and commands of runs are JSON Lines too. */
export function isOfRun(uri: vscode.Uri): boolean {
  if (uri.path.split('/').includes('.safe-finetuning')) return true;
  const workspaceFolder = vscode.workspace.getWorkspaceFolder(uri)?.uri.fsPath;
  const runs = setting('runs.folder', uri);
  if (workspaceFolder === undefined || runs === '') return false;
  return uri.fsPath.startsWith(path.resolve(workspaceFolder, runs) + path.sep);
}

function asDiagnostic({ severity, code, message, ...stretch }: Finding): vscode.Diagnostic {
  const diagnostic = new vscode.Diagnostic(rangeOf(stretch), message, SEVERITIES[severity]);
  diagnostic.source = DIAGNOSTIC_SOURCE;
  diagnostic.code = code;
  return diagnostic;
}
