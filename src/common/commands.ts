/** Every command of the extension with its arguments; package.json is checked against this list by a test. */
import type { IDisposable } from './disposable';

/** A dataset row as charts, diagnostics and trees name it. */
export interface RowLocation {
  /** Absolute path of the dataset file. */
  path: string;
  /** 1-based line: a hint, the hash decides. */
  line: number;
  /** Content hash, 16 hex digits. */
  hash: string;
}

/** None where a command is about the selection; from a tree, VS Code passes the item and all that are selected. */
export type RowArguments = (RowLocation | RowLocation[] | undefined)[];

export interface CommandArguments {
  'safeFinetuning.setUpEnvironment': [];
  'safeFinetuning.newRun': [dataset?: { fsPath: string }];
  'safeFinetuning.checkConfiguration': [configuration?: { fsPath: string }];
  'safeFinetuning.startRun': [configuration?: { fsPath: string }];
  'safeFinetuning.pauseRun': [];
  'safeFinetuning.resumeRun': [];
  'safeFinetuning.stopRun': [];
  'safeFinetuning.cancelRun': [];
  'safeFinetuning.saveCheckpoint': [];
  'safeFinetuning.evaluateNow': [];
  'safeFinetuning.changeSettings': [];
  'safeFinetuning.resumeFromCheckpoint': [run?: { runId: string }];
  'safeFinetuning.openMonitor': [];
  'safeFinetuning.addRunsFolder': [folder?: { fsPath: string }];
  'safeFinetuning.selectRun': [runId: string];
  'safeFinetuning.openRunPanel': [run?: { runId: string }];
  'safeFinetuning.compareRuns': [run?: { runId: string }, selected?: { runId: string }[]];
  'safeFinetuning.showTrainerLog': [run?: { runId: string }];
  'safeFinetuning.revealRunFolder': [run?: { runId: string }];
  'safeFinetuning.renameRun': [run?: { runId: string }];
  'safeFinetuning.tagRun': [run?: { runId: string }];
  'safeFinetuning.editNotes': [run?: { runId: string }];
  'safeFinetuning.copyRunConfiguration': [run?: { runId: string }];
  'safeFinetuning.startRunAgain': [run?: { runId: string }];
  'safeFinetuning.deleteRun': [run?: { runId: string }, selected?: { runId: string }[]];
  'safeFinetuning.exportReport': [run?: { runId: string }];
  'safeFinetuning.exportModel': [run?: { runId: string }];
  'safeFinetuning.evaluateModel': [run?: { runId: string }];
  'safeFinetuning.tryModel': [run?: { runId: string }];
  'safeFinetuning.trainProbe': [configuration?: { fsPath: string }];
  'safeFinetuning.setSecret': [];
  'safeFinetuning.scoreFile': [dataset?: { fsPath: string }];
  'safeFinetuning.nameColumns': [dataset?: { fsPath: string }];
  'safeFinetuning.scanWorkspace': [];
  'safeFinetuning.openViewer': [dataset?: { fsPath: string }];
  'safeFinetuning.judgeDataset': [configuration?: { fsPath: string }];
  'safeFinetuning.useClassifier': [dataset: { fsPath: string }];
  'safeFinetuning.findCloseRows': [configuration?: { fsPath: string }];
  'safeFinetuning.listCloseRows': [];
  'safeFinetuning.forgetCloseRows': [];
  'safeFinetuning.quarantineFlagged': [dataset: { fsPath: string }];
  'safeFinetuning.quarantineRow': RowArguments;
  'safeFinetuning.restoreRow': RowArguments;
  'safeFinetuning.markReviewed': RowArguments;
  'safeFinetuning.unmarkReviewed': RowArguments;
  'safeFinetuning.showRow': [row: RowLocation];
  'safeFinetuning.showRowInTraining': [row?: RowLocation | { fsPath: string }];
  'safeFinetuning.showClassifierCard': [];
  'safeFinetuning.nextFlaggedRow': [];
  'safeFinetuning.previousFlaggedRow': [];
  'safeFinetuning.showLog': [];
}

export type CommandId = keyof CommandArguments;

/** How a feature registers a command: the composition root gives it, with errors shown and logged. */
export type RegisterCommand = <C extends CommandId>(
  id: C,
  run: (...args: CommandArguments[C]) => unknown,
) => IDisposable;

export const commandIds: Record<CommandId, true> = {
  'safeFinetuning.setUpEnvironment': true,
  'safeFinetuning.newRun': true,
  'safeFinetuning.checkConfiguration': true,
  'safeFinetuning.startRun': true,
  'safeFinetuning.pauseRun': true,
  'safeFinetuning.resumeRun': true,
  'safeFinetuning.stopRun': true,
  'safeFinetuning.cancelRun': true,
  'safeFinetuning.saveCheckpoint': true,
  'safeFinetuning.evaluateNow': true,
  'safeFinetuning.changeSettings': true,
  'safeFinetuning.resumeFromCheckpoint': true,
  'safeFinetuning.openMonitor': true,
  'safeFinetuning.addRunsFolder': true,
  'safeFinetuning.selectRun': true,
  'safeFinetuning.openRunPanel': true,
  'safeFinetuning.compareRuns': true,
  'safeFinetuning.showTrainerLog': true,
  'safeFinetuning.revealRunFolder': true,
  'safeFinetuning.renameRun': true,
  'safeFinetuning.tagRun': true,
  'safeFinetuning.editNotes': true,
  'safeFinetuning.copyRunConfiguration': true,
  'safeFinetuning.startRunAgain': true,
  'safeFinetuning.deleteRun': true,
  'safeFinetuning.exportReport': true,
  'safeFinetuning.exportModel': true,
  'safeFinetuning.evaluateModel': true,
  'safeFinetuning.tryModel': true,
  'safeFinetuning.trainProbe': true,
  'safeFinetuning.setSecret': true,
  'safeFinetuning.scoreFile': true,
  'safeFinetuning.nameColumns': true,
  'safeFinetuning.scanWorkspace': true,
  'safeFinetuning.openViewer': true,
  'safeFinetuning.judgeDataset': true,
  'safeFinetuning.useClassifier': true,
  'safeFinetuning.findCloseRows': true,
  'safeFinetuning.listCloseRows': true,
  'safeFinetuning.forgetCloseRows': true,
  'safeFinetuning.quarantineFlagged': true,
  'safeFinetuning.quarantineRow': true,
  'safeFinetuning.restoreRow': true,
  'safeFinetuning.markReviewed': true,
  'safeFinetuning.unmarkReviewed': true,
  'safeFinetuning.showRow': true,
  'safeFinetuning.showRowInTraining': true,
  'safeFinetuning.showClassifierCard': true,
  'safeFinetuning.nextFlaggedRow': true,
  'safeFinetuning.previousFlaggedRow': true,
  'safeFinetuning.showLog': true,
};
