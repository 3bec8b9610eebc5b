/** An editor tab whose page follows something: it is told what is new while it is looked at, and holds no truth. */
import * as vscode from 'vscode';
import { Disposable } from '../common/disposable';
import { errorText, type Log } from '../common/log';
import { showError } from '../common/registerCommand';
import { loadPage } from './page';
import { Sending } from './sending';
import { WatchedRuns } from './watchedRuns';

export abstract class PanelPage<From, To> extends Disposable {
  private pageIsReady = false;
  protected readonly sending = this.register(
    new Sending(() => {
      if (this.pageIsReady && this.panel.visible) this.send();
    }),
  );
  protected readonly watched = this.register(new WatchedRuns(() => this.panel.visible));

  constructor(
    protected readonly panel: vscode.WebviewPanel,
    extensionUri: vscode.Uri,
    kind: string,
    log: Log,
  ) {
    super();
    this.register(
      panel.webview.onDidReceiveMessage((message: From) => {
        Promise.resolve(this.receive(message)).catch((error: unknown) => {
          log.warn(errorText(error));
          void showError(error);
        });
      }),
    );
    this.register(
      panel.onDidChangeViewState(() => {
        this.watched.update();
        this.sending.soon();
      }),
    );
    panel.onDidDispose(() => this.dispose());
    panel.iconPath = vscode.Uri.joinPath(extensionUri, 'media', 'icon.png');
    loadPage(panel.webview, extensionUri, kind, panel.title);
  }

  reveal(): void {
    this.panel.reveal();
  }

  protected abstract receive(message: From): Promise<void> | void;

  /** Sends what is new, to a page that is ready and looked at. */
  protected abstract send(): void;

  /** The page is there, and knows nothing. */
  protected begin(...first: To[]): void {
    this.pageIsReady = true;
    for (const message of first) this.post(message);
    this.sending.now();
  }

  protected post(message: To): void {
    if (this.pageIsReady && !this.isDisposed && this.panel.visible) void this.panel.webview.postMessage(message);
  }
}
