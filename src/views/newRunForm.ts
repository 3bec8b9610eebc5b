/**
 * New Run: a form in an editor tab that becomes a configuration file. It has the trainer say which tokens of the
 * first rows are trained and what the run will cost; what is typed is kept here, the page only shows it.
 */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';
import { isOne } from '../common/language';
import { integer } from '../common/format';
import { Disposable } from '../common/disposable';
import { errorText } from '../common/log';
import { showError } from '../common/registerCommand';
import type { Services } from '../common/services';
import { UserError } from '../common/userError';
import type { DatasetFeature } from '../datasets';
import { rowsText } from '../datasets/report';
import type { PreviewReport } from '../protocol/messages';
import { preview } from '../trainerHost/preview';
import { folderOf, interpreterOptions, requireTrust } from '../trainerHost/workspace';
import { chooseDataset, chooseModel, datasetFiles, isDatasetFile, shownPath } from './newRunChoices';
import { configurationPath, freeName, nameProblem, pathFrom, writeNew } from './newRunFile';
import { baselineCards, configurationOf, configurationText, defaultText, descriptionOf, emptyRun, fieldOf, labelOf, methodCards, readSetting, settingKeys, type FieldName, type Method } from './newRunModel';
import type { FieldView, FormView, FromNewRun, PreviewContent, PreviewView, ToNewRun } from './newRunProtocol';
import { cachedModels, isModelFolder, mayBeOnTheHub } from './modelsHere';
import { loadPage } from './page';
import { storedSecrets } from './secrets';

const PAUSE_MS = 1000;

/** The form, of which there is one at a time. */
export class NewRunForms extends Disposable {
  /** The one that is open. */
  current: NewRunForm | undefined;

  constructor(
    private readonly services: Services,
    private readonly datasets: DatasetFeature,
  ) {
    super();
    this.register(services.registerCommand('safeFinetuning.newRun', dataset => this.open(dataset?.fsPath)));
    this.register({ dispose: () => this.current?.dispose() });
  }

  /** The environment has changed: what was missing may be there. */
  askAgain(): void {
    this.current?.askSoon();
  }

  private async open(given: string | undefined): Promise<void> {
    const folder = workspaceFolder();
    const dataset = given ?? (this.current ? undefined : await likelyDataset());
    if (!this.current) {
      const panel = vscode.window.createWebviewPanel('safeFinetuning.newRun', l10n.t('New Run'), vscode.ViewColumn.Active);
      const form = new NewRunForm(panel, folder, this.services, this.datasets);
      this.current = form;
      panel.onDidDispose(() => {
        form.dispose();
        this.current = undefined;
      });
    }
    this.current.reveal();
    if (dataset) this.current.change('dataset', shownPath(dataset));
  }
}

/** Where paths that are typed start from. */
function workspaceFolder(): string {
  const [folder] = vscode.workspace.workspaceFolders ?? [];
  if (folder) return folder.uri.fsPath;
  throw new UserError(l10n.t('Open a folder first: the configuration of a run, and its runs, are kept inside it.'), [{ title: l10n.t('Open Folder'), command: 'vscode.openFolder' }]);
}

/** The one in the editor, or the only one that there is. */
async function likelyDataset(): Promise<string | undefined> {
  const { input } = vscode.window.tabGroups.activeTabGroup.activeTab ?? {};
  const open = input instanceof vscode.TabInputText || input instanceof vscode.TabInputCustom ? input.uri.fsPath : undefined;
  if (open && isDatasetFile(open)) return open;
  const found = await datasetFiles();
  return found.length === 1 ? found[0] : undefined;
}

interface About {
  problem?: string;
  note?: string;
  nameColumns?: boolean;
}

export class NewRunForm extends Disposable {
  private readonly run = emptyRun();
  /** The name is the user's own and stays when another dataset is chosen. */
  private isNamed = false;
  private aboutModel: About = {};
  private aboutDataset: About = {};
  /** What the trainer has said against fields. */
  private said: { [field in FieldName]?: string } = {};
  /** What the page shows of the trainer's word. */
  preview: PreviewView = { state: 'none', reason: '' };
  private content: PreviewContent | null = null;
  private asking: AbortController | undefined;
  private askTimer: NodeJS.Timeout | undefined;
  private pageIsReady = false;

