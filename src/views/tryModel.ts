/** "Try Model": an editor for each run that is tried, with the safe reference and the fine-tuned model side by side. */
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { Disposable } from '../common/disposable';
import { errorText, type Log } from '../common/log';
import { showError } from '../common/registerCommand';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import { Chat, type ChatChange } from '../trainerHost/chat';
import { ChatProcess } from '../trainerHost/chatProcess';
import { examplePrompts } from '../trainerHost/examplePrompts';
import type { Run } from '../trainerHost/run';
import { trainedFolder } from '../trainerHost/runFolder';
import type { RunRegistry } from '../trainerHost/runs';
import { requireTrust } from '../trainerHost/workspace';
import { runLabel } from './describe';
import { interpreterFor } from './interpreter';
import { loadPage } from './page';
import { needRun } from './runsTree';
import { storedSecrets } from './secrets';
import { withinLimits, type FromTry, type ToTry } from './tryProtocol';

const sendMilliseconds = 50;

export function registerTryModel({ context, log, registerCommand }: Services, registry: RunRegistry): void {
  const editors = new Map<string, TryEditor>();

  const show = (run: Run): void => {
    const shown = editors.get(run.folder);
    if (shown) return shown.reveal();
    const editor = new TryEditor(run, context, registry, log);
    editors.set(run.folder, editor);
    editor.onDidClose(() => editors.delete(run.folder));
  };

  context.subscriptions.push(
    { dispose: () => editors.forEach(editor => editor.dispose()) },
    registerCommand('safeFinetuning.tryModel', async item => {
      requireTrust(l10n.t('Trying a model'));
      await registry.scan();
      const run = item ? needRun(registry.byId(item.runId)) : await pickTrained(registry);
      if (!run) return;
      if (!trainedFolder(run.folder)) throw nothingTrained(run);
      show(run);
    }),
  );
}

/** The run that is shown, if it has trained something; of several others the user chooses. */
async function pickTrained({ current, runs }: RunRegistry): Promise<Run | undefined> {
  if (current && trainedFolder(current.folder)) return current;
  const trained = runs.filter(({ folder }) => trainedFolder(folder));
  if (trained.length === 0) throw nothingTrained(needRun(current));
  const items = trained.map(run => ({ label: runLabel(run), description: run.id, run }));
  return (await vscode.window.showQuickPick(items, { title: l10n.t('Try Model'), placeHolder: l10n.t('Of which run?') }))?.run;
}

const nothingTrained = (run: Run): UserError =>
  new UserError(l10n.t`Run ${run.name} has saved no model yet, so there is nothing to try. Let it end, stop it so that it saves, or resume it.`);

class TryEditor extends Disposable {
  private readonly chat = this.register(new Chat());
  private readonly panel: vscode.WebviewPanel;
  private readonly trainerFolder: string;
  private starting = new AbortController();
  private pageIsReady = false;
  private readonly pieces: Extract<ToTry, { type: 'piece' }>[] = [];
  private sendTimer: NodeJS.Timeout | undefined;

  readonly onDidClose: vscode.Event<void>;

  constructor(
    private readonly run: Run,
    private readonly context: vscode.ExtensionContext,
    private readonly registry: RunRegistry,
    private readonly log: Log,
  ) {
    super();
    this.trainerFolder = path.join(context.extensionPath, 'trainer');
    // Not restored when the window is loaded anew: the process is gone, and what was said is written nowhere.
    this.panel = this.register(vscode.window.createWebviewPanel('safeFinetuning.try', l10n.t`Try: ${runLabel(run)}`, vscode.ViewColumn.Active));
    this.onDidClose = this.panel.onDidDispose;
    this.panel.onDidDispose(() => this.dispose());
    this.register(
      this.panel.webview.onDidReceiveMessage((message: FromTry) => {
        this.receive(message).catch((error: unknown) => {
          this.log.warn(errorText(error));
          void showError(error);
        });
      }),
    );
    this.register(this.chat.onDidChange(change => this.tell(change)));
    this.register(registry.onDidChange(() => this.sendSharing()));
    this.register({ dispose: () => clearTimeout(this.sendTimer) });
    this.register({ dispose: () => this.starting.abort() });
    loadPage(this.panel.webview, context.extensionUri, 'try', l10n.t('Try Model'));
    void this.start();
  }

  reveal(): void {
    this.panel.reveal();
  }

  private async receive(message: FromTry): Promise<void> {
    switch (message.type) {
      case 'ready':
        this.pageIsReady = true;
        return this.sendAll();
      case 'ask':
        if (message.prompt.trim()) this.chat.ask(message.prompt, withinLimits(message.settings));
        return;
      case 'stop':
        return this.chat.stop();
      case 'clear':
        return this.chat.clear();
      case 'start':
        return this.start();
      case 'cancelLoading':
        this.starting.abort();
        return this.chat.end(null);
      case 'copy': {
        const exchange = this.chat.exchanges.find(({ id }) => id === message.id);
        if (exchange) await vscode.env.clipboard.writeText(exchange.answers[message.side].text);
        return;
      }
      case 'showLog':
        await vscode.commands.executeCommand('safeFinetuning.showLog');
        return;
      default: {
        const unknown: never = message;
        this.log.warn(`The page "Try Model" sent something unknown: ${JSON.stringify(unknown)}`);
      }
    }
  }

  private async start(): Promise<void> {
    this.starting.abort();
    const { signal } = (this.starting = new AbortController());
    this.chat.prepare(l10n.t('Starting the trainer'));
    try {
      const place = vscode.Uri.file(this.run.configPath ?? this.run.folder);
      const trainer = { interpreter: await interpreterFor(place), folder: this.trainerFolder, secrets: await storedSecrets(this.context.secrets, undefined) };
      if (signal.aborted) return;
      this.chat.start(new ChatProcess(trainer, this.run.folder, this.log));
    } catch (error) {
      if (signal.aborted) return;
      this.chat.end(errorText(error));
      void showError(error);
    }
  }

  private tell(change: ChatChange): void {
    switch (change.type) {
      case 'piece':
        this.pieces.push(change);
        this.sendTimer ??= setTimeout(() => this.sendPieces(), sendMilliseconds);
        return;
      case 'cleared':
        this.pieces.length = 0;
        return this.post({ type: 'conversation', exchanges: [] });
      case 'state':
      case 'exchange':
        this.sendPieces();
        return this.post(change);
    }
  }

  private sendPieces(): void {
    clearTimeout(this.sendTimer);
    this.sendTimer = undefined;
    for (const piece of this.pieces.splice(0)) this.post(piece);
  }

  private sendAll(): void {
    this.pieces.length = 0; // they are in the conversation
    const { record } = this.run;
    const about = { run: runLabel(this.run), model: record?.config?.model ?? '', method: record?.config?.method ?? '', examples: examplePrompts(this.trainerFolder) };
    this.post({ type: 'about', about });
    this.post({ type: 'conversation', exchanges: this.chat.exchanges });
    this.post({ type: 'state', state: this.chat.state });
    this.sendSharing();
  }

  private sendSharing(): void {
    this.post({ type: 'sharing', run: this.registry.active?.name ?? null });
  }

  private post(message: ToTry): void {
    // A page that is hidden has ended; it asks for everything when it is back.
    if (this.pageIsReady && this.panel.visible) void this.panel.webview.postMessage(message);
  }
}
