/** Composition root: builds the services, registers the features. No logic here. */
import './common/hostLanguage';
import * as vscode from 'vscode';
import { commandRegistrar } from './common/registerCommand';
import type { Services } from './common/services';
import { endMoves } from './datasets/moving';
import { registerDatasets, type DatasetFeature } from './datasets';
import { registerViews, type Views } from './views';
import { splitByTrainer } from './views/splitByTrainer';

/** What tests use. */
export interface Api extends Views {
  datasets: DatasetFeature;
}

/** Waits until nothing of ours is left beside the user's files. */
export const deactivate = (): Promise<void> => endMoves();

export function activate(context: vscode.ExtensionContext): Api {
  const log = vscode.window.createOutputChannel('Safe Fine-Tuning', { log: true });
  context.subscriptions.push(log);
  const services: Services = { context, log, registerCommand: commandRegistrar(log) };
  const datasets = registerDatasets(services, splitByTrainer(context));
  return { ...registerViews(services, datasets), datasets };
}
