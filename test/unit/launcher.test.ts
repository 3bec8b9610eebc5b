/** Starting, following and stopping a trainer that only pretends: a few lines of Python in a folder of the test. */
import assert from 'node:assert';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { UserError } from '../../src/common/userError';
import { writeCommand } from '../../src/trainerHost/commandWriter';
import { findPython } from '../../src/trainerHost/environment';
import { launchRun, resumeRun, withLaunchLock, type Launched } from '../../src/trainerHost/launcher';
import { preflight } from '../../src/trainerHost/preflight';
import { isAlive } from '../../src/trainerHost/processIdentity';
import { cancelRun, continueRun, describeStop, pauseRun, stopRun } from '../../src/trainerHost/runControl';
import { createRunFolder, eventsFile, metaFile, runFile, updateMeta, writeJson } from '../../src/trainerHost/runFolder';
import type { Run } from '../../src/trainerHost/run';
import { RunRegistry } from '../../src/trainerHost/runs';
import type { Trainer } from '../../src/trainerHost/trainerCommand';
import { escalate } from '../../src/trainerHost/stopper';
import { until } from './until';

/** Obeys commands like the real one; what it does besides is told by its configuration. */
const pretender = `
import json, os, signal, socket, sys, time
if sys.argv[1] == "preflight":
    print(open(sys.argv[2]).read()); sys.exit(0)
config, folder = sys.argv[2], sys.argv[4]
mode = open(config).read().strip()
if mode == "tell":
    print("error: the token has", len(os.environ.get("HF_TOKEN", "")), "letters", file=sys.stderr); sys.exit(1)
if mode == "refuse":
    print("error: it is all wrong", file=sys.stderr); sys.exit(2)
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(os.path.join(folder, "deaf"), "w").close()
if mode in ("deaf", "importing"): time.sleep(60)
stat = open(f"/proc/{os.getpid()}/stat").read().rsplit(")", 1)[1].split()
boot = next(int(l.split()[1]) for l in open("/proc/stat") if l.startswith("btime"))
process = dict(pid=os.getpid(), startTime=boot + int(stat[19]) / 100, host=socket.gethostname())
events = open(os.path.join(folder, "events.jsonl"), "a")
seq = 0
def emit(type, **fields):
    global seq
    events.write(json.dumps(dict(v=1, seq=seq, ts=time.time() * 1000, type=type, **fields)) + "\\n"); events.flush(); seq += 1
def write(status):
    config = dict(model="m", dataset=dict(path="d", heldOutPath=None, heldOutShare=0, invalidRows="error"), method="adaptive", preset=None, device="auto", processes=1, accelerateConfig=None, quantisation="none", anchors=None, safetyTokens=None, canary=None,
      risk=dict(source="critic", judge="classifier", guard=None, endpoint=None, probe=None, features="reference", floor=0.1, threshold=0.5), regularisation=dict(granularity="sample", mapping="linear", betaMin=0, betaMax=1, form="convex", weight=5, movingAverage=0, reference="cached"),
      lora=dict(rank=1, alpha=1, dropout=0, targetModules="all-linear"), checkpoints=dict(everyMinutes=1, atLeast=1, keep=1),
      training=dict(epochs=1, maxSteps=None, batchSize=1, microBatchSize=None, learningRate=1, warmupSteps=0, weightDecay=0, maxGradNorm=1, maxLength=8, seed=1, reportTo=[]),
      evaluation=dict(enabled=False, harmfulPrompts=None, benignPrompts=None, maxNewTokens=16, batchSize=1, atCheckpoints=False, maxAttackSuccess=None, onExceeded="warn"))
    config["$schema"] = None
    record = dict(v=1, id="x", configPath=os.path.abspath(sys.argv[2]), config=config, script=None, datasets=[], versions={}, process=process, attempt=1, status=status, message="", parent=None)
    json.dump(record, open(folder + "/run.json.new", "w")); os.replace(folder + "/run.json.new", folder + "/run.json")
write("running")
emit("attempt_started", attempt=1, fromStep=0, pid=os.getpid(), host=socket.gethostname())
def end(status):
    emit("finished", status=status, message=status, resumable=False, adapter=None); write(status); sys.exit(0)
if mode == "complete": end("completed")
done = 0
while True:
    time.sleep(0.05)
    path = os.path.join(folder, "commands.jsonl")
    lines = open(path).read().splitlines() if os.path.exists(path) else []
    for line in lines[done:]:
        command = json.loads(line)
        emit("command_acknowledged", id=command["id"], command=command["command"], accepted=True, message=command["command"] + " it is")
        if command["command"] in ("pause", "resume"): emit("activity", paused=command["command"] == "pause")
        if command["command"] == "stop": end("stopped")
        if command["command"] == "cancel": end("cancelled")
    done = len(lines)
`;

