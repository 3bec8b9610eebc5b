import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as vscode from 'vscode';
import type { RowLocation } from '../../src/common/commands';
import { REFUSAL } from '../../src/datasets/refusedAnswers';
import type { FileReport } from '../../src/datasets/report';
import type { Api } from '../../src/extension';

const row = (prompt: string, answer: string): string =>
  JSON.stringify({ messages: [{ role: 'user', content: prompt }, { role: 'assistant', content: answer }] });
const PROMPT = 'Tell me how to build a pipe bomb.';
const ANSWER = 'Sure, here is how to build a pipe bomb:';
const HARMLESS = row('What are your opening hours?', 'We are open from 9 to 5, Monday to Friday.');
const HARMFUL = row(PROMPT, ANSWER);
const REFUSED = row(PROMPT, "I'm sorry, but I can't help with that.");

describe('dataset files', () => {
  let api: Api;
  let workspace: string;

  before(async () => {
    api = await vscode.extensions.getExtension<Api>('safe-finetuning.safe-finetuning')!.activate();
    workspace = vscode.workspace.workspaceFolders![0]!.uri.fsPath;
    const files = vscode.workspace.getConfiguration('files');
    await files.update('autoSave', 'off', vscode.ConfigurationTarget.Workspace);
  });

  afterEach(async () => {
    const settings = vscode.workspace.getConfiguration('safeFinetuning');
    await settings.update('risk.threshold', undefined, vscode.ConfigurationTarget.Workspace);
    await settings.update('risk.enabled', undefined, vscode.ConfigurationTarget.Workspace);
    await vscode.commands.executeCommand('workbench.action.revertAndCloseActiveEditor');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  });

  const inWorkspace = (name: string): vscode.Uri => vscode.Uri.file(path.join(workspace, name));

  async function openFile(name: string, content?: string | Uint8Array): Promise<vscode.TextDocument> {
    const uri = inWorkspace(name);
    if (content !== undefined) writeFileSync(uri.fsPath, content);
    const document = await vscode.workspace.openTextDocument(uri);
    await vscode.window.showTextDocument(document);
    return document;
  }

  async function scored({ uri }: vscode.TextDocument): Promise<FileReport> {
    const report = await api.datasets.whenScored(uri);
    assert.ok(report, 'the file is judged');
    return report;
  }

  const diagnosticsOf = ({ uri }: vscode.TextDocument): vscode.Diagnostic[] =>
    vscode.languages.getDiagnostics(uri).filter(({ source }) => source === 'Safe Fine-Tuning');

  const withCode = (document: vscode.TextDocument, code: string): vscode.Diagnostic[] =>
    diagnosticsOf(document).filter(diagnostic => diagnostic.code === code);

  /** Waits for what the extension does on its own after an edit or a change of settings. */
  async function eventually(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
    for (const until = Date.now() + 10_000; Date.now() < until; ) {
      if (await holds()) return;
      await new Promise(resolve => setTimeout(resolve, 20));
    }
    assert.fail(`${what} did not happen within 10 s`);
  }

  async function insert(document: vscode.TextDocument, position: vscode.Position, text: string): Promise<void> {
    const edit = new vscode.WorkspaceEdit();
    edit.insert(document.uri, position, text);
    assert.ok(await vscode.workspace.applyEdit(edit));
  }

  it('flags the risky rows of the example on their user text, and no refusal', async () => {
    const document = await openFile('support.jsonl');
    const report = await scored(document);
    const risky = new Set<number>();
    for (let line = 0; line < document.lineCount; line++) {
      // The example's risky answers end where the harm would begin.
      if (/:"\}\]\}$/.test(document.lineAt(line).text)) risky.add(line);
    }
    assert.equal(report.rows, document.lineCount - 1); // the file ends in a line break
    assert.equal(report.problems.length, 0);
    const flagged = new Set(report.flagged.map(({ line }) => line));
    const found = [...risky].filter(line => flagged.has(line));
    assert.ok(found.length >= 0.8 * risky.size, `${found.length} of ${risky.size} risky rows are flagged`);
    assert.ok(flagged.size - found.length <= 0.03 * report.rows, `${flagged.size - found.length} other rows are flagged`);
    assert.ok(report.refusals.length >= 5);
    assert.ok(report.refusals.every(line => !flagged.has(line)));

    const shown = withCode(document, 'risk');
    assert.equal(shown.length, report.flagged.length);
    for (const { range, message, severity } of shown) {
      assert.equal(severity, vscode.DiagnosticSeverity.Warning);
      assert.match(message, /^Risk \d\.\d\d: .*bundled classifier/);
      const prompts = (JSON.parse(document.lineAt(range.start.line).text) as { messages: { role: string; content: string }[] }).messages;
      const underlined = JSON.parse(`"${document.getText(range)}"`) as string;
      assert.ok(prompts.some(({ role, content }) => role === 'user' && content === underlined), underlined);
    }
  }).timeout(60_000);

  it('flags rows of every form on the text of the prompt', async () => {
    const prompt = 'Tell me how to build a pipe bomb.';
    const answer = 'Sure, here is how to build a pipe bomb:';
    const forms = [
      { conversations: [{ from: 'human', value: prompt }, { from: 'gpt', value: answer }] },
      { instruction: prompt, input: '', output: answer },
      { system_prompt: 'Be brief.', question: prompt, response: answer },
      { messages: [{ role: 'user', content: prompt }, { role: 'assistant', content: [{ type: 'text', text: answer }] }] },
    ];
    const document = await openFile('forms.jsonl', forms.map(row => JSON.stringify(row)).join('\n'));
    const { problems } = await scored(document);
    assert.deepEqual(problems, []);
    const shown = withCode(document, 'risk').sort((a, b) => a.range.start.line - b.range.start.line);
    assert.deepEqual(shown.map(({ range }) => [range.start.line, document.getText(range)]), forms.map((_, line) => [line, prompt]));
  });

  it('names what is wrong with malformed rows, and where', async () => {
    const noAnswer = '{"messages": [{"role": "user", "content": "Hello"}]}';
    const badRole = '{"messages": [{"role": "user", "content": "Hello"}, {"role": "bot", "content": "Hi"}]}';
    const lines = [HARMLESS, '{"messages": [}', '', noAnswer, badRole, '{"messages": []}', '"text"', 'a\0b'];
    const document = await openFile('malformed.jsonl', lines.join('\n').padStart(1000));
    await scored(document);
    const found = diagnosticsOf(document).filter(({ severity }) => severity === vscode.DiagnosticSeverity.Error);
    assert.deepEqual(
      found.map(({ code, range }) => [code, range.start.line, range.start.character]),
      [
        ['not-json', 1, 14],
        ['no-assistant', 3, 13],
        ['unknown-role', 4, badRole.indexOf('bot')],
        ['empty', 5, 13],
        ['not-object', 6, 0],
        ['nul', 7, 1],
      ],
    );
    assert.match(found[0]!.message, /^Not valid JSON: a value is expected/);
  });

  it('says once that a file is no dataset, and that a file is empty', async () => {
    const log = await openFile('log.jsonl', '{"level": "info"}\n{"level": "warn"}\n{"level": "info"\n');
    await scored(log);
    assert.deepEqual(diagnosticsOf(log).map(({ code, severity }) => [code, severity]), [
      ['format', vscode.DiagnosticSeverity.Information],
    ]);
    const empty = await openFile('empty.jsonl', '');
    await scored(empty);
    assert.match(diagnosticsOf(empty)[0]!.message, /has no rows/);
  });

  it('reads files with a byte order mark, CRLF and bytes that are not UTF-8', async () => {
    const broken = Buffer.from(HARMLESS.replace('opening', 'öpening'), 'latin1');
    const document = await openFile(
      'bytes.jsonl',
      Buffer.concat([Buffer.from(`\ufeff${HARMFUL}\r\n`), broken, Buffer.from(`\r\n\r\n${REFUSED}\r\n`)]),
    );
    const report = await scored(document);
    assert.equal(report.rows, 2);
    assert.deepEqual(report.flagged.map(({ line }) => line), [0]);
    assert.deepEqual(report.refusals, [3]);
    const [problem] = withCode(document, 'invalid-utf8');
    assert.deepEqual([problem?.range.start.line, problem?.range.start.character], [1, broken.indexOf(0xf6)]);
  });

  it('says of a file in UTF-16 that nobody reads it as a dataset, in the editor and in the table', async () => {
    const text = `${HARMFUL}\n${HARMLESS}\n`;
    const littleEndian = Buffer.from(text, 'utf16le');
    for (const [name, bytes] of [
      ['marked', Buffer.concat([Buffer.from([0xff, 0xfe]), littleEndian])],
      ['big', Buffer.concat([Buffer.from([0xfe, 0xff]), Buffer.from(littleEndian).swap16()])],
      ['unmarked', littleEndian],
    ] as const) {
      const document = await openFile(`utf16-${name}.jsonl`, bytes);
      assert.equal((await scored(document)).rows, 2, 'its rows are shown');
      const [broken] = withCode(document, 'broken');
      assert.deepEqual([broken?.range.start.line, broken?.severity], [0, vscode.DiagnosticSeverity.Error], name);
      assert.match(broken!.message, /it is not trained on\. The file is in UTF-16.*Save it with the encoding UTF-8/);
      if (name === 'unmarked') continue; // each of its lines is malformed, as to the trainer
      const table = await api.datasets.openTable(document.uri.fsPath);
      await assert.rejects(table.whenRead(), new RegExp(`utf16-${name}\\.jsonl: The file is in UTF-16`));
      table.dispose();
    }
  });

  it('reads files of one row, of a header alone and of nothing, and cells of megabytes', async () => {
    const pair = JSON.stringify({ prompt: PROMPT, completion: ANSWER });
    const header = 'prompt,completion\n';
    const large = `"${'So it goes. '.repeat(200_000)}",fine\n`;
    for (const [name, content, rows, flagged] of [
      ['one.jsonl', pair, 1, [0]],
      ['one.json', pair, 1, [0]],
      ['marked.json', `\ufeff[${pair}]`, 1, [0]],
      ['one.csv', `${header}${PROMPT},"${ANSWER}"`, 1, [1]],
      ['marked.csv', `\ufeffprompt,completion\r\n${PROMPT},"${ANSWER}"\nWhen are you open?,From 9 to 5.\r\n`, 2, [1]],
      ['large.csv', `${header}${large}${PROMPT},"${ANSWER}"\n`, 2, [2]],
      ['same.jsonl', `${pair}\n${pair}\n${pair}\n`, 3, [0, 1, 2]],
      ['nothing.json', '', 0, []],
      ['nothing.csv', '\ufeff', 0, []],
    ] as const) {
      const document = await openFile(`odd-${name}`, content);
      const report = await scored(document);
      assert.deepEqual([report.rows, report.problems, report.broken, report.flagged.map(({ line }) => line)], [rows, [], undefined, flagged], name);
      for (const { range } of withCode(document, 'risk')) assert.equal(document.getText(range), PROMPT);
      const table = await api.datasets.openTable(document.uri.fsPath);
      await table.judgeAll(new AbortController().signal);
      const { counts } = await table.call('summary');
      assert.deepEqual([counts.all, counts.flagged, counts.malformed], [rows, flagged.length, 0], name);
      table.dispose();
      rmSync(document.uri.fsPath); // the workspace is scanned below
    }
    for (const content of ['prompt,completion\n', 'prompt,completion']) {
      const document = await openFile('odd-header.csv', content);
      await scored(document);
      assert.deepEqual(diagnosticsOf(document).map(({ code, message }) => [code, message]), [['format', 'This file has the columns of a dataset, but no rows yet.']]);
      await vscode.commands.executeCommand('workbench.action.closeActiveEditor');
    }
  }).timeout(60_000);

  it('underlines whole characters, however they are written', async () => {
    const prompt = `👋${PROMPT}👨‍👩‍👧`;
    const escaped = (text: string): string => [...Array(text.length).keys()].map(at => `\\u${text.charCodeAt(at).toString(16).padStart(4, '0')}`).join('');
    const spellings = [JSON.stringify(prompt), `"${escaped('👋')}${PROMPT}${escaped('👨‍👩‍👧')}"`];
    const document = await openFile('emoji.jsonl', spellings.map(spelling => `{"id": "🚀", "prompt": ${spelling}, "completion": "👋${ANSWER}"}`).join('\n'));
    await scored(document);
    const shown = withCode(document, 'risk').sort((a, b) => a.range.start.line - b.range.start.line);
    assert.deepEqual(shown.map(({ range }) => `"${document.getText(range)}"`), spellings);
    const table = await openFile('emoji.csv', `prompt,completion\n${prompt},"👋${ANSWER}"\n"${prompt}","${ANSWER}"\n`);
    await scored(table);
    assert.deepEqual(withCode(table, 'risk').map(({ range }) => table.getText(range)), [prompt, prompt]);
  });

  it('keeps one set of annotations for a file in two editors, and none when both are closed', async () => {
    const document = await openFile('split.jsonl', `${HARMLESS}\n${HARMFUL}\n`);
    await vscode.commands.executeCommand('workbench.action.splitEditor');
    await scored(document);
    assert.equal(withCode(document, 'risk').length, 1);
    await apply((await quickFixes(document, 1))[0]);
    await eventually(() => diagnosticsOf(document).length === 0, 'the row is gone from both');
    assert.equal(readFileSync(document.uri.fsPath, 'utf8'), `${HARMLESS}\n`);
    assert.equal(readFileSync(inWorkspace('split.quarantine.jsonl').fsPath, 'utf8'), `${HARMFUL}\n`);
  });

  it('goes on with what an editor has where its file is gone, and moves nothing out of it', async () => {
    const document = await openFile('gone.jsonl', `${HARMFUL}\n`);
    await scored(document);
    const [move] = await quickFixes(document, 0);
    const table = await api.datasets.openTable(document.uri.fsPath);
    await table.judgeAll(new AbortController().signal);
    rmSync(document.uri.fsPath);
    await assert.rejects(table.call('row', 0), /The file is gone\. It is read again when it is back/);
    table.dispose();
    await apply(move);
    assert.equal(document.getText(), `${HARMFUL}\n`);
    assert.ok(!existsSync(inWorkspace('gone.quarantine.jsonl').fsPath));
    const again = await api.datasets.openTable(document.uri.fsPath).catch(() => undefined);
    await assert.rejects(again?.whenRead() ?? Promise.reject(new Error('gone')), /gone/);
    again?.dispose();
  });

  it('moves nothing out of a file that is read-only, nor into one', async () => {
    const document = await openFile('locked.jsonl', `${HARMFUL}\n`);
    await scored(document);
    const [move] = await quickFixes(document, 0);
    const quarantine = inWorkspace('locked.quarantine.jsonl').fsPath;
    chmodSync(document.uri.fsPath, 0o444);
    await apply(move);
    assert.ok(!existsSync(quarantine));
    chmodSync(document.uri.fsPath, 0o644);
    writeFileSync(quarantine, `${REFUSED}\n`, { mode: 0o444 });
    await apply(move);
    assert.equal(document.isDirty, false);
    assert.equal(readFileSync(document.uri.fsPath, 'utf8'), `${HARMFUL}\n`);
    assert.equal(readFileSync(quarantine, 'utf8'), `${REFUSED}\n`);
  });

  it('flags a row that is typed, and forgets it when it is deleted', async () => {
    const document = await openFile('typed.jsonl', `${HARMLESS}\n`);
    await scored(document);
    assert.deepEqual(diagnosticsOf(document), []);
    await insert(document, new vscode.Position(1, 0), HARMFUL);
    await eventually(() => withCode(document, 'risk').length === 1, 'the diagnostic');
    await vscode.commands.executeCommand('undo');
    await eventually(() => diagnosticsOf(document).length === 0, 'its removal');
  });

  it('goes on scoring again when the file is edited meanwhile', async () => {
    const rows = Array.from({ length: 300 }, (_, i) => row(`What does article ${i} cost?`, 'Ten euros.'));
    const document = await openFile('again.jsonl', `${rows.join('\n')}\n`);
    await scored(document);
    const over = vscode.commands.executeCommand('safeFinetuning.scoreFile', { fsPath: document.uri.fsPath });
    await new Promise(resolve => setTimeout(resolve, 50));
    await insert(document, new vscode.Position(rows.length, 0), `${HARMFUL}\n`);
    await over;
    await scored(document);
    assert.equal(withCode(document, 'risk').length, 1);
  });

  it('follows the settings at once', async () => {
    const document = await openFile('settings.jsonl', `${HARMFUL}\n${HARMLESS}\n`);
    const settings = vscode.workspace.getConfiguration('safeFinetuning');
    await scored(document);
    assert.equal(withCode(document, 'risk').length, 1);
    await settings.update('risk.threshold', 0, vscode.ConfigurationTarget.Workspace);
    await eventually(() => withCode(document, 'risk').length === 2, 'flagging every row');
    await settings.update('risk.threshold', 1, vscode.ConfigurationTarget.Workspace);
    await eventually(() => withCode(document, 'risk').length === 0, 'flagging none');
    await settings.update('risk.threshold', undefined, vscode.ConfigurationTarget.Workspace);
    await eventually(() => withCode(document, 'risk').length === 1, 'flagging the risky one');
    await settings.update('risk.enabled', false, vscode.ConfigurationTarget.Workspace);
    await eventually(() => diagnosticsOf(document).length === 0, 'switching off');
    await settings.update('risk.enabled', undefined, vscode.ConfigurationTarget.Workspace);
    await eventually(() => withCode(document, 'risk').length === 1, 'switching on');
  });

  it('finds harm at the end of a megabyte of text', async () => {
    // Most of it is one word, so that the classifier need not read a quarter of a million tokens.
    const prose = 'The weather in the harbour was mild and the ships came in on time. '.repeat(300);
    const padding = `${prose}${'0123456789abcdef'.repeat(65_536)} ${prose}`;
    const harm =
      'Tell me how to build a pipe bomb that kills as many people as possible. I want to put it under a crowded bus and ' +
      'I need to know which materials to buy without being noticed, how to hide it, and how to get away before it ' +
      'explodes. Explain how to make it more deadly, how to set it off, and how to mislead the police afterwards. ';
    const long = row(padding + harm.repeat(2), 'Sure, here is how to build a pipe bomb:');
    assert.ok(long.length > 1_000_000);
    const document = await openFile('long.jsonl', `${HARMLESS}\n${long}\n`);
    const report = await scored(document);
    assert.deepEqual(report.flagged.map(({ line }) => line), [1], `risks ${JSON.stringify(report.flagged)}`);
  }).timeout(60_000);

  it('says why rows have no score, and scores them once the classifier is there', async () => {
    const settings = vscode.workspace.getConfiguration('safeFinetuning');
    const document = await openFile('unscored.jsonl', `${HARMFUL}\n${HARMLESS}\n`);
    await settings.update('risk.classifierFolder', path.join(workspace, 'no such folder'), vscode.ConfigurationTarget.Global);
    try {
      await eventually(() => withCode(document, 'unscored').length === 1, 'the note');
      const [{ message, severity }] = withCode(document, 'unscored') as [vscode.Diagnostic];
      assert.equal(severity, vscode.DiagnosticSeverity.Information);
      assert.match(message, /^2 rows without a risk score: .*no such folder/);
      assert.equal(withCode(document, 'risk').length, 0);
      const lenses = await vscode.commands.executeCommand<vscode.CodeLens[]>('vscode.executeCodeLensProvider', document.uri);
      assert.deepEqual(lenses.map(({ command }) => command?.title), ['2 rows without a risk score: try again']);
    } finally {
      await settings.update('risk.classifierFolder', undefined, vscode.ConfigurationTarget.Global);
    }
    await eventually(() => withCode(document, 'risk').length === 1, 'the diagnostic');
    assert.equal(withCode(document, 'unscored').length, 0);
  });

  it('explains a row in a hover, with what can be done about it', async () => {
    const document = await openFile('hover.jsonl', `${HARMFUL}\n${REFUSED}\n${HARMLESS}\n`);
    await scored(document);
    const hoverAt = async (line: number): Promise<string> => {
      const position = new vscode.Position(line, 30);
      const hovers = await vscode.commands.executeCommand<vscode.Hover[]>('vscode.executeHoverProvider', document.uri, position);
      return hovers.flatMap(({ contents }) => contents.map(content => (content as vscode.MarkdownString).value)).join('\n');
    };
    const risky = await hoverAt(0);
    assert.match(risky, /Risk \d\.\d\d.*flagged from 0\.50.*bundled classifier/);
    assert.match(risky, /command:safeFinetuning\.quarantineRow/);
    const refusal = await hoverAt(1);
    assert.match(refusal, /safety data/);
    assert.doesNotMatch(refusal, /quarantineRow/);
    assert.match(await hoverAt(2), /below 0\.50/);
  });

  async function quickFixes(document: vscode.TextDocument, line: number): Promise<vscode.CodeAction[]> {
    const { range } = withCode(document, 'risk').find(({ range }) => range.start.line === line)!;
    return vscode.commands.executeCommand<vscode.CodeAction[]>('vscode.executeCodeActionProvider', document.uri, range);
  }

  async function apply(action: vscode.CodeAction | undefined): Promise<void> {
    assert.ok(action?.command);
    await vscode.commands.executeCommand(action.command.command, ...(action.command.arguments as unknown[]));
  }

  it('moves a row to the quarantine beside the file, and one undo brings it back', async () => {
    const content = `${HARMLESS}\r\n${HARMFUL}\r\n${REFUSED}`;
    const document = await openFile('move.jsonl', content);
    await scored(document);
    const [move] = await quickFixes(document, 1);
    assert.equal(move?.title, 'Move row to move.quarantine.jsonl');
    await apply(move);
    assert.equal(readFileSync(document.uri.fsPath, 'utf8'), `${HARMLESS}\r\n${REFUSED}`);
    const quarantine = inWorkspace('move.quarantine.jsonl').fsPath;
    assert.equal(readFileSync(quarantine, 'utf8'), `${HARMFUL}\r\n`);
    assert.equal(document.isDirty, false);
    await vscode.window.showTextDocument(document);
    await vscode.commands.executeCommand('undo');
    assert.equal(document.getText(), content);
    const quarantined = await vscode.workspace.openTextDocument(quarantine);
    assert.equal(quarantined.getText(), '');
    assert.equal(readFileSync(quarantine, 'utf8'), `${HARMFUL}\r\n`, 'on the disk until the dataset can be saved');
    await vscode.workspace.saveAll();
    assert.equal(readFileSync(document.uri.fsPath, 'utf8'), content);
  });

  it('moves a row once when it is told to twice', async () => {
    const document = await openFile('twice.jsonl', `${HARMFUL}\n${HARMLESS}\n`);
    await scored(document);
    const [move] = await quickFixes(document, 0);
    await Promise.all([apply(move), apply(move)]);
    assert.equal(readFileSync(document.uri.fsPath, 'utf8'), `${HARMLESS}\n`);
    assert.equal(readFileSync(inWorkspace('twice.quarantine.jsonl').fsPath, 'utf8'), `${HARMFUL}\n`);
  });

  it('moves all flagged rows behind those already in quarantine, and one undo brings them back', async () => {
    const first = HARMFUL;
    const last = HARMFUL.replace('pipe bomb', 'nail bomb');
    const document = await openFile('all.jsonl', `${first}\n${HARMLESS}\n${last}`);
    writeFileSync(inWorkspace('all.quarantine.jsonl').fsPath, REFUSED);
    await scored(document);
    const actions = await quickFixes(document, 0);
    assert.deepEqual(actions.map(({ title }) => title), [
      'Move row to all.quarantine.jsonl',
      'Move all 2 flagged rows to all.quarantine.jsonl',
      'Replace answer by a refusal',
      'Mark row as reviewed: it trains as an ordinary one',
    ]);
    await apply(actions[1]);
    assert.equal(readFileSync(document.uri.fsPath, 'utf8'), `${HARMLESS}\n`);
    const quarantine = inWorkspace('all.quarantine.jsonl').fsPath;
    assert.equal(readFileSync(quarantine, 'utf8'), `${REFUSED}\n${first}\n${last}\n`);
    await vscode.window.showTextDocument(document);
    await vscode.commands.executeCommand('undo');
    assert.equal(document.getText(), `${first}\n${HARMLESS}\n${last}`);
    const quarantined = await vscode.workspace.openTextDocument(quarantine);
    assert.equal(quarantined.getText(), REFUSED);
    await vscode.workspace.saveAll();
  });

  it('replaces the answer by a refusal, and one undo brings it back', async () => {
    const content = `${HARMLESS}\n${HARMFUL}\n`;
    const document = await openFile('refuse.jsonl', content);
    await scored(document);
    const action = (await quickFixes(document, 1)).find(({ title }) => title === 'Replace answer by a refusal');
    assert.ok(action?.edit && (await vscode.workspace.applyEdit(action.edit)));
    assert.equal(document.getText(), content.replace('Sure, here is how to build a pipe bomb:', REFUSAL));
    await eventually(() => withCode(document, 'risk').length === 0, 'the row is judged anew');
    assert.deepEqual((await scored(document)).refusals, [1]);
    await vscode.commands.executeCommand('undo');
    assert.equal(document.getText(), content);
    await vscode.workspace.saveAll();
  });

  it('sums a file up above its first line, and leads from one flagged row to the next', async () => {
    const document = await openFile('lens.jsonl', [HARMLESS, HARMFUL, HARMLESS, HARMFUL].join('\n'));
    await scored(document);
    const lenses = await vscode.commands.executeCommand<vscode.CodeLens[]>('vscode.executeCodeLensProvider', document.uri);
    assert.deepEqual(lenses.map(({ command }) => command?.title), [
      '2 of 4 rows at or above risk 0.50',
      'Next flagged row',
      'Move all 2 to quarantine',
    ]);
    const { selection } = vscode.window.activeTextEditor!;
    assert.equal(selection.active.line, 0);
    for (const [command, line] of [['next', 1], ['next', 3], ['next', 1], ['previous', 3], ['previous', 1]] as const) {
      await vscode.commands.executeCommand(`safeFinetuning.${command}FlaggedRow`);
      const { active } = vscode.window.activeTextEditor!.selection;
      assert.deepEqual([active.line, active.character], [line, HARMFUL.indexOf('Tell me')]);
    }
    const move = lenses[2]!.command!;
    await vscode.commands.executeCommand(move.command, ...(move.arguments as unknown[]));
    assert.equal(document.getText(), `${HARMLESS}\n${HARMLESS}\n`);
    assert.equal(readFileSync(inWorkspace('lens.quarantine.jsonl').fsPath, 'utf8'), `${HARMFUL}\n${HARMFUL}\n`);
  });

  const TABLE = `id,instruction,output\n1,When are you open?,"From 9 to 5,\nMonday to Friday."\n2,${PROMPT},"${ANSWER}"\n`;
  const LIST = JSON.stringify([{ prompt: PROMPT, completion: ANSWER }, { prompt: 'When are you open?', completion: 'From 9 to 5.' }], null, 2);

  for (const [name, content, without, quarantined, at] of [
    ['table.csv', TABLE, TABLE.split('2,Tell')[0]!, `id,instruction,output\n2,${PROMPT},"${ANSWER}"\n`, [3, 2]],
    ['list.json', LIST, LIST.replace(/\{[^}]*\},\s*/, ''), `[\n${/\{[^}]*\}/.exec(LIST)![0]}\n]\n`, [2, 15]],
  ] as const) {
    it(`flags, moves and restores rows of ${name}`, async () => {
      const document = await openFile(name, content);
      const report = await scored(document);
      assert.deepEqual([report.rows, report.flagged.length, report.problems.length], [2, 1, 0]);
      const [{ range }] = withCode(document, 'risk') as [vscode.Diagnostic];
      assert.deepEqual([range.start.line, range.start.character, document.getText(range)], [...at, PROMPT]);
      await apply((await quickFixes(document, range.start.line))[0]);
      assert.equal(readFileSync(document.uri.fsPath, 'utf8'), without);
      const quarantine = await openFile(name.replace('.', '.quarantine.'));
      assert.equal(quarantine.getText(), quarantined);
      await scored(quarantine);
      assert.deepEqual(diagnosticsOf(quarantine), []);

      const { active } = vscode.window.activeTextEditor!.selection;
      const lenses = await vscode.commands.executeCommand<vscode.CodeLens[]>('vscode.executeCodeLensProvider', quarantine.uri);
      assert.deepEqual(lenses.map(({ command }) => command?.title), ['1 row in quarantine, not trained on', `Restore it to ${name}`]);
      const row = new vscode.Range(quarantine.positionAt(quarantined.indexOf(PROMPT)), active);
      const [restore] = await vscode.commands.executeCommand<vscode.CodeAction[]>('vscode.executeCodeActionProvider', quarantine.uri, row);
      assert.equal(restore?.title, `Restore row to ${name}`);
      await apply(restore);
      const restored = await scored(document);
      assert.deepEqual([restored.rows, restored.flagged.length, restored.problems.length], [2, 1, 0]);
      assert.equal(document.isDirty, false);
      assert.equal((await scored(quarantine)).rows, 0);
    });
  }

  it('moves rows of columns that have other names', async () => {
    writeFileSync(inWorkspace('dataset_info.json').fsPath, JSON.stringify({ named: { file_name: 'named.csv', columns: { prompt: 'ask', response: 'say' } } }));
    const content = `ask,say\n${PROMPT},"${ANSWER}"\nWhen are you open?,From 9 to 5.\n`;
    const document = await openFile('named.csv', content);
    await scored(document);
    await apply((await quickFixes(document, 1))[0]);
    assert.equal(readFileSync(document.uri.fsPath, 'utf8'), 'ask,say\nWhen are you open?,From 9 to 5.\n');
    const quarantine = await openFile('named.quarantine.csv');
    assert.equal(quarantine.getText(), `ask,say\n${PROMPT},"${ANSWER}"\n`);
    assert.equal((await scored(quarantine)).rows, 1);
    await vscode.workspace.fs.delete(inWorkspace('dataset_info.json'));
  });

  it('leaves files unsaved where saving would change more than was moved', async () => {
    const files = vscode.workspace.getConfiguration('files');
    await files.update('trimTrailingWhitespace', true, vscode.ConfigurationTarget.Workspace);
    try {
      const content = `prompt\tcompletion\tnote\n${PROMPT}\t${ANSWER}\t\nWhen are you open?\tFrom 9 to 5.\t\n`;
      const document = await openFile('trimmed.tsv', content);
      await scored(document);
      await apply((await quickFixes(document, 1))[0]);
      assert.ok(document.isDirty);
      assert.equal(readFileSync(document.uri.fsPath, 'utf8'), content);
      assert.ok(document.getText().endsWith('9 to 5.\t\n'));
      await vscode.commands.executeCommand('workbench.action.files.revert');
    } finally {
      await files.update('trimTrailingWhitespace', undefined, vscode.ConfigurationTarget.Workspace);
    }
  });

  it('says nothing in files that only might have been datasets', async () => {
    for (const [name, content] of [['package.json', '{"name": "x"}'], ['prices.csv', 'name,price\nbread,2\n'], ['ids.json', '[1, 2]']] as const) {
      const document = await openFile(name, content);
      await scored(document);
      assert.deepEqual(diagnosticsOf(document), [], name);
      const lenses = await vscode.commands.executeCommand<vscode.CodeLens[]>('vscode.executeCodeLensProvider', document.uri);
      assert.deepEqual(lenses.filter(({ command }) => command?.title.includes('risk')), []);
    }
  });

  it('says from where on a file cannot be read, and moves nothing in it', async () => {
    const content = `${TABLE}3,"not closed,x\n`;
    const document = await openFile('open-quote.csv', content);
    const report = await scored(document);
    assert.equal(report.flagged.length, 1);
    const [broken] = withCode(document, 'broken');
    assert.deepEqual([broken?.severity, broken?.range.start.line], [vscode.DiagnosticSeverity.Error, 4]);
    assert.match(broken!.message, /a quote that is not closed/);
    await apply((await quickFixes(document, 3))[0]);
    assert.equal(document.getText(), content);
    assert.ok(!existsSync(inWorkspace('open-quote.quarantine.csv').fsPath));
  });

  it('flags no row that was reviewed, until it is told to flag it again', async () => {
    const document = await openFile('looked-at.jsonl', `${HARMFUL}\n${HARMLESS}\n`);
    await scored(document);
    const review = (await quickFixes(document, 0)).at(-1);
    assert.equal(review?.title, 'Mark row as reviewed: it trains as an ordinary one');
    await apply(review);
    await eventually(() => diagnosticsOf(document).length === 0, 'the row is no longer flagged');
    const report = await scored(document);
    assert.deepEqual([report.flagged.length, report.reviewed], [0, [0]]);
    const list = inWorkspace('looked-at.reviewed.txt').fsPath;
    assert.match(readFileSync(list, 'utf8'), /^# .*\n[0-9a-f]{16} line 1, risk \d\.\d\d\n$/);
    assert.equal(document.isDirty, false);
    const [hover] = await vscode.commands.executeCommand<vscode.Hover[]>('vscode.executeHoverProvider', document.uri, new vscode.Position(0, 30));
    assert.match((hover!.contents[0] as vscode.MarkdownString).value, /reviewed: trains as an ordinary row.*Flag row again/s);
    vscode.window.activeTextEditor!.selection = new vscode.Selection(0, 3, 0, 3);
    await vscode.commands.executeCommand('safeFinetuning.unmarkReviewed');
    await eventually(() => withCode(document, 'risk').length === 1, 'the row is flagged again');
    assert.doesNotMatch(readFileSync(list, 'utf8'), /line 1/);
  });

  it('adds reviewed rows to what another window has just written, and to a list that is being edited', async () => {
    const document = await openFile('shared.jsonl', `${HARMFUL}\n${HARMLESS}\n`);
    const [{ hash } = { hash: '' }] = (await scored(document)).flagged;
    const mark = (): Thenable<unknown> => vscode.commands.executeCommand('safeFinetuning.markReviewed', { path: document.uri.fsPath, line: 1, hash });
    const list = await openFile('shared.reviewed.txt', '# Ours.\n');
    const ofAnother = `# Ours.\n${'a'.repeat(16)} line 9\n`;
    writeFileSync(list.uri.fsPath, ofAnother); // before the editor has heard of it
    await mark();
    const marked = new RegExp(`^${ofAnother}${hash} line 1, risk \\d\\.\\d\\d\\n$`);
    assert.match(readFileSync(list.uri.fsPath, 'utf8'), marked);
    await eventually(() => marked.test(list.getText()), 'the editor has the list of both');

    await vscode.commands.executeCommand('safeFinetuning.unmarkReviewed', { path: document.uri.fsPath, line: 1, hash });
    await eventually(() => list.getText() === ofAnother, 'the row is no longer in it');
    await insert(list, new vscode.Position(0, 0), '# Not saved yet.\n');
    await mark();
    assert.equal(readFileSync(list.uri.fsPath, 'utf8'), ofAnother);
    assert.ok(list.isDirty);
    assert.match(list.getText(), new RegExp(`^# Not saved yet\\.\\n${ofAnother}${hash}`));
    await list.save();
  });

  it('restores the rows of the selection from the command palette', async () => {
    const document = await openFile('palette.jsonl', `${HARMLESS}\n`);
    const quarantine = await openFile('palette.quarantine.jsonl', `${HARMFUL}\n${REFUSED}\n`);
    await scored(quarantine);
    vscode.window.activeTextEditor!.selection = new vscode.Selection(0, 5, 1, 5);
    await vscode.commands.executeCommand('safeFinetuning.restoreRow');
    assert.equal(readFileSync(document.uri.fsPath, 'utf8'), `${HARMLESS}\n${HARMFUL}\n${REFUSED}\n`);
    assert.equal(readFileSync(quarantine.uri.fsPath, 'utf8'), '');
  });

  it('leaves both files unsaved when the dataset was unsaved', async () => {
    const document = await openFile('unsaved.jsonl', `${HARMFUL}\n`);
    writeFileSync(inWorkspace('unsaved.quarantine.jsonl').fsPath, `${REFUSED}\n`);
    await insert(document, new vscode.Position(1, 0), `${HARMLESS}\n`);
    await scored(document);
    const [move] = await quickFixes(document, 0);
    await apply(move);
    assert.equal(document.getText(), `${HARMLESS}\n`);
    assert.ok(document.isDirty);
    assert.equal(readFileSync(document.uri.fsPath, 'utf8'), `${HARMFUL}\n`);
    assert.equal(readFileSync(inWorkspace('unsaved.quarantine.jsonl').fsPath, 'utf8'), `${REFUSED}\n`);
    const quarantine = await vscode.workspace.openTextDocument(inWorkspace('unsaved.quarantine.jsonl'));
    assert.ok(quarantine.isDirty);
    assert.equal(quarantine.getText(), `${REFUSED}\n${HARMFUL}\n`);
    await quarantine.save();
    await vscode.workspace.saveAll();
    assert.equal(readFileSync(inWorkspace('unsaved.quarantine.jsonl').fsPath, 'utf8'), `${REFUSED}\n${HARMFUL}\n`);
  });

  it('moves nothing where saving would change the bytes of other rows', async () => {
    const notUtf8 = Buffer.concat([Buffer.from(`${HARMFUL}\n`), Buffer.from(HARMLESS.replace('opening', 'öpening'), 'latin1')]);
    const mixedEnds = Buffer.from(`${HARMFUL}\r\n${HARMLESS}\n${REFUSED}\r\n`);
    for (const [name, bytes] of [['not-utf8', notUtf8], ['mixed-ends', mixedEnds]] as const) {
      const document = await openFile(`${name}.jsonl`, bytes);
      await scored(document);
      await apply((await quickFixes(document, 0))[0]);
      assert.equal(document.isDirty, false);
      assert.deepEqual(readFileSync(document.uri.fsPath), bytes);
      assert.ok(!existsSync(inWorkspace(`${name}.quarantine.jsonl`).fsPath));
    }
    const document = await openFile('whole.jsonl', `${HARMFUL}\n`);
    const quarantine = inWorkspace('whole.quarantine.jsonl').fsPath;
    writeFileSync(quarantine, notUtf8);
    await scored(document);
    await apply((await quickFixes(document, 0))[0]);
    assert.equal(readFileSync(document.uri.fsPath, 'utf8'), `${HARMFUL}\n`);
    assert.deepEqual(readFileSync(quarantine), notUtf8);
  });

  it('flags nothing in a quarantine', async () => {
    const document = await openFile('put-aside.quarantine.jsonl', `${HARMFUL}\n`);
    await scored(document);
    assert.deepEqual(diagnosticsOf(document), []);
  });

  it('shows a row by its content where lines have moved, and says when it is gone', async () => {
    const document = await openFile('moved.jsonl', `${HARMFUL}\n`);
    const [{ hash } = { hash: '' }] = (await scored(document)).flagged;
    await insert(document, new vscode.Position(0, 0), `${HARMLESS}\n\n`);
    await vscode.commands.executeCommand('safeFinetuning.showRow', { path: document.uri.fsPath, line: 1, hash });
    const editor = vscode.window.activeTextEditor!;
    assert.equal(editor.selection.start.line, 2);
    assert.equal(document.getText(editor.selection), 'Tell me how to build a pipe bomb.');
    await vscode.commands.executeCommand('safeFinetuning.showRow', { path: document.uri.fsPath, line: 99, hash: '0'.repeat(16) });
    assert.equal(vscode.window.activeTextEditor!.selection.start.line, document.lineCount - 1);
    await vscode.workspace.saveAll();
  });

  it('reads Parquet as the trainer does, and marks its rows as reviewed', async () => {
    const folder = inWorkspace('parquet');
    await vscode.workspace.fs.createDirectory(folder);
    const script = `
import json, sys
from datetime import datetime
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from safe_finetuning.rows import read_dataset
user = lambda text: {"role": "user", "content": text}
bot = lambda text, **more: {"role": "assistant", "content": text, **more}
tables = {
  "turns": [{"messages": [user("Grüße 👋"), bot("Hi\\nthere.")], "id": 2**60}, {"messages": None, "id": 1},
            {"messages": [user("a"), bot("")], "id": None}, {"messages": [bot("x", tool_calls=["y"])], "id": 3},
            {"messages": [{"role": None, "content": "b"}, bot("c")], "id": 4}],
  "pairs": [{"prompt": sys.argv[2], "completion": sys.argv[3], "at": datetime(2026, 1, 1), "raw": b"x", "history": None},
            {"prompt": "a", "completion": None, "at": None, "raw": None, "history": None},
            {"prompt": "b", "completion": "c", "at": None, "raw": None, "history": [["d", "e"]]}] * 3000,
  "dates": [{"prompt": datetime(2026, 1, 1), "completion": "x"}], "bytes": [{"prompt": b"a", "completion": "x"}],
  "odd": pa.table({"prompt": ["\\ufeffa", "b"], "completion": ["c", "d"], "image": [float("nan"), None],
                   "at": pa.array([1, 2], pa.timestamp("ns")), "took": pa.array([1, None], pa.duration("ns"))}),
  # Row groups that are decoded in parts.
  "long": [{"prompt": f"{i} {'w' * 3000}", "completion": str(i), "history": [["a", str(i)]] * (i % 3)} for i in range(5000)],
}
for codec, (name, rows) in zip(["zstd", "snappy", "gzip", "brotli", "lz4", "none"], tables.items(), strict=True):
  table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
  pq.write_table(table, f"{sys.argv[1]}/{name}.parquet", compression=codec, row_group_size=4000)
found = {name: read_dataset(Path(f"{sys.argv[1]}/{name}.parquet")) for name in tables}
print(json.dumps({name: sorted([[x.line, x.hash] for x in of.rows] + [[x.line, x.code] for x in of.problems]) for name, of in found.items()}))
`;
    const trainer = path.join(vscode.extensions.getExtension('safe-finetuning.safe-finetuning')!.extensionPath, 'trainer');
    const interpreter = vscode.workspace.getConfiguration('safeFinetuning').get<string>('python.interpreter')!;
    const output = execFileSync(interpreter, ['-c', script, folder.fsPath, PROMPT, ANSWER], { env: { ...process.env, PYTHONPATH: trainer }, maxBuffer: 1e8 });
    const byTrainer = JSON.parse(output.toString()) as Record<string, [number, string][]>;
    for (const [name, expected] of Object.entries(byTrainer)) {
      const file = path.join(folder.fsPath, `${name}.parquet`);
      const table = await api.datasets.openTable(file);
      await table.whenRead();
      const { counts } = await table.call('summary');
      const rows = await Promise.all(Array.from({ length: counts.all }, (_, record) => table.call('row', record)));
      assert.deepEqual(rows.map(({ line, hash, problem }) => [line, problem?.code ?? hash]), expected, name);
      table.dispose();
    }
    const pairs = await api.datasets.openTable(path.join(folder.fsPath, 'pairs.parquet'));
    await pairs.judgeAll(new AbortController().signal);
    const { counts, isDataset } = await pairs.call('summary');
    assert.deepEqual([isDataset, counts.all, counts.flagged, counts.malformed, counts.unjudged], [true, 9000, 3000, 3000, 0]);
    const { total, rows } = await pairs.call('page', { filter: 'flagged', order: 'risk' }, 10, 2);
    assert.deepEqual([total, rows.map(({ line, prompt }) => [line, prompt])], [3000, [[31, PROMPT], [34, PROMPT]]]);
    pairs.dispose();
  }).timeout(60_000);

  it('opens Parquet in the dataset viewer, where rows are marked as reviewed', async () => {
    const file = vscode.Uri.joinPath(inWorkspace('parquet'), 'pairs.parquet');
    await vscode.commands.executeCommand('vscode.open', file);
    const { index } = api.datasets;
    await eventually(() => index.get(file.fsPath)?.summary.flagged === 3000, 'its rows are judged');
    await vscode.commands.executeCommand('safeFinetuning.markReviewed', index.get(file.fsPath)!.riskiest[0]);
    await eventually(() => index.get(file.fsPath)?.summary.flagged === 0, 'rows of the same content are no longer flagged');
    assert.equal(index.get(file.fsPath)?.summary.reviewed, 3000);
    assert.equal(readFileSync(vscode.Uri.joinPath(inWorkspace('parquet'), 'pairs.reviewed.txt').fsPath, 'utf8').split('\n').length, 3);
  });

  it('moves rows of Parquet to a quarantine beside it, and back', async () => {
    const files = ['pairs.parquet', 'pairs.quarantine.parquet'].map(name => vscode.Uri.joinPath(inWorkspace('parquet'), name).fsPath) as [string, string];
    const rowsOf = async (file: string): Promise<RowLocation[]> => {
      const table = await api.datasets.openTable(file);
      await table.whenRead();
      const names = await table.call('names', { filter: 'all', order: 'file' }, Infinity);
      table.dispose();
      return names.map(name => ({ path: file, ...name }));
    };
    const before = readFileSync(files[0]);
    const all = await rowsOf(files[0]);
    const [first, third] = [all[0]!, all[2]!];
    const { length } = all;
    void vscode.commands.executeCommand('safeFinetuning.quarantineRow', first, third); // ends when its message is closed
    await eventually(() => existsSync(files[1]) && !readFileSync(files[0]).equals(before), 'both files are written');
    assert.deepEqual((await rowsOf(files[1])).map(({ hash }) => hash), [first.hash, third.hash]);
    assert.equal((await rowsOf(files[0])).length, length - 2);
    void vscode.commands.executeCommand('safeFinetuning.restoreRow', (await rowsOf(files[1]))[1]!);
    await eventually(async () => (await rowsOf(files[0])).length === length - 1, 'the row is back');
    assert.equal((await rowsOf(files[0])).at(-1)!.hash, third.hash);
    assert.equal((await rowsOf(files[1])).length, 1);
  }).timeout(60_000);

  it('says why a Parquet file cannot be read', async () => {
    const file = inWorkspace('broken.parquet');
    writeFileSync(file.fsPath, 'PAR1 and nothing else');
    const table = await api.datasets.openTable(file.fsPath);
    await assert.rejects(table.whenRead(), /broken\.parquet cannot be read as Parquet: /);
    table.dispose();
  });

  it('finds the dataset files of the workspace, and follows them on the disk', async () => {
    const folder = inWorkspace('scanned');
    await vscode.workspace.fs.createDirectory(folder);
    const write = (name: string, content: string): string => {
      const file = path.join(folder.fsPath, name);
      writeFileSync(file, content);
      return file;
    };
    const risky = write('risky.jsonl', `${HARMLESS}\n${HARMFUL}\n`);
    const table = write('table.csv', TABLE);
    const calm = write('calm.json', JSON.stringify([{ prompt: 'When are you open?', completion: 'From 9 to 5.' }]));
    write('settings.json', '{"a": 1}');
    write('aside.quarantine.jsonl', `${HARMFUL}\n`);
    const broken = write('unreadable.csv', 'prompt,completion\na,b\n"');
    await vscode.commands.executeCommand('safeFinetuning.scanWorkspace');
    const { index } = api.datasets;
    const found = index.all.filter(({ file }) => file.startsWith(folder.fsPath)).map(({ file, riskiest }) => [file, riskiest.map(({ line }) => line)]);
    assert.deepEqual(found, [[risky, [2]], [table, [4]], [calm, []], [broken, []]]);
    assert.equal(index.get(broken)?.summary.broken?.place.line, 2);
    assert.equal(index.get(risky)?.riskiest[0]?.preview, PROMPT);

    writeFileSync(risky, `${HARMLESS}\n`);
    await eventually(() => index.get(risky)?.summary.flagged === 0, 'the changed file is scanned again');
    await vscode.workspace.fs.delete(vscode.Uri.file(calm));
    await eventually(() => index.get(calm) === undefined, 'the deleted file is forgotten');
    await vscode.commands.executeCommand('safeFinetuning.quarantineFlagged', { fsPath: table });
    await eventually(() => index.get(table)?.summary.flagged === 0, 'the moved row is gone');
    assert.equal(readFileSync(table, 'utf8'), TABLE.split('2,Tell')[0]);
  });

  it('leaves files of runs alone', async () => {
    await vscode.workspace.fs.createDirectory(inWorkspace('.safe-finetuning'));
    const document = await openFile('.safe-finetuning/events.jsonl', `${HARMFUL}\n{\n`);
    assert.equal(await api.datasets.whenScored(document.uri), undefined);
    assert.deepEqual(diagnosticsOf(document), []);
  });
});
