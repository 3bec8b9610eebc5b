/** A conversation with a trainer that only pretends, and misbehaves: a few lines of Python in a folder of the test. */
import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Chat, type ChatChange } from '../../src/trainerHost/chat';
import { ChatProcess } from '../../src/trainerHost/chatProcess';
import { findPython } from '../../src/trainerHost/environment';
import { examplePrompts } from '../../src/trainerHost/examplePrompts';
import type { Trainer } from '../../src/trainerHost/trainerCommand';
import { withinLimits } from '../../src/views/tryProtocol';
import { until } from './until';

/** Answers by the conversation as it was told it, a letter at a time; a prompt says what goes wrong. */
const pretender = `
import json, os, sys, time
out = sys.stdout.buffer
def write(text):
    for byte in text.encode():
        out.write(bytes([byte])); out.flush()
def reply(**fields): write(json.dumps(fields, ensure_ascii=False) + "\\n")
def done(id, model, text, ended): reply(type="done", id=id, model=model, text=text, ended=ended, tokens=len(text), seconds=0.5, refusal=False, degenerate=False)
open(os.path.join(sys.argv[2], "pid"), "w").write(str(os.getpid()))
reply(type="loading", message="Loading m", done=None, total=None, unit=None)
if os.path.exists(os.path.join(sys.argv[2], "broken")):
    print("Traceback", "error: the model is gone", "Put it back.", sep="\\n", file=sys.stderr); sys.exit(1)
reply(type="ready", device="cpu")
waiting = {}
for line in sys.stdin:
    request = json.loads(line)
    id = request["id"]
    if request["type"] == "cancel":
        for model in waiting.pop(id, []): done(id, model, "", "cancelled")
        continue
    prompt = request["conversations"]["tuned"][-1]["content"]
    if prompt == "die": print("MemoryError: no more", file=sys.stderr); os._exit(1)
    if prompt == "killed": os.kill(os.getpid(), 9)
    if prompt == "fail": reply(type="failed", id=id, message="too long"); continue
    if prompt == "hang": time.sleep(60)
    if prompt == "wait": waiting[id] = ["reference", "tuned"]; continue
    if prompt == "garbage": write("a library says hello\\n{\\"type\\": \\"piece\\"}\\n[]\\n\\n")
    for model, turns in request["conversations"].items():
        text = model + " of " + "/".join(t["content"] for t in turns) + "\\u2028😀"
        for letter in text: reply(type="piece", id=id, model=model, text=letter)
        done(id, model, text, "complete")
`;

const settings = { maxNewTokens: 8, temperature: 0 };

