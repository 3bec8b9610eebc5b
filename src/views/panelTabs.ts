/** Editor tabs of one kind, one for each choice of runs, there again when the window is loaded anew. */
import * as vscode from 'vscode';
import { Disposable } from '../common/disposable';
import type { RunRegistry } from '../trainerHost/runs';

interface Tab {
  reveal(): void;
  dispose(): void;
}

export interface TabKind<State> {
  viewType: string;
  /** The folders of the runs that a tab is about; undefined where its page was closed before it knew. */
  foldersOf(state: State | undefined): readonly string[] | undefined;
  fill(panel: vscode.WebviewPanel, folders: readonly string[]): Tab;
}

export class PanelTabs<State> extends Disposable implements vscode.WebviewPanelSerializer<State | undefined> {
  private readonly open = new Map<string, Tab>();

  constructor(
    private readonly kind: TabKind<State>,
    private readonly registry: RunRegistry,
  ) {
    super();
    this.register(vscode.window.registerWebviewPanelSerializer(kind.viewType, this));
  }

  show(folders: readonly string[], title: string): void {
    const open = this.open.get(keyOf(folders));
    if (open) return open.reveal();
    this.follow(folders, vscode.window.createWebviewPanel(this.kind.viewType, title, vscode.ViewColumn.Active));
  }

  async deserializeWebviewPanel(panel: vscode.WebviewPanel, state: State | undefined): Promise<void> {
    const folders = this.kind.foldersOf(state);
    if (!folders) {
      panel.dispose();
      return;
    }
    await this.registry.scan();
    const open = this.open.get(keyOf(folders));
    if (!open) return this.follow(folders, panel);
    panel.dispose(); // a tab is restored when it is first looked at, and meanwhile the runs have got another one
    open.reveal();
  }

  private follow(folders: readonly string[], panel: vscode.WebviewPanel): void {
    const key = keyOf(folders);
    this.open.set(key, this.kind.fill(panel, folders));
    panel.onDidDispose(() => this.open.delete(key));
  }

  override dispose(): void {
    for (const tab of this.open.values()) tab.dispose();
    super.dispose();
  }
}

const keyOf = (folders: readonly string[]): string => JSON.stringify([...folders].sort());