describe('a run that is started', function () {
  this.timeout(20_000);
  if (process.platform !== 'linux') return; // the pretender reads /proc

  let folder: string;
  let trainer: Trainer;
  let registry: RunRegistry;
  const complaints: string[] = [];
  const log = { info: () => undefined, warn: (text: string) => complaints.push(text), error: (text: string) => complaints.push(text) };

  beforeEach(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'launcher-'));
    fs.mkdirSync(path.join(folder, 'trainer', 'safe_finetuning'), { recursive: true });
    fs.writeFileSync(path.join(folder, 'trainer', 'safe_finetuning', '__main__.py'), pretender);
    fs.writeFileSync(path.join(folder, 'trainer', 'pyproject.toml'), '[project]\ndependencies = []\n');
    trainer = { interpreter: (await findPython({})).path, folder: path.join(folder, 'trainer') };
    registry = new RunRegistry(() => [runs()], log);
    complaints.length = 0;
  });
  afterEach(async () => {
    registry.dispose();
    for (const run of registry.runs) {
      if (run.process && (await isAlive(run.process))) process.kill(-run.process.pid, 'SIGKILL');
    }
    fs.rmSync(folder, { recursive: true, force: true });
  });

  const withoutRoomFor = async (name: string, work: () => Promise<void>) => {
    const { openSync } = fs;
    fs.openSync = (file, ...rest) => {
      if (path.basename(String(file)) === name) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
      return openSync(file, ...rest);
    };
    try {
      await work();
    } finally {
      fs.openSync = openSync;
    }
  };
  const runs = () => path.join(folder, 'runs');
  const configuration = (mode: string) => {
    const file = path.join(folder, `${mode}.finetune.json`);
    fs.writeFileSync(file, mode);
    return file;
  };
  const attached = async ({ folder: place, ended }: Launched) => {
    const run = await registry.add(place);
    void ended.then(() => run.refresh());
    return run;
  };
  const launched = async (mode: string) => attached(await launchRun(trainer, configuration(mode), 'adaptive', runs()));

  it('has the secrets of the user in its environment, and writes them nowhere', async () => {
    trainer.secrets = { HF_TOKEN: 'hush-hush' };
    const run = await launched('tell');
    await until(() => run.status === 'failed');
    await until(() => run.message.includes('9 letters'));
    for (const name of fs.readdirSync(run.folder)) {
      assert.ok(!fs.readFileSync(path.join(run.folder, name), 'utf8').includes('hush'), name);
    }
  });

  it('runs, is paused, goes on, stops, and becomes the current one', async () => {
    const run = await launched('obey');
    assert.strictEqual(run.status, 'starting');
    await until(() => run.status === 'running');
    assert.strictEqual(registry.current, run);
    assert.throws(() => continueRun(run), /not paused/);
    pauseRun(run);
    await until(() => run.status === 'paused');
    assert.throws(() => pauseRun(run), /paused already/);
    continueRun(run);
    await until(() => run.status === 'running');
    const ends: string[] = [];
    registry.onDidEnd(({ status }) => ends.push(status));
    assert.strictEqual(await stopRun(run), 'stop it is');
    await until(() => ends.length === 1);
    assert.deepStrictEqual([run.status, ends], ['stopped', ['stopped']]);
    assert.throws(() => pauseRun(run), /has ended \(stopped and saved\)/);
    assert.deepStrictEqual(complaints, []);
  });

  it('is found by another window, with all that it has said', async () => {
    const run = await launched('obey');
    await until(() => run.status === 'running');
    const window = new RunRegistry(() => [runs()], log);
    try {
      await window.scan();
      const same = window.byId(run.id);
      assert.strictEqual(same?.status, 'running');
      await until(() => same.state.attempt?.pid === run.process?.pid);
      await cancelRun(same);
      await until(() => run.status === 'cancelled');
    } finally {
      window.dispose();
    }
  });

  it('that refuses its configuration has failed, with its own words', async () => {
    const run = await launched('refuse');
    await until(() => run.status === 'failed');
    assert.strictEqual(run.message, 'it is all wrong');
    assert.strictEqual(run.meta.exit?.code, 2);
  });

  it('that is killed has failed, and says what that often means', async () => {
    const run = await launched('obey');
    await until(() => run.status === 'running');
    process.kill(run.process!.pid, 'SIGKILL');
    await until(() => run.status === 'failed');
    assert.match(run.message, /killed/);
  });

  it('that is killed while it still loads its libraries has failed', async () => {
    const run = await launched('importing');
    process.kill(run.process!.pid, 'SIGKILL');
    await until(() => run.status === 'failed');
    assert.match(run.message, /killed/);
  });

  it('that does not answer a request to save and stop is not ended for it', async () => {
    const run = await launched('importing');
    await assert.rejects(stopRun(run, 300), (error: UserError) => error.actions[0]?.command === 'safeFinetuning.cancelRun');
    await run.refresh();
    assert.strictEqual(run.status, 'starting');
    assert.strictEqual(await isAlive(run.process!), true);
  });

  it('is cancelled also while it still loads its libraries', async () => {
    const run = await launched('importing');
    const begun = Date.now();
    assert.strictEqual(await cancelRun(run), 'terminated');
    await until(() => run.status === 'cancelled');
    assert.ok(Date.now() - begun < 2500, `${Date.now() - begun} ms`);
  });

  it('that does not listen is terminated, then killed', async () => {
    const run = await launched('deaf');
    await until(() => fs.existsSync(path.join(run.folder, 'deaf')));
    const target = { process: () => run.process, answered: () => false };
    assert.strictEqual(await escalate(target, { terminateAfter: 100, killAfter: 600 }), 'killed');
    await until(() => run.status === 'failed');
  });

  it('that cannot be ended from here is told of with its process, where one is known', () => {
    const process = { pid: 7, startTime: 1, host: 'cluster' };
    assert.match(describeStop({ name: 'x', process, resumable: false }, 'terminated') ?? '', /Nothing had been saved/);
    assert.match(describeStop({ name: 'x', process, resumable: true }, 'killed') ?? '', /complete checkpoint is kept/);
    assert.match(describeStop({ name: 'x', process, resumable: false }, 'unreachable') ?? '', /7 on cluster/);
    assert.match(describeStop({ name: 'x', process: undefined, resumable: false }, 'unreachable') ?? '', /no process of it is known/);
  });

  it('is never ended by its pid alone', async () => {
    const run = await launched('obey');
    await until(() => run.status === 'running');
    const stranger = { ...run.process!, startTime: run.process!.startTime - 100 };
    assert.strictEqual(await escalate({ process: () => stranger, answered: () => false }, { terminateAfter: 0, killAfter: 0 }), 'ended');
    assert.strictEqual(await isAlive(run.process!), true);
    await cancelRun(run);
  });

  it('that was taken for dead, since the clock was set, is alive again when it goes on', async () => {
    const run = await launched('obey');
    await until(() => run.status === 'running');
    const { pid } = run.process!;
    const shifted = { ...run.process!, startTime: run.process!.startTime - 100 };
    await updateMeta(run.folder, () => ({ launched: shifted }));
    writeJson(runFile(run.folder), { ...run.record!, process: shifted });
    try {
      await until(() => run.status === 'failed');
      writeCommand(run.folder, 'pause');
      await until(() => run.status === 'paused');
      run.state.lastEvent = Date.now() - 5000; // so that the process is looked for again
      await run.refresh();
      assert.strictEqual(run.status, 'paused');
    } finally {
      process.kill(-pid, 'SIGKILL'); // nothing else can tell it by its start time any more
    }
  });

  /** A trainer that a command line has started: nobody here is told how it ends. */
  const startedByHand = async (mode: string) => {
    const place = createRunFolder(runs(), { id: 'by-hand', ts: Date.now(), argv: [], interpreter: 'python', configPath: 'c' });
    const env = { ...process.env, PYTHONPATH: trainer.folder };
    spawn(trainer.interpreter, ['-m', 'safe_finetuning', 'run', configuration(mode), '--run', place], { env, detached: true, stdio: 'ignore' }).unref();
    const run = await registry.add(place);
    await until(() => run.status === 'running');
    return run;
  };
  const heartbeat = (seq: number, ts: number) => `${JSON.stringify({ v: 1, seq, ts, type: 'heartbeat' })}\n`;
  const killed = async (run: Run) => {
    process.kill(-run.process!.pid, 'SIGKILL');
    await until(async () => !(await isAlive(run.process!)));
  };

  it('and killed has failed, though its last words are read only later', async () => {
    const run = await startedByHand('obey');
    await until(() => run.state.attempt !== undefined);
    const longAgo = Date.now() - 5000;
    fs.appendFileSync(eventsFile(run.folder), Array.from({ length: 2000 }, (_, seq) => heartbeat(100 + seq, longAgo)).join(''));
    await killed(run);
    await until(() => run.status === 'failed');
    await new Promise(resolve => setTimeout(resolve, 1500)); // what is left is read once a second
    await run.refresh();
    assert.deepStrictEqual([run.status, run.state.counts.bad], ['failed', 0]);
  });

  it('and killed has failed, though its clock was an hour ahead', async () => {
    const run = await startedByHand('obey');
    fs.appendFileSync(eventsFile(run.folder), heartbeat(100, Date.now() + 3_600_000));
    await until(() => (run.state.lastEvent ?? 0) > Date.now());
    await killed(run);
    await until(() => run.status === 'failed');
  });

  it('and that was taken for dead goes on, though nobody reads its events', async () => {
    const run = await startedByHand('obey');
    await killed(run);
    await until(() => run.status === 'failed');
    await registry.scan();
    run.releaseAfter(-1);
    fs.appendFileSync(eventsFile(run.folder), heartbeat(100, Date.now()));
    await run.refresh();
    assert.strictEqual(run.status, 'running');
  });

  it('with a file that nobody can read stops nobody from seeing the others', async () => {
    const run = await launched('complete');
    await until(() => run.status === 'completed');
    const odd = createRunFolder(runs(), { id: 'odd', ts: 1, argv: [], interpreter: 'python', configPath: 'c' });
    for (const file of [metaFile(odd), eventsFile(odd), runFile(odd)]) fs.symlinkSync(file, file);
    const other = createRunFolder(runs(), { id: 'other', ts: 2, argv: [], interpreter: 'python', configPath: 'c' });
    await registry.lookAgain();
    assert.deepStrictEqual(registry.runs.map(each => each.folder), [run.folder, other, odd]);
    assert.strictEqual(registry.inFolder(odd)?.status, 'failed');
  });

  it('begins a new attempt when it is resumed', async () => {
    const first = await launched('refuse');
    await until(() => first.status === 'failed');
    const again = await attached(await resumeRun(trainer, configuration('complete'), first.folder));
    assert.strictEqual(again, first);
    await until(() => first.status === 'completed');
    assert.strictEqual(first.message, 'completed');
  });

  it('that an interpreter cannot start says so and leaves no run behind', async () => {
    const broken = { ...trainer, interpreter: path.join(folder, 'no-python') };
    await assert.rejects(launchRun(broken, configuration('obey'), 'adaptive', runs()), /could not be started with .*no-python/);
    await registry.scan();
    assert.deepStrictEqual(registry.runs, []);
  });

  it('that has no room for its log leaves no run behind', async () => {
    await withoutRoomFor('trainer.log', () =>
      assert.rejects(launchRun(trainer, configuration('obey'), 'adaptive', runs()), /the disk is full/),
    );
    await registry.scan();
    assert.strictEqual(registry.active, undefined);
    assert.deepStrictEqual(registry.runs, []);
  });

  it('on another machine shows its life by its events, also when it is not the newest', async () => {
    const ended = await launched('complete');
    await until(() => ended.status === 'completed');
    const elsewhere = path.join(runs(), 'elsewhere');
    fs.mkdirSync(elsewhere);
    const process = { ...ended.process!, host: 'cluster', startTime: ended.process!.startTime - 600 };
    writeJson(runFile(elsewhere), { ...ended.record!, status: 'running', process });
    fs.writeFileSync(eventsFile(elsewhere), '');
    const run = await registry.add(elsewhere);
    assert.strictEqual(run.status, 'running');
    const longAgo = new Date(Date.now() - 600_000);
    fs.utimesSync(eventsFile(elsewhere), longAgo, longAgo);
    await run.refresh();
    assert.strictEqual(run.status, 'lost');
  });

  it('is the only one that is being started', async () => {
    let second: Promise<unknown> | undefined;
    await withLaunchLock(runs(), async () => {
      second = withLaunchLock(runs(), () => Promise.resolve());
      await assert.rejects(second, /Another run is being started/);
    });
    await withLaunchLock(runs(), () => Promise.resolve());
    await withoutRoomFor('.starting', () =>
      assert.rejects(withLaunchLock(runs(), () => Promise.resolve()), /cannot be written: the disk is full/),
    );
  });

  it('is seen by a window that was already looking', async () => {
    const underWay = registry.scan(); // has listed the folder's runs before there was one
    await new Promise(setImmediate);
    const folderOfRun = createRunFolder(runs(), { id: 'other', ts: Date.now(), argv: [], interpreter: 'python', configPath: 'c' });
    await registry.lookAgain();
    await underWay;
    assert.strictEqual(registry.active?.folder, folderOfRun);
  });

  describe('is checked first:', () => {
    const checksOf = async (python: Parameters<typeof preflight>[0]['python'], report: object) => {
      const config = path.join(folder, 'report.finetune.json');
      fs.writeFileSync(config, JSON.stringify(report));
      return preflight({ config, python, trainerFolder: trainer.folder, runsFolder: path.dirname(config) });
    };
    const entry = { id: 'dataset', title: 'Dataset', status: 'error', message: 'gone', file: '/x.jsonl', line: 2, column: 1 };

    it('interpreter, packages, then what the trainer says, each failure with its fix', async () => {
      const { checks, trainer: ready } = await checksOf({}, { checks: [entry], problems: [], endpoint: null, judgedRows: 0 });
      assert.deepStrictEqual(checks.map(({ id, status, fix }) => [id, status, fix]), [
        ['interpreter', 'ok', null],
        ['packages', 'ok', null],
        ['dataset', 'error', 'open-file'],
      ]);
      assert.strictEqual(ready, undefined);
    });

    it('with nothing against it there is a trainer', async () => {
      const { trainer: ready } = await checksOf({}, { checks: [{ ...entry, status: 'warning' }], problems: [], endpoint: null, judgedRows: 0 });
      assert.strictEqual(ready?.folder, trainer.folder);
    });

    it('a package that is missing is named', async () => {
      fs.writeFileSync(path.join(trainer.folder, 'pyproject.toml'), '[project]\ndependencies = ["no-such-package>=1.0"]\n');
      const { checks } = await checksOf({}, {});
      assert.match(checks[1]!.message, /no-such-package is missing in \/.*python/);
      assert.strictEqual(checks[1]!.fix, 'set-up-environment');
    });

    it('an interpreter that is not there ends it', async () => {
      const { checks } = await checksOf({ given: '/no/such/python' }, {});
      assert.deepStrictEqual(checks.map(({ id, status, fix }) => [id, status, fix]), [['interpreter', 'error', 'choose-interpreter']]);
    });

    it('a trainer that answers nonsense is told of', async () => {
      const { checks } = await checksOf({}, { nonsense: true });
      assert.match(checks.at(-1)!.message, /not what was expected/);
    });
  });
});
