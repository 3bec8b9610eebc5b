/** What the trainer host needs of the open workspace: folders, interpreter, trust. */
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { setting } from '../common/configuration';
import { UserError } from '../common/userError';
import type { FindPythonOptions } from './environment';
import { furtherRunsFolders, runsFolderIn } from './runFolder';

/** Where the runs of a workspace folder lie. */
export function runsFolder(folder: vscode.WorkspaceFolder): string {
  return runsFolderIn(folder.uri.fsPath, setting('runs.folder', folder.uri));
}

/** Where this workspace keeps its own runs. */
export const ownRunsFolders = (): string[] => (vscode.workspace.workspaceFolders ?? []).map(runsFolder);

/** With those that are followed besides. */
export const runsFolders = (): string[] => [...new Set([...ownRunsFolders(), ...furtherRunsFolders(setting('runs.moreFolders'))])];

/** The workspace folder that a file belongs to. */
export function folderOf(file: vscode.Uri): vscode.WorkspaceFolder {
  const folder = vscode.workspace.getWorkspaceFolder(file) ?? vscode.workspace.workspaceFolders?.[0];
  if (!folder) {
    throw new UserError(l10n.t('Open the folder that holds the run configuration first: runs are kept inside it.'), [
      { title: l10n.t('Open Folder'), command: 'vscode.openFolder' },
    ]);
  }
  return folder;
}

export function requireTrust(what: string): void {
  if (vscode.workspace.isTrusted) return;
  throw new UserError(
    l10n.t`${what} needs a trusted workspace, since it concerns a process on this machine. Rows are judged without it.`,
    [{ title: l10n.t('Manage Workspace Trust'), command: 'workbench.trust.manage' }],
  );
}

/** Where to look for the Python that runs the trainer. */
export async function interpreterOptions(folder: vscode.WorkspaceFolder): Promise<FindPythonOptions> {
  return {
    given: setting('python.interpreter', folder.uri).replace('${workspaceFolder}', folder.uri.fsPath) || undefined,
    folder: folder.uri.fsPath,
    active: await activeInterpreter(folder.uri),
  };
}

interface PythonEnvironments {
  getEnvironment(scope: vscode.Uri): Promise<{ execInfo?: { run?: { executable?: string } } } | undefined>;
}

interface PythonExtension {
  environments: {
    getActiveEnvironmentPath(scope: vscode.Uri): { path: string };
    resolveEnvironment(environment: { path: string }): Promise<{ executable?: { uri?: vscode.Uri } } | undefined>;
  };
}

/** The interpreter chosen in the Python extensions, where one of them is installed. */
async function activeInterpreter(scope: vscode.Uri): Promise<string | undefined> {
  try {
    const environments = await vscode.extensions
      .getExtension<PythonEnvironments | undefined>('ms-python.vscode-python-envs')
      ?.activate();
    const chosen = (await environments?.getEnvironment(scope))?.execInfo?.run?.executable;
    if (chosen) return chosen;
    const python = await vscode.extensions.getExtension<PythonExtension>('ms-python.python')?.activate();
    const active = python?.environments.getActiveEnvironmentPath(scope);
    return active && (await python?.environments.resolveEnvironment(active))?.executable?.uri?.fsPath;
  } catch {
    return undefined; // another extension's failure must not be ours
  }
}