describe('a conversation', function () {
  this.timeout(20_000);

  let folder: string;
  let trainer: Trainer;
  let chat: Chat;
  let changes: ChatChange[];
  const complaints: string[] = [];
  const log = { info: () => undefined, warn: (text: string) => complaints.push(text), error: () => undefined };

  before(async () => {
    trainer = { interpreter: (await findPython({})).path, folder: '' };
  });
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chat-'));
    fs.mkdirSync(path.join(folder, 'trainer', 'safe_finetuning'), { recursive: true });
    fs.writeFileSync(path.join(folder, 'trainer', 'safe_finetuning', '__main__.py'), pretender);
    trainer = { ...trainer, folder: path.join(folder, 'trainer') };
    complaints.length = 0;
    changes = [];
    chat = new Chat();
    chat.onDidChange(change => changes.push(change));
  });
  afterEach(async () => {
    chat.dispose();
    await until(() => !isRunning());
    fs.rmSync(folder, { recursive: true, force: true });
  });

  const begin = async (): Promise<void> => {
    chat.start(new ChatProcess(trainer, folder, log));
    await until(() => chat.state.state === 'ready');
  };
  const isRunning = (): boolean => {
    try {
      return process.kill(Number(fs.readFileSync(path.join(folder, 'pid'), 'utf8')), 0);
    } catch {
      return false;
    }
  };
  const ask = async (prompt: string) => {
    assert.ok(chat.ask(prompt, settings));
    await until(() => chat.state.state !== 'answering');
    return chat.exchanges.at(-1)!;
  };
  const reasonOfEnd = (): string | null => (chat.state.state === 'ended' ? chat.state.reason : assert.fail(chat.state.state));

  it('goes on with its own answers on each side, whatever pieces the bytes come in', async () => {
    await begin();
    const first = await ask('one');
    assert.strictEqual(first.answers.reference.text, 'reference of one\u2028😀');
    const second = await ask('two');
    assert.strictEqual(second.answers.tuned.text, 'tuned of one/tuned of one\u2028😀/two\u2028😀');
    assert.strictEqual(second.answers.tuned.done?.ended, 'complete');
    const pieces = changes.flatMap(change => (change.type === 'piece' && change.id === second.id && change.side === 'tuned' ? change.text : []));
    assert.strictEqual(pieces.join(''), second.answers.tuned.text);
    chat.clear();
    assert.strictEqual((await ask('three')).answers.tuned.text, 'tuned of three\u2028😀');
    assert.strictEqual(chat.exchanges.length, 1);
  });

  it('takes no prompt before the models are loaded, nor while they answer', async () => {
    assert.ok(!chat.ask('early', settings));
    chat.prepare('Starting');
    assert.ok(!chat.ask('early', settings));
    await begin();
    assert.deepStrictEqual(changes.flatMap(change => (change.type === 'state' && change.state.state === 'loading' ? change.state.message : [])), ['Starting', 'Loading m']);
    chat.ask('wait', settings);
    assert.ok(!chat.ask('another', settings));
    assert.strictEqual(chat.exchanges.length, 1);
  });

  it('is stopped, and what was not answered is as if it had not been asked', async () => {
    await begin();
    chat.ask('wait', settings);
    chat.stop();
    await until(() => chat.state.state === 'ready');
    assert.strictEqual(chat.exchanges[0]!.answers.tuned.done?.ended, 'cancelled');
    assert.strictEqual((await ask('fail')).failure, 'too long');
    assert.strictEqual((await ask('next')).answers.tuned.text, 'tuned of next\u2028😀');
  });

  it('is cleared in the middle of an answer', async () => {
    await begin();
    chat.ask('wait', settings);
    chat.clear();
    assert.deepStrictEqual([chat.exchanges.length, chat.state.state], [0, 'ready']);
    assert.strictEqual((await ask('next')).answers.tuned.text, 'tuned of next\u2028😀');
  });

  it('leaves out lines that are no replies, and says so', async () => {
    await begin();
    assert.strictEqual((await ask('garbage')).answers.reference.text, 'reference of garbage\u2028😀');
    assert.strictEqual(complaints.length, 4);
  });

  it('says why the process ended, keeps what was said, and goes on with another', async () => {
    await begin();
    await ask('one');
    const lost = await ask('die');
    assert.strictEqual(reasonOfEnd(), 'MemoryError: no more');
    assert.match(lost.failure!, /ended before both had answered/);
    await begin();
    assert.strictEqual((await ask('two')).answers.tuned.text, 'tuned of one/tuned of one\u2028😀/two\u2028😀');
    await ask('killed');
    assert.match(reasonOfEnd()!, /killed.*memory/);
  });

  it('says what the trainer says of a model that cannot be loaded, and of one that cannot be started', async () => {
    fs.writeFileSync(path.join(folder, 'broken'), '');
    chat.prepare('Starting');
    chat.start(new ChatProcess(trainer, folder, log));
    await until(() => chat.state.state === 'ended');
    assert.strictEqual(reasonOfEnd(), 'the model is gone\nPut it back.');
    chat.prepare('Starting');
    chat.start(new ChatProcess({ ...trainer, interpreter: path.join(folder, 'no-python') }, folder, log));
    await until(() => chat.state.state === 'ended');
    assert.match(reasonOfEnd()!, /could not be started with .*no-python/);
  });

  it('leaves no process behind, not even one that hears nothing', async () => {
    await begin();
    chat.end(null);
    await until(() => !isRunning());
    assert.strictEqual(reasonOfEnd(), null);
    await begin();
    chat.ask('hang', settings);
    chat.dispose();
    await until(() => !isRunning());
  });
});

describe('what is tried', () => {
  it('is suggested from the prompts that ship with the trainer', () => {
    const { benign, harmful } = examplePrompts('trainer');
    const shipped = (name: string) => fs.readFileSync(`trainer/safe_finetuning/prompts/${name}.jsonl`, 'utf8');
    for (const [prompts, file] of [[benign, 'benign'], [harmful, 'harmful']] as const) {
      assert.strictEqual(new Set(prompts).size, 3);
      for (const prompt of prompts) assert.ok(shipped(file).includes(JSON.stringify(prompt)), prompt);
    }
  });

  it('is answered within limits', () => {
    assert.deepStrictEqual(withinLimits({ maxNewTokens: 1e9, temperature: -1 }), { maxNewTokens: 2048, temperature: 0 });
    assert.deepStrictEqual(withinLimits({ maxNewTokens: Number.NaN, temperature: Number.NaN }), { maxNewTokens: 256, temperature: 0 });
    assert.deepStrictEqual(withinLimits({ maxNewTokens: 10.4, temperature: 0.7 }), { maxNewTokens: 10, temperature: 0.7 });
  });
});
