/**
 * Parquet files as read-only documents of JSON Lines, a row a line, so that everything that is shown of other
 * datasets is shown of them: a text document of a scheme of its own, and an editor for `*.parquet` that opens it.
 */
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import * as vscode from 'vscode';
import { Disposable } from '../common/disposable';
import { UserError } from '../common/userError';
import type { ParquetReply, ParquetRequest } from './parquetWorker';

export const PARQUET_SCHEME = 'safe-finetuning-parquet';
/** What VS Code still colours; it opens no document of more than 50 MB for extensions. */
const MOST_CHARACTERS = 20_000_000;

/** The rows at the beginning of a Parquet file. */
export interface ParquetText {
  text: string;
  rows: number;
  total: number;
}

export const isParquet = (file: string): boolean => /\.parquet$/i.test(file);

/** The path of the dataset that a document shows. */
export function datasetPath({ uri, fileName }: vscode.TextDocument): string {
  return uri.scheme === PARQUET_SCHEME ? uri.with({ scheme: 'file' }).fsPath.replace(/\.jsonl$/, '') : fileName;
}

/** The document that shows a dataset. */
export function datasetUri(file: string): vscode.Uri {
  const uri = vscode.Uri.file(file);
  return isParquet(file) ? uri.with({ scheme: PARQUET_SCHEME, path: `${uri.path}.jsonl` }) : uri;
}

/** Rejects where the file cannot be read as Parquet. */
export function readParquet(workerFile: string, file: string, signal?: AbortSignal): Promise<ParquetText> {
  return new Promise((resolve, reject) => {
    const workerData: ParquetRequest = { file, mostCharacters: MOST_CHARACTERS };
    const worker = new Worker(workerFile, { workerData, name: 'safe-finetuning-parquet' });
    const parts: string[] = [];
    const fail = (reason: string): void => reject(new UserError(`${path.basename(file)} cannot be read as Parquet: ${reason}.`));
    const cancel = (): void => {
      void worker.terminate();
      reject(signal!.reason as Error);
    };
    signal?.addEventListener('abort', cancel);
    worker.on('message', (reply: ParquetReply) => {
      if ('lines' in reply) parts.push(reply.lines);
      else if ('failed' in reply) fail(reply.failed);
      else resolve({ text: parts.join(''), ...reply.end });
    });
    worker.on('error', error => fail(error.message));
    worker.on('exit', code => {
      signal?.removeEventListener('abort', cancel);
      fail(`its reader ended with code ${code}`); // says nothing where it has been read
    });
  });
}

export class ParquetDocuments extends Disposable implements vscode.TextDocumentContentProvider, vscode.CustomReadonlyEditorProvider {
  private readonly changed = this.register(new vscode.EventEmitter<vscode.Uri>());
  readonly onDidChange = this.changed.event;
  private readonly parts = new Map<string, { rows: number; total: number }>();

  constructor(private readonly workerFile: string) {
    super();
    this.register(vscode.workspace.registerTextDocumentContentProvider(PARQUET_SCHEME, this));
    this.register(vscode.window.registerCustomEditorProvider('safeFinetuning.parquet', this));
    const watcher = this.register(vscode.workspace.createFileSystemWatcher('**/*.parquet', true, false, true));
    this.register(watcher.onDidChange(({ fsPath }) => this.changed.fire(datasetUri(fsPath))));
  }

  /** Of a Parquet file that is shown in part, how much of it. */
  partOf(file: string): { rows: number; total: number } | undefined {
    const part = this.parts.get(file);
    return part && part.rows < part.total ? part : undefined;
  }

  async provideTextDocumentContent(uri: vscode.Uri): Promise<string> {
    const file = uri.with({ scheme: 'file' }).fsPath.replace(/\.jsonl$/, '');
    const { text, rows, total } = await readParquet(this.workerFile, file);
    this.parts.set(file, { rows, total });
    return text;
  }

  openCustomDocument(uri: vscode.Uri): vscode.CustomDocument {
    return { uri, dispose: () => undefined };
  }

  /** Gives way to the text document; where that cannot be opened, says why in its place. */
  async resolveCustomEditor({ uri }: vscode.CustomDocument, panel: vscode.WebviewPanel): Promise<void> {
    try {
      const document = await vscode.workspace.openTextDocument(datasetUri(uri.fsPath));
      await vscode.window.showTextDocument(document, { viewColumn: panel.viewColumn ?? vscode.ViewColumn.Active, preview: false });
      panel.dispose();
    } catch (error) {
      panel.webview.html = `<!DOCTYPE html><body><p>${escaped(error instanceof Error ? error.message : String(error))}</p></body>`;
    }
  }
}

const escaped = (text: string): string => text.replace(/[&<>"]/g, character => `&#${character.charCodeAt(0)};`);