  constructor(
    private readonly panel: vscode.WebviewPanel,
    private readonly root: string,
    private readonly services: Services,
    private readonly datasets: DatasetFeature,
  ) {
    super();
    this.register(panel);
    this.register(panel.webview.onDidReceiveMessage((message: FromNewRun) => this.receive(message)));
    this.register(vscode.workspace.onDidGrantWorkspaceTrust(() => this.askAbout()));
    this.register({
      dispose: () => {
        clearTimeout(this.askTimer);
        this.asking?.abort();
      },
    });
    loadPage(panel.webview, services.context.extensionUri, 'newrun', l10n.t('New Run'));
    void this.lookAtModel();
    void this.lookAtDataset();
    this.askAbout();
  }

  reveal(): void {
    this.panel.reveal();
  }

  receive(message: FromNewRun): void {
    this.act(message).catch((error: unknown) => {
      this.services.log.warn(errorText(error));
      void showError(error);
    });
  }

  private async act(message: FromNewRun): Promise<void> {
    switch (message.type) {
      case 'ready':
        this.pageIsReady = true;
        this.sendForm();
        return this.show(this.preview);
      case 'change':
        return this.change(message.field, message.text);
      case 'chooseModel': {
        const model = await chooseModel();
        return model === undefined ? undefined : this.change('model', model);
      }
      case 'chooseDataset': {
        const dataset = await chooseDataset(this.datasets.index);
        return dataset === undefined ? undefined : this.change('dataset', dataset);
      }
      case 'nameColumns':
        await vscode.commands.executeCommand('safeFinetuning.nameColumns', { fsPath: this.datasetPath });
        await this.lookAtDataset();
        return this.askSoon();
      case 'setUpEnvironment':
        await vscode.commands.executeCommand('safeFinetuning.setUpEnvironment');
        return;
      case 'manageTrust':
        await vscode.commands.executeCommand('workbench.trust.manage');
        return;
      case 'preview':
        return this.ask(false);
      case 'measure':
        return this.ask(true);
      case 'cancel':
        this.asking?.abort();
        return;
      case 'create':
        await this.create(message.start);
        return;
      default: {
        const unknown: never = message;
        this.services.log.warn(`The page of a new run sent something unknown: ${JSON.stringify(unknown)}`);
      }
    }
  }

  // --- what is typed

  change(field: FieldName, text: string): void {
    const { run } = this;
    delete this.said[field];
    switch (field) {
      case 'name':
        run.name = text.trim();
        this.isNamed = run.name !== '';
        return this.sendForm();
      case 'model':
        run.model = text.trim();
        void this.lookAtModel();
        break;
      case 'dataset':
        run.dataset = text.trim();
        if (!this.isNamed) run.name = run.dataset === '' ? '' : freeName(this.folder, run.dataset);
        void this.lookAtDataset();
        break;
      case 'method':
        run.method = text as Method;
        break;
      default:
        run.settings[field] = text;
    }
    this.sendForm();
    this.askSoon();
  }

  private get datasetPath(): string {
    return path.resolve(this.root, this.run.dataset);
  }

