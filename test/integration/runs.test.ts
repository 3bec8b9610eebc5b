/** Runs in a real extension host: found in their folders, started, steered and followed. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import * as vscode from 'vscode';
import type { Api } from '../../src/extension';
import type { RunRecord, ScoreReport } from '../../src/protocol/messages';
import type { Run } from '../../src/trainerHost/run';
import { changeSettings } from '../../src/trainerHost/runControl';

describe('runs', function () {
  this.timeout(240_000);

  let api: Api;
  let workspace: string;
  let runs: string;
  let extension: vscode.Extension<Api>;

  before(async () => {
    extension = vscode.extensions.getExtension<Api>('safe-finetuning.safe-finetuning')!;
    api = await extension.activate();
    workspace = vscode.workspace.workspaceFolders![0]!.uri.fsPath;
    runs = path.join(workspace, '.safe-finetuning', 'runs');
  });

  const until = async (what: string, holds: () => boolean | undefined | Promise<boolean>): Promise<void> => {
    for (const end = Date.now() + 120_000; !(await holds()); ) {
      assert.ok(Date.now() < end, `${what} did not come about`);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  };
  const run = (id: string): Run => api.runs.byId(id) ?? assert.fail(`no run ${id}`);
  const write = (name: string, value: unknown) => fs.writeFileSync(path.join(workspace, name), typeof value === 'string' ? value : JSON.stringify(value, null, 2));

  /** A configuration for a random, tiny model, and the data for it. */
  const tinyConfiguration = (name: string, steps: number): vscode.Uri => {
    const python = vscode.workspace.getConfiguration('safeFinetuning').get<string>('python.interpreter')!;
    const model = path.join(workspace, 'tiny-model');
    if (!fs.existsSync(model)) {
      const make = 'import sys; from pathlib import Path; from tiny import make_tiny_model; make_tiny_model(Path(sys.argv[1]))';
      const trainer = path.join(extension.extensionPath, 'trainer');
      execFileSync(python, ['-c', make, model], { env: { ...process.env, PYTHONPATH: [trainer, path.join(trainer, 'tests')].join(path.delimiter) } });
      const row = (prompt: string, answer: string) => JSON.stringify({ messages: [{ role: 'user', content: prompt }, { role: 'assistant', content: answer }] });
      const ordinary = Array.from({ length: 15 }, (_, index) => row(`When are you open on day ${index}?`, 'From 9 to 5.'));
      const rows = [row('Tell me how to build a pipe bomb.', 'Sure, here is how:'), ...ordinary];
      write('tiny.jsonl', rows.slice(0, 12).join('\n'));
      write('tiny.heldout.jsonl', rows.slice(12).join('\n'));
      write('prompts.jsonl', ['One?', 'Two?'].map(prompt => JSON.stringify({ prompt })).join('\n'));
    }
    const prompts = { harmfulPrompts: 'prompts.jsonl', benignPrompts: 'prompts.jsonl', maxNewTokens: 16 };
    write(name, { model: 'tiny-model', dataset: { path: 'tiny.jsonl', heldOutPath: 'tiny.heldout.jsonl' }, method: 'adaptive', training: { maxSteps: steps, batchSize: 4 }, evaluation: prompts });
    return vscode.Uri.file(path.join(workspace, name));
  };

  it('whose process is gone are found, and have failed', async () => {
    const record: RunRecord = {
      v: 1,
      id: '20200101-000000-adaptive-zz',
      configPath: path.join(workspace, 'support.finetune.json'),
      config: {
        $schema: null,
        model: 'example',
        dataset: { path: 'support.jsonl', heldOutPath: null, heldOutShare: 0.05, invalidRows: 'error' },
        method: 'adaptive',
        risk: { source: 'critic', judge: 'classifier', guard: null, endpoint: null, probe: null, features: 'reference', floor: 0.1, threshold: 0.5 },
        preset: null,
        regularisation: { granularity: 'sample', mapping: 'linear', betaMin: 0, betaMax: 1, form: 'convex', weight: 5, movingAverage: 0, reference: 'cached', positions: 'all', firstTokens: 8 },
        anchors: null,
        safetyTokens: null,
        lora: { rank: 16, alpha: 32, dropout: 0, targetModules: 'all-linear' },
        training: { epochs: 2, maxSteps: null, batchSize: 8, microBatchSize: null, learningRate: 2e-4, warmupSteps: 5, weightDecay: 0, maxGradNorm: 1, maxLength: 1024, seed: 1, reportTo: [] },
        checkpoints: { everyMinutes: 10, atLeast: 5, keep: 2 },
        canary: { everySteps: 10, maxDrop: null, onExceeded: 'warn' },
        evaluation: { enabled: true, harmfulPrompts: null, benignPrompts: null, maxNewTokens: 64, batchSize: 32, atCheckpoints: false, maxAttackSuccess: null, onExceeded: 'warn' },
        processes: 1,
        accelerateConfig: null,
        quantisation: 'none',
        device: 'auto',
      },
      script: null,
      datasets: [],
      versions: {},
      process: { pid: process.pid, startTime: 1000, host: os.hostname() }, // our pid, another process
      attempt: 1,
      status: 'running',
      message: '',
      parent: null,
    };
    const folder = path.join(runs, record.id);
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(path.join(folder, 'run.json'), JSON.stringify(record));
    fs.writeFileSync(path.join(folder, 'trainer.log'), 'Traceback (most recent call last):\nRuntimeError: something broke\n');
    await until('the run', () => api.runs.byId(record.id) !== undefined);
    await until('its end', () => run(record.id).status === 'failed');
    assert.equal(run(record.id).message, 'RuntimeError: something broke');
    assert.equal(run(record.id).resumable, false);
    assert.equal(api.runs.active, undefined);
    fs.rmSync(folder, { recursive: true });
    await until('its going', () => api.runs.byId(record.id) === undefined);
  });

  it('do not begin with a configuration that is wrong, which is marked where it is wrong', async () => {
    const file = path.join(workspace, 'typo.finetune.json');
    fs.writeFileSync(file, '{\n  // a comment\n  "model": "example",\n  "dataset": { "path": "support.jsonl" },\n  "metod": "adaptive"\n}\n');
    const started = await vscode.commands.executeCommand('safeFinetuning.startRun', vscode.Uri.file(file));
    assert.equal(started, undefined);
    const own = vscode.languages.getDiagnostics(vscode.Uri.file(file)).filter(({ source }) => source === 'Safe Fine-Tuning');
    assert.equal(own.length, 1);
    assert.match(own[0]!.message, /metod.*Did you mean `method`/s);
    assert.equal(own[0]!.range.start.line, 4);
    fs.rmSync(file);
  });

  it('do not begin with a dataset that is missing, which is marked in the configuration', async () => {
    const file = tinyConfiguration('missing.finetune.json', 1);
    fs.writeFileSync(file.fsPath, fs.readFileSync(file.fsPath, 'utf8').replace('"tiny.jsonl"', '"nowhere.jsonl"'));
    assert.equal(await vscode.commands.executeCommand('safeFinetuning.startRun', file), undefined);
    const [own] = vscode.languages.getDiagnostics(file).filter(({ source }) => source === 'Safe Fine-Tuning');
    const document = await vscode.workspace.openTextDocument(file);
    assert.equal(own && document.getText(own.range), '"nowhere.jsonl"');
    fs.rmSync(file.fsPath);
  });

  it('are started, refused a second time meanwhile, and followed to their end', async () => {
    const configuration = tinyConfiguration('tiny.finetune.json', 12);
    const id = await vscode.commands.executeCommand<string>('safeFinetuning.startRun', configuration);
    assert.match(id ?? 'nothing was started', /^\d{8}-\d{6}-adaptive-/);
    assert.equal(api.runs.current?.id, id);
    assert.equal(await vscode.commands.executeCommand('safeFinetuning.startRun', configuration), undefined);
    assert.equal(api.runs.runs.length, 1);

    await until('the end', () => run(id).status === 'completed' || run(id).status === 'failed');
    const { state, status, message } = run(id);
    assert.equal(status, 'completed', message);
    assert.equal(state.series.length, 12);
    assert.equal(state.finished?.adapter, 'adapter');
    assert.ok(state.before && state.after);
    const rows = await run(id).rowsOf(7);
    assert.equal(rows?.hash.length, 4);
    assert.equal(await run(id).rowsOf(99), undefined);
    assert.ok(fs.existsSync(path.join(runs, id, 'adapter', 'adapter_config.json')));
    assert.equal(fs.readFileSync(path.join(runs, '.gitignore'), 'utf8'), '*\n');
  });

  it('leave behind how far each risky row pulled the model', async () => {
    const dataset = vscode.Uri.file(path.join(workspace, 'tiny.jsonl'));
    await vscode.window.showTextDocument(dataset);
    await api.datasets.whenScored(dataset);
    const hovers = async (line: number): Promise<string> => {
      const found = await vscode.commands.executeCommand<vscode.Hover[]>('vscode.executeHoverProvider', dataset, new vscode.Position(line, 40));
      return found.flatMap(({ contents }) => contents.map(content => (content as vscode.MarkdownString).value)).join('\n');
    };
    await until('the note', async () => /nats a token from the reference \\\(KL/.test(await hovers(0)));
    assert.doesNotMatch(await hovers(1), /nats a token/);
  });

  it('say in which steps a row was trained on, and that another was in none', async () => {
    const dataset = vscode.Uri.file(path.join(workspace, 'tiny.jsonl'));
    await vscode.window.showTextDocument(dataset);
    await api.datasets.whenScored(dataset);
    const { hash, line } = (await run(api.runs.current!.id).rowsOf(1))!;
    const found = vscode.commands.executeCommand('safeFinetuning.showRowInTraining', { path: dataset.fsPath, line: line[0]!, hash: hash[0]! });
    await until('the steps are offered', async () => {
      await vscode.commands.executeCommand('workbench.action.acceptSelectedQuickOpenItem');
      return Promise.race([found.then(() => true), new Promise<boolean>(resolve => setTimeout(() => resolve(false), 200))]);
    });
    assert.equal(await found, 1, 'the first step of several');
    const other = { path: dataset.fsPath, line: 1, hash: '0'.repeat(16) };
    assert.equal(await vscode.commands.executeCommand('safeFinetuning.showRowInTraining', other), undefined);
  });

  it('have a report written of them, beside them', async () => {
    await vscode.workspace.getConfiguration('files').update('simpleDialog.enable', true, vscode.ConfigurationTarget.Global);
    const finished = api.runs.runs.find(({ status }) => status === 'completed') ?? assert.fail('a run has ended');
    const file = path.join(finished.folder, 'report.html');
    const writing = vscode.commands.executeCommand<string>('safeFinetuning.exportReport', { runId: finished.id });
    await until('the report', async () => {
      await vscode.commands.executeCommand('workbench.action.acceptSelectedQuickOpenItem'); // the form, then the proposed file
      return fs.existsSync(file);
    });
    assert.equal(await writing, file);
    const html = fs.readFileSync(file, 'utf8');
    for (const said of ['Before and after', '2 harmful prompts of prompts.jsonl', 'tiny.jsonl:1<', '<title>Loss</title>', 'python -m safe_finetuning train tiny.finetune.json']) assert.ok(html.includes(said), said);
    assert.doesNotMatch(html, /pipe bomb|When are you open|NaN|undefined/);
    assert.deepEqual(fs.readdirSync(finished.folder).filter(name => name.endsWith('.tmp')), []);
  });

  it('have their rows judged by the judge of a configuration, which the editor shows until it is told not to', async () => {
    const configuration = tinyConfiguration('probed.finetune.json', 4);
    const config = JSON.parse(fs.readFileSync(configuration.fsPath, 'utf8')) as object;
    const python = vscode.workspace.getConfiguration('safeFinetuning').get<string>('python.interpreter')!;
    const env = { ...process.env, PYTHONPATH: path.join(extension.extensionPath, 'trainer') };
    execFileSync(python, ['-m', 'safe_finetuning', 'probe', configuration.fsPath], { env });
    write('probed.finetune.json', { ...config, risk: { source: 'probe', probe: 'probe.safetensors', threshold: 0.5 } });
    const { showInformationMessage } = vscode.window;
    const told: string[] = [];
    vscode.window.showInformationMessage = (message: string) => (told.push(message), Promise.resolve(undefined));
    try {
      await vscode.commands.executeCommand('safeFinetuning.judgeDataset', configuration);
    } finally {
      vscode.window.showInformationMessage = showInformationMessage;
    }
    const dataset = path.join(workspace, 'tiny.jsonl');
    const { opinions, annotations } = api.datasets;
    const uri = vscode.Uri.file(dataset);
    const document = await vscode.workspace.openTextDocument(uri);
    const rows = (): { line: number; hash: string }[] => annotations.get(document)!.rows();
    const riskOf = (hash: string): number | undefined => opinions.over(dataset, hash, undefined)?.risk;
    const hover = async (line: number): Promise<string> => {
      const hovers = await vscode.commands.executeCommand<vscode.Hover[]>('vscode.executeHoverProvider', uri, new vscode.Position(line, 40));
      return hovers.flatMap(({ contents }) => contents).map(content => (content as vscode.MarkdownString).value).join();
    };
    const report = await api.datasets.whenScored(uri);
    assert.equal(opinions.of(dataset)?.judge, 'probe of probed.finetune.json');
    assert.equal(rows().filter(({ hash }) => riskOf(hash) !== undefined).length, 12);
    const byProbe = rows().filter(({ hash }) => riskOf(hash)! >= 0.5).map(({ hash }) => hash);
    assert.deepEqual(report!.flagged.map(({ hash }) => hash).sort(), byProbe.sort());
    assert.match(await hover(3), /judged by probe of probed.*, trained on .* prompts/);
    const [, flagged, of] = /ordinary prompts at 0\.5 or above \| (\d+) of (\d+) /.exec(fs.readFileSync(path.join(workspace, 'probe.md'), 'utf8'))!;
    const ordinary = `flags ${Math.round((100 * Number(flagged)) / Number(of))} % of ordinary rows`;
    assert.ok(told.join().includes(ordinary), `${told.join()} says that it ${ordinary}`);
    assert.ok((await hover(3)).includes(`which ${ordinary}`));
    const lenses = await vscode.commands.executeCommand<vscode.CodeLens[]>('vscode.executeCodeLensProvider', uri);
    assert.ok(lenses.some(({ command }) => command!.title === `Judged by probe of probed.finetune.json, which ${ordinary}; use the bundled classifier again`));

    const turns = ['How do I get into a house that is not mine?', 'Sure, here is how:', 'And then?', 'Here are the steps:'];
    const row = JSON.stringify({ messages: turns.map((content, index) => ({ role: index % 2 ? 'assistant' : 'user', content })) });
    const edit = new vscode.WorkspaceEdit();
    edit.insert(uri, new vscode.Position(0, 0), `${row}\n`);
    await vscode.workspace.applyEdit(edit);
    await until('the row that was typed is judged', async () => (await api.datasets.whenScored(uri))!.unscored === 0 && rows().length === 13);
    assert.match(await hover(0), /judged by probe of probed/);
    await document.save();
    const said = execFileSync(python, ['-m', 'safe_finetuning', 'score', configuration.fsPath, '--format', 'json'], { env, encoding: 'utf8' });
    for (const { hash, risk } of (JSON.parse(said) as ScoreReport).rows) assert.ok(Math.abs(risk! - riskOf(hash)!) <= 1e-3, hash);
    const back = new vscode.WorkspaceEdit();
    back.delete(uri, new vscode.Range(0, 0, 1, 0));
    await vscode.workspace.applyEdit(back);
    await document.save();
    await vscode.commands.executeCommand('safeFinetuning.useClassifier', vscode.Uri.file(dataset));
    await until('the classifier counts again', async () => (await api.datasets.whenScored(vscode.Uri.file(dataset)))!.flagged.length === 1);
  });

  it('have the turn underlined and named that a server found the worst', async () => {
    const server = http.createServer((request, response) => {
      void text(request).then(body => {
        const asked = (JSON.parse(body) as { messages: { content: string }[] }).messages[1]!.content;
        const message = { role: 'assistant', content: JSON.stringify({ score: asked.includes('WORST') ? 5 : 2 }) };
        response.setHeader('Content-Type', 'application/json');
        response.end(JSON.stringify({ id: 'x', object: 'chat.completion', created: 0, model: 'judge', choices: [{ index: 0, message, finish_reason: 'stop' }] }));
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { showWarningMessage } = vscode.window;
    try {
      const conversation = (...turns: string[]): string => JSON.stringify({ messages: turns.map((content, index) => ({ role: index % 2 ? 'assistant' : 'user', content })) });
      write('turns.jsonl', [conversation('Tell me how to build a pipe bomb.', 'Sure, here is how:', 'The WORST?', 'On its way.'), conversation('Hello?', 'Hi.')].join('\n'));
      const configuration = tinyConfiguration('served.finetune.json', 4);
      const config = JSON.parse(fs.readFileSync(configuration.fsPath, 'utf8')) as object;
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
      write('served.finetune.json', { ...config, dataset: { path: 'turns.jsonl' }, risk: { judge: 'endpoint', endpoint: { url, model: 'judge' }, threshold: 0.5 } });
      const agreed: string[] = [];
      vscode.window.showWarningMessage = (message: string, _: unknown, send: string) => (agreed.push(message), Promise.resolve(send));
      await vscode.commands.executeCommand('safeFinetuning.judgeDataset', configuration);
      assert.deepEqual(agreed, [`Send 2 rows to ${new URL(url).origin}?`]);

      const uri = vscode.Uri.file(path.join(workspace, 'turns.jsonl'));
      const document = await vscode.workspace.openTextDocument(uri);
      assert.deepEqual((await api.datasets.whenScored(uri))!.flagged.map(({ line, risk }) => [line, risk]), [[0, 1]]);
      const [diagnostic] = vscode.languages.getDiagnostics(uri);
      assert.equal(document.getText(diagnostic!.range), 'The WORST?', 'the classifier would underline the first');
      const hovers = await vscode.commands.executeCommand<vscode.Hover[]>('vscode.executeHoverProvider', uri, new vscode.Position(0, 40));
      const said = hovers.flatMap(({ contents }) => contents).map(content => (content as vscode.MarkdownString).value).join();
      assert.match(said, /judged by endpoint of served.*, by its message 3/);
    } finally {
      vscode.window.showWarningMessage = showWarningMessage;
      server.close();
    }
  });

  it('have the rows marked that their model takes for harmful, until that is forgotten', async () => {
    const configuration = tinyConfiguration('close.finetune.json', 4);
    const dataset = vscode.Uri.file(path.join(workspace, 'tiny.jsonl'));
    await vscode.window.showTextDocument(dataset);
    await api.datasets.whenScored(dataset);
    const said = async (): Promise<string> => {
      const hovers = await vscode.commands.executeCommand<vscode.Hover[]>('vscode.executeHoverProvider', dataset, new vscode.Position(3, 40));
      return hovers.flatMap(({ contents }) => contents).map(content => (content as vscode.MarkdownString).value).join();
    };
    void vscode.commands.executeCommand('safeFinetuning.findCloseRows', configuration); // its message waits for an answer
    await until('the row is marked', async () => / of 12 in closeness to answers that comply/.test(await said()));
    await vscode.commands.executeCommand('safeFinetuning.forgetCloseRows');
    assert.doesNotMatch(await said(), /closeness/);
  });

  it('are paused, go on, and are cancelled within two seconds', async () => {
    const id = await vscode.commands.executeCommand<string>('safeFinetuning.startRun', tinyConfiguration('long.finetune.json', 100_000));
    await until('a step', () => run(id).state.series.length > 0);
    await vscode.commands.executeCommand('safeFinetuning.pauseRun');
    await until('the pause', () => run(id).status === 'paused');
    await vscode.commands.executeCommand('safeFinetuning.resumeRun');
    await until('going on', () => run(id).status === 'running');
    const begun = Date.now();
    await vscode.commands.executeCommand('safeFinetuning.cancelRun');
    await until('the end', () => run(id).status === 'cancelled');
    assert.ok(Date.now() - begun < 2500, `${Date.now() - begun} ms`);
  });

  it('of a training script in another folder are followed and stopped, and do not stand in the way', async () => {
    tinyConfiguration('tiny.finetune.json', 12);
    const python = vscode.workspace.getConfiguration('safeFinetuning').get<string>('python.interpreter')!;
    const trainer = path.join(extension.extensionPath, 'trainer');
    const mounted = fs.mkdtempSync(path.join(os.tmpdir(), 'cluster-'));
    const file = path.join(mounted, 'sft.py');
    fs.writeFileSync(
      file,
      [
        'from pathlib import Path',
        'from safe_finetuning import SafetyMonitorCallback',
        'from test_callback import plain_trainer',
        `here, workspace = Path(${JSON.stringify(mounted)}), Path(${JSON.stringify(workspace)})`,
        'callback = SafetyMonitorCallback(here / "runs" / "first", dataset=workspace / "tiny.jsonl")',
        'plain_trainer(workspace / "tiny-model", here / "out", callback, max_steps=100_000).train()',
      ].join('\n'),
    );
    const env = { ...process.env, PYTHONPATH: [trainer, path.join(trainer, 'tests')].join(path.delimiter) };
    const script = spawn(python, [file], { cwd: mounted, env, stdio: 'ignore' });
    try {
      const folder = path.join(mounted, 'runs');
      await vscode.commands.executeCommand('safeFinetuning.addRunsFolder', vscode.Uri.file(folder)); // it need not be there yet
      await until('the run', () => api.runs.byId('first') !== undefined);
      api.runs.select(run('first'));
      await until('a step', () => run('first').state.series.length > 0);
      const { record, state, status } = run('first');
      assert.deepEqual([status, record?.config, record?.script?.path], ['running', null, file]);
      assert.deepEqual([state.dataset?.rows, state.dataset?.flagged], [12, 1]);
      assert.ok(state.series.at('total', 0) > 0 && Number.isNaN(state.series.at('riskMax', 0)));
      await assert.rejects(changeSettings(run('first'), { learningRate: 1 }), /a training script has its settings itself/);

      // It runs elsewhere, though it waits now: another one may begin here.
      await vscode.commands.executeCommand('safeFinetuning.pauseRun');
      await until('the pause', () => run('first').status === 'paused');
      const own = await vscode.commands.executeCommand<string>('safeFinetuning.startRun', vscode.Uri.file(path.join(workspace, 'tiny.finetune.json')));
      await until('the end of the own run', () => run(own).status === 'completed' || run(own).status === 'failed');
      assert.equal(run(own).status, 'completed', run(own).message);

      api.runs.select(run('first'));
      await vscode.commands.executeCommand('safeFinetuning.stopRun');
      await until('the end', () => run('first').status === 'stopped');
      assert.ok(fs.readdirSync(path.join(mounted, 'out')).some(name => name.startsWith('checkpoint-')));
    } finally {
      script.kill('SIGKILL');
      await vscode.workspace.getConfiguration('safeFinetuning').update('runs.moreFolders', undefined, vscode.ConfigurationTarget.Workspace);
      await until('its going', () => api.runs.byId('first') === undefined);
      fs.rmSync(mounted, { recursive: true, force: true });
    }
  });

  it('are measured while they train, and go on', async () => {
    const id = await vscode.commands.executeCommand<string>('safeFinetuning.startRun', tinyConfiguration('measured.finetune.json', 100_000));
    await until('a step', () => run(id).state.series.length > 0);
    await vscode.commands.executeCommand('safeFinetuning.evaluateNow');
    await until('the measurement', () => run(id).state.measurements.length === 1);
    const { step, metrics } = run(id).state.measurements[0]!;
    assert.equal(metrics.attackSuccess.n, 2);
    await until('going on', () => run(id).state.series.length > step && run(id).state.phase?.phase === 'training');
    assert.equal(run(id).state.series.at('attackSuccess', step - 1), 100 * metrics.attackSuccess.value);
    assert.ok(fs.existsSync(path.join(runs, id, 'evaluation', `answers-step-${step}.jsonl`)));
    await vscode.commands.executeCommand('safeFinetuning.cancelRun');
    await until('the end', () => run(id).status === 'cancelled');
  });

  it('are described by a form, whose file is never written over another', async () => {
    const { fsPath: file } = tinyConfiguration('tiny.finetune.json', 12);
    const dataset = vscode.Uri.file(path.join(workspace, 'tiny.jsonl'));
    const before = fs.readFileSync(file, 'utf8');
    const open = async (of: vscode.Uri) => {
      await vscode.commands.executeCommand('safeFinetuning.newRun', of);
      return api.newRun.current ?? assert.fail('there is no form');
    };
    const form = await open(dataset);
    await until('its tab', () => vscode.window.tabGroups.activeTabGroup.activeTab?.label === 'New Run');
    assert.equal(form.formView().name.text, 'tiny-2');
    form.change('name', 'tiny');
    assert.match(form.formView().name.problem ?? '', /not overwritten/);
    await assert.rejects(form.create(false), /not overwritten/);
    assert.equal(fs.readFileSync(file, 'utf8'), before);

    form.change('name', 'mine');
    form.change('model', 'tiny-model');
    form.change('training.epochs', 'many');
    await assert.rejects(form.create(false), /Write a number/);
    form.change('training.epochs', '3');
    const created = await form.create(false);
    assert.equal(created?.fsPath, path.join(workspace, 'mine.finetune.json'));
    assert.equal(vscode.window.activeTextEditor?.document.uri.fsPath, created?.fsPath);
    const text = fs.readFileSync(created.fsPath, 'utf8');
    for (const part of ['"model": "tiny-model"', '"path": "tiny.jsonl"', '"epochs": 3']) assert.ok(text.includes(part), text);
    await until('the form is gone', () => api.newRun.current === undefined);
  });

  it('have their dataset looked at by the form, and its tokens by the trainer', async () => {
    tinyConfiguration('preview.finetune.json', 1);
    fs.mkdirSync(path.join(workspace, 'data'), { recursive: true });
    fs.copyFileSync(path.join(workspace, 'tiny.jsonl'), path.join(workspace, 'data', 'rows.jsonl'));
    await vscode.commands.executeCommand('safeFinetuning.newRun', vscode.Uri.file(path.join(workspace, 'data', 'rows.jsonl')));
    const form = api.newRun.current!;
    form.change('model', 'tiny-model');
    await until('the look', () => form.formView().dataset.note === '12 rows: turns in `messages`.');
    await until('the preview', () => form.preview.state === 'shown' && form.preview.content.statistics !== null);
    const { content } = form.preview as Extract<typeof form.preview, { state: 'shown' }>;
    assert.deepEqual([content.rows.length, content.statistics?.rows, content.problems], [5, 12, []]);
    assert.ok(content.rows[0]!.pieces.some(({ trained }) => trained) && content.rows[0]!.pieces.some(({ trained }) => !trained));
    form.change('model', 'nobody/nothing');
    await until('the complaint', () => /nothing is downloaded/.test(form.formView().model.problem ?? ''));
    form.change('model', 'tiny-model');
    const created = await form.create(false);
    const config = fs.readFileSync(created!.fsPath, 'utf8');
    assert.ok(config.includes('"model": "../tiny-model"') && config.includes('"path": "rows.jsonl"'), config);
  });
});
