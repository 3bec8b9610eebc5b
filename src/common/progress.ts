/** Long work under a notification with a cancel button. */
import * as vscode from 'vscode';

export type Report = (change: { message?: string; increment?: number }) => void;

/** Does the work; the signal is aborted when the user cancels. */
export function withProgress<T>(title: string, work: (signal: AbortSignal, report: Report) => Promise<T>): Thenable<T> {
  const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  return vscode.window.withProgress(options, (progress, cancellation) => {
    const abort = new AbortController();
    cancellation.onCancellationRequested(() => abort.abort());
    return work(abort.signal, change => progress.report(change));
  });
}