  /** Of the configuration: the dataset's, where that lies in the workspace. */
  private get folder(): string {
    const inWorkspace = this.run.dataset !== '' && vscode.workspace.getWorkspaceFolder(vscode.Uri.file(this.datasetPath)) !== undefined;
    const parent = path.dirname(this.datasetPath);
    return inWorkspace && !/[*?[]/.test(parent) ? parent : this.root;
  }

  private async lookAtModel(): Promise<void> {
    const { model } = this.run;
    const about = await this.modelNow(model);
    if (model !== this.run.model || this.isDisposed) return;
    this.aboutModel = about;
    this.sendForm();
  }

  private async modelNow(model: string): Promise<About> {
    if (model === '') return { problem: l10n.t('Name a model, or choose one.') };
    if (model === 'example') return { note: l10n.t('A small chat model (SmolLM2-135M-Instruct) that refuses harmful requests.') };
    if (await isModelFolder(path.resolve(this.root, model))) return { note: l10n.t('A folder on this machine.') };
    if (!mayBeOnTheHub(model)) return { problem: l10n.t('This is neither a folder with a model (config.json) nor a name on the Hugging Face hub (owner/model).') };
    return { note: (await cachedModels()).includes(model) ? l10n.t('In the cache of the Hugging Face hub.') : l10n.t('Not on this machine: it is downloaded when the run starts, or its configuration is checked.') };
  }

  private async lookAtDataset(): Promise<void> {
    const { dataset } = this.run;
    this.aboutDataset = { note: l10n.t('Reading…') };
    this.sendForm();
    const about = await this.datasetNow(dataset);
    if (dataset !== this.run.dataset || this.isDisposed) return;
    this.aboutDataset = about;
    this.sendForm();
  }

  private async datasetNow(dataset: string): Promise<About> {
    if (dataset === '') return { problem: l10n.t('Name a file, a folder of files or a pattern, or choose a file.') };
    const file = this.datasetPath;
    if (/[*?[]/.test(dataset)) return { note: l10n.t('All files that the pattern names.') };
    const stat = await fs.stat(file).catch(() => undefined);
    if (!stat) return { problem: l10n.t('There is no such file.') };
    if (stat.isDirectory()) return { note: l10n.t('All dataset files of this folder.') };
    try {
      const { rows, malformed, isDataset, form, broken } = await this.datasets.look(file);
      if (broken) return { problem: broken };
      const unread = malformed > 0 && (isOne(malformed) ? l10n.t`${integer(malformed)} row cannot be read` : l10n.t`${integer(malformed)} rows cannot be read`);
      const withUnread = (said: string): string => `${[said, unread].filter(Boolean).join('; ')}.`;
      if (!isDataset || !form) return { problem: withUnread(l10n.t('None of its columns is known to hold a conversation')), nameColumns: true };
      return { note: withUnread(`${rowsText(rows)}: ${form}`) };
    } catch (error) {
      return { problem: errorText(error) };
    }
  }

  // --- what the trainer says

  /** Once nothing more is typed. */
  askSoon(): void {
    clearTimeout(this.askTimer);
    this.askTimer = setTimeout(() => this.askAbout(), PAUSE_MS);
  }

  private askAbout(): void {
    this.sendForm();
    this.receive({ type: 'preview' });
  }

  private async ask(measure: boolean): Promise<void> {
    this.asking?.abort();
    this.asking = undefined;
    if (!vscode.workspace.isTrusted) return this.show({ state: 'untrusted' });
    if (this.run.model === '' || this.run.dataset === '') return this.show({ state: 'none', reason: l10n.t('Choose a model and a dataset: their first rows are shown here, token by token.') });
    const asking = (this.asking = new AbortController());
    const doing = (what: string): void => {
      if (this.asking === asking) this.show({ state: 'working', doing: what, before: this.content });
    };
    doing(measure ? l10n.t('Loading the model') : l10n.t('Asking the trainer'));
    try {
      const report = await this.reportOf(measure, asking.signal, line => doing(line.replace(/…$/, '').trim()));
      if (this.asking !== asking || this.isDisposed) return;
      if (!report) return;
      this.take(report);
    } catch (error) {
      if (this.asking !== asking || this.isDisposed) return;
      if (asking.signal.aborted) return this.show({ state: 'cancelled', before: this.content });
      this.services.log.warn(errorText(error));
      this.show({ state: 'shown', content: { rows: [], statistics: null, cost: null, problems: [errorText(error)] } });
    }
  }

  /** Undefined where there is no environment, which is shown. */
  private async reportOf(measure: boolean, signal: AbortSignal, onMessage: (line: string) => void): Promise<PreviewReport | undefined> {
    const { context } = this.services;
    const folder = (context.storageUri ?? context.globalStorageUri).fsPath;
    await fs.mkdir(folder, { recursive: true });
    const config = path.join(folder, `preview-${randomUUID()}.finetune.json`);
    await fs.writeFile(config, JSON.stringify(configurationOf(this.run, await this.modelFrom(undefined), this.datasetPath)));
    try {
      const found = await preview({
        config,
        measure,
        signal,
        onMessage,
        python: await interpreterOptions(folderOf(vscode.Uri.file(this.datasetPath))),
        trainerFolder: path.join(context.extensionPath, 'trainer'),
        secrets: await storedSecrets(context.secrets, undefined),
      });
      if ('report' in found) return found.report;
      this.show({ state: 'no-environment', reason: found.missing.message });
      return undefined;
    } finally {
      await fs.rm(config, { force: true });
    }
  }

  private take({ checks, rows, statistics, cost }: PreviewReport): void {
    this.said = {};
    const problems: string[] = [];
    for (const check of checks.filter(({ status }) => status === 'error')) {
      const field = fieldOf(check);
      if (field) this.said[field] = check.message;
      else problems.push(check.message);
    }
    this.content = { rows, statistics, cost, problems };
    this.sendForm();
    this.show({ state: 'shown', content: this.content });
  }

  // --- the file

  /** As a file in `folder` names it; without one so that any file can. */
  private async modelFrom(folder: string | undefined): Promise<string> {
    const { model } = this.run;
    const inRoot = path.resolve(this.root, model);
    if (model === 'example' || !(await isModelFolder(inRoot))) return model;
    const relative = folder === undefined ? inRoot : pathFrom(folder, inRoot);
    return folder !== undefined && !vscode.workspace.getWorkspaceFolder(vscode.Uri.file(inRoot)) ? inRoot : relative;
  }

  /** Writes the file, opens it and is done; undefined where something is missing. */
  async create(start: boolean): Promise<vscode.Uri | undefined> {
    if (start) requireTrust(l10n.t('Training'));
    const form = this.formView();
    const wrong = [form.name, form.model, form.dataset, ...form.settings].find(({ problem }) => problem !== null && !Object.values(this.said).includes(problem));
    if (wrong) throw new UserError(l10n.t`Nothing was written. ${wrong.problem!}`);
    const { folder } = this;
    const dataset = vscode.workspace.getWorkspaceFolder(vscode.Uri.file(this.datasetPath)) ? pathFrom(folder, this.datasetPath) : this.datasetPath;
    const file = configurationPath(folder, this.run.name);
    writeNew(file, configurationText(configurationOf(this.run, await this.modelFrom(folder), dataset)));
    const uri = vscode.Uri.file(file);
    this.dispose();
    await vscode.window.showTextDocument(uri);
    if (start) await vscode.commands.executeCommand('safeFinetuning.startRun', uri);
    return uri;
  }

  // --- the page

  formView(): FormView {
    const { run, said, folder } = this;
    const field = (name: FieldName, text: string, about: About): FieldView => ({ text, problem: about.problem ?? said[name] ?? null, note: about.note ?? '' });
    const file = `${run.name}.finetune.json`;
    const name = field('name', run.name, {
      problem: run.dataset === '' ? undefined : nameProblem(folder, run.name),
      note: run.name === '' ? '' : folder === this.root ? l10n.t`Becomes ${file} in the workspace.` : l10n.t`Becomes ${file} in ${shownPath(folder)}.`,
    });
    return {
      trusted: vscode.workspace.isTrusted,
      name,
      model: field('model', run.model, this.aboutModel),
      dataset: { ...field('dataset', run.dataset, this.aboutDataset), nameColumns: this.aboutDataset.nameColumns ?? false },
      method: run.method,
      methods: methodCards,
      baselines: baselineCards,
      settings: settingKeys.map(key => {
        const read = readSetting(key, run.settings[key]);
        const about = 'problem' in read ? { problem: read.problem } : {};
        return { key, label: labelOf(key), description: descriptionOf(key), usual: defaultText(key), ...field(key, run.settings[key], about) };
      }),
      complete: run.model !== '' && run.dataset !== '' && run.name !== '',
    };
  }

  private sendForm(): void {
    this.post({ type: 'form', form: this.formView() });
  }

  private show(view: PreviewView): void {
    this.preview = view;
    this.post({ type: 'preview', preview: view });
  }

  private post(message: ToNewRun): void {
    if (this.pageIsReady && !this.isDisposed) void this.panel.webview.postMessage(message);
  }
}
