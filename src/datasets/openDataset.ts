/** Which editor a dataset file is looked at in. */
import { stat } from 'node:fs/promises';
import * as vscode from 'vscode';

/** The dataset viewer goes by two names: of Parquet files it is the usual editor, of text files a choice. */
export const VIEWER = 'safeFinetuning.datasetViewer';
export const PARQUET_VIEWER = 'safeFinetuning.parquetViewer';
/** VS Code gives extensions no larger documents. */
const MOST_BYTES_OF_A_DOCUMENT = 50 * 1024 * 1024;

export const isParquet = (file: string): boolean => /\.parquet$/i.test(file);
export const isJsonLines = (file: string): boolean => /\.(jsonl|ndjson)$/i.test(file);

/** Whether a file has no text document that anything could be shown in. */
export async function needsViewer(file: string): Promise<boolean> {
  return isParquet(file) || (await stat(file).then(({ size }) => size > MOST_BYTES_OF_A_DOCUMENT, () => false));
}

export async function openViewer(file: vscode.Uri): Promise<void> {
  await vscode.commands.executeCommand('vscode.openWith', file, isParquet(file.fsPath) ? PARQUET_VIEWER : VIEWER);
}
