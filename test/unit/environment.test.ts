/** The environment with pretended interpreters: shell scripts in a folder of the test. */
import assert from 'node:assert';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { EnvironmentError, findPython, isForeignVenv, pipMessage, setUpEnvironment, venvPython, type Python } from '../../src/trainerHost/environment';

describe('the environment', function () {
  this.timeout(20_000);
  if (process.platform === 'win32') return; // shell scripts

  let folder: string;
  const pathBefore = process.env.PATH;
  beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'environment-'))));
  afterEach(() => {
    process.env.PATH = pathBefore;
    fs.rmSync(folder, { recursive: true, force: true });
  });

  const script = (name: string, text: string) => {
    const file = path.join(folder, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return file;
  };
  const pretend = (name: string, version: number[], canMakeVenv = true) =>
    script(name, `echo '${JSON.stringify({ path: path.join(folder, name), version, prefix: folder, isVenv: false, canMakeVenv })}'`);
  const reason = async (work: Promise<unknown>): Promise<EnvironmentError> => {
    const error = await work.then(
      () => assert.fail('it worked'),
      (failure: unknown) => failure,
    );
    assert.ok(error instanceof EnvironmentError, String(error));
    return error;
  };

  it('takes the given interpreter, or says why not', async () => {
    const good = pretend('good', [3, 12, 1]);
    assert.strictEqual((await findPython({ given: good })).path, good);
    assert.match((await reason(findPython({ given: pretend('old', [3, 9, 1]) }))).message, /version 3\.9\.1, older than 3\.11/);
    assert.match((await reason(findPython({ given: script('broken', 'exit 1') }))).message, /does not run/);
    assert.match((await reason(findPython({ given: path.join(folder, 'none') }))).message, /not found/);
  });

  it('takes the folder’s .venv before the active interpreter, and that before PATH', async () => {
    process.env.PATH = folder;
    pretend('python3', [3, 11, 0]);
    const active = pretend('active', [3, 13, 0]);
    assert.match((await findPython({ folder })).path, /python3$/);
    assert.strictEqual((await findPython({ folder, active })).path, active);
    pretend('.venv/bin/python', [3, 14, 0]);
    assert.match((await findPython({ folder, active })).path, /\.venv\/bin\/python$/);
  });

  it('passes over interpreters that are too old or cannot make an environment', async () => {
    process.env.PATH = folder;
    pretend('python3.12', [3, 12, 0], false);
    pretend('python3', [3, 8, 0]);
    assert.match((await reason(findPython({ forVenv: true }))).nextStep, /python3-venv/);
    pretend('python', [3, 11, 2]);
    assert.match((await findPython({ forVenv: true })).path, /python$/);
  });

  it('says that there is no Python, and that an environment is broken', async () => {
    process.env.PATH = folder;
    assert.strictEqual((await reason(findPython({}))).reason, 'no-python');
    fs.mkdirSync(path.join(folder, '.venv'));
    const error = await reason(findPython({ folder }));
    assert.strictEqual(error.reason, 'broken-venv');
    assert.match(error.nextStep, /Set Up Environment/);
  });

  describe('is set up', () => {
    /** An interpreter whose `-m venv` makes an environment whose pip does as `pip` says. */
    const maker = (pip: string): Python => {
      const inner = pretendText([3, 11, 1], '$0');
      const inside = `case "$3" in install) ${pip};; *) ${inner};; esac`;
      const file = script('maker', `mkdir -p "$3/bin"; cat > "$3/bin/python" <<'END'\n#!/bin/sh\n${inside}\nEND\nchmod +x "$3/bin/python"; touch "$3/pyvenv.cfg"`);
      return { path: file, version: [3, 11, 1], prefix: '/', isVenv: false, canMakeVenv: true };
    };
    const pretendText = (version: number[], where: string) =>
      `echo '{"path":"'${where}'","version":${JSON.stringify(version)},"prefix":"/","isVenv":true,"canMakeVenv":true}'`;
    const options = (python: Python) => {
      const requirements = path.join(folder, 'requirements.txt');
      const trainer = path.join(folder, 'trainer');
      fs.mkdirSync(path.join(trainer, 'safe_finetuning'), { recursive: true });
      fs.writeFileSync(path.join(trainer, 'pyproject.toml'), '');
      fs.writeFileSync(requirements, 'one==1\n');
      return { python, venv: path.join(folder, '.venv'), requirements, trainer };
    };
    const installs = () => fs.readFileSync(path.join(folder, 'installs'), 'utf8').trim().split('\n');

    it('once, and again only what has changed', async () => {
      const given = options(maker(`echo "$@" >> ${folder}/installs; echo Collecting one`));
      const told: string[] = [];
      const first = await setUpEnvironment({ ...given, torchIndexUrl: 'https://example.invalid/cpu', onProgress: ({ message }) => told.push(message) });
      assert.deepStrictEqual(first, { python: venvPython(given.venv), changed: true });
      assert.deepStrictEqual(installs().map(line => line.replace(folder, '').split(' ').slice(3).join(' ')), [
        'pip>=24.1',
        'torch==2.13.0 --index-url https://example.invalid/cpu --progress-bar raw',
        `-r ${'/requirements.txt'} --progress-bar raw`,
        '--no-deps --force-reinstall /trainer',
      ]);
      assert.ok(told.includes('Packages: looking for one'));
      const again = { ...given, torchIndexUrl: 'https://example.invalid/cpu' };
      assert.strictEqual((await setUpEnvironment(again)).changed, false);
      fs.writeFileSync(path.join(given.trainer, 'safe_finetuning', 'new.py'), '');
      assert.strictEqual((await setUpEnvironment(again)).changed, true);
      assert.strictEqual(installs().length, 5, 'only the trainer is installed again');
      fs.writeFileSync(given.requirements, 'one==2\n');
      assert.strictEqual((await setUpEnvironment(again)).changed, true);
      assert.strictEqual(installs().length, 9);
    });

    it('says what pip said when it fails, and what to do, and begins again the next time', async () => {
      const given = options(maker('echo "ERROR: No space left on device" >&2; exit 1'));
      const error = await reason(setUpEnvironment(given));
      assert.match(error.message, /Installing pip failed: ERROR: No space left/);
      assert.match(error.nextStep, /disk is full/);
      assert.ok(isForeignVenv(given.venv), 'nothing says that it is complete');
    });

    it('makes a broken environment again, and keeps it when that fails', async () => {
      const given = options(maker('exit 0'));
      fs.mkdirSync(given.venv);
      fs.writeFileSync(path.join(given.venv, 'mine'), '');
      const failing = { ...given, python: { ...given.python, path: script('failing', 'mkdir -p "$3"; exit 3') } };
      assert.match((await reason(setUpEnvironment(failing))).message, /Making the virtual environment failed/);
      assert.deepStrictEqual(fs.readdirSync(given.venv), ['mine']);
      assert.strictEqual((await setUpEnvironment(given)).changed, true);
      assert.ok(!fs.existsSync(path.join(given.venv, 'mine')));
      assert.deepStrictEqual(fs.readdirSync(folder).filter(name => name.includes('broken-')), []);
    });

    it('keeps a broken environment that somebody else made', async () => {
      const given = options(maker('exit 0'));
      fs.mkdirSync(given.venv);
      for (const name of ['mine', 'pyvenv.cfg']) fs.writeFileSync(path.join(given.venv, name), '');
      assert.strictEqual((await setUpEnvironment(given)).changed, true);
      const aside = fs.readdirSync(folder).filter(name => name.includes('broken-'));
      assert.strictEqual(aside.length, 1);
      assert.ok(fs.existsSync(path.join(folder, aside[0]!, 'mine')));
    });

    it('can be cancelled, which leaves no process behind', async () => {
      const given = options(maker('sleep 4242'));
      const abort = new AbortController();
      setTimeout(() => abort.abort(), 300);
      assert.strictEqual((await reason(setUpEnvironment({ ...given, signal: abort.signal }))).reason, 'cancelled');
      assert.doesNotMatch(execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }), /^sleep 4242/m);
    });
  });

  it('tells pip’s progress in words', () => {
    assert.strictEqual(pipMessage('Progress 5000000 of 20000000'), 'downloading, 5 of 20 MB');
    assert.strictEqual(pipMessage('Progress 10 of 1000'), undefined);
    assert.strictEqual(pipMessage('Collecting numpy>=2 (from torch)'), 'looking for numpy');
    assert.strictEqual(pipMessage('  Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (188.2 MB)'), 'downloading torch (188.2 MB)');
    assert.strictEqual(pipMessage('Installing collected packages: a, b, c'), 'unpacking 3 packages (this can take minutes)');
    assert.strictEqual(pipMessage('Requirement already satisfied: pip'), undefined);
  });
});
