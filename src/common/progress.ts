/** Long work under a notification with a cancel button. */
import * as vscode from 'vscode';

export type Report = (change: { message?: string; increment?: number }) => void;

/**
 * Does the work. When the user cancels, the signal is aborted and undefined returned at once: what the work still says
 * is of no interest, and where it hangs, on a drive say, nobody waits for it.
 */
export function withProgress<T>(title: string, work: (signal: AbortSignal, report: Report) => Promise<T>): Thenable<T | undefined> {
  const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  return vscode.window.withProgress(options, (progress, cancellation) => {
    const abort = new AbortController();
    const cancelled = new Promise<undefined>(resolve => {
      cancellation.onCancellationRequested(() => {
        resolve(undefined);
        abort.abort();
      });
    });
    return Promise.race([cancelled, work(abort.signal, change => progress.report(change))]);
  });
}
