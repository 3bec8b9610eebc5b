import assert from 'node:assert';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { askOnlyIf, isAlive, isConfirmed, processStartTime } from '../../src/trainerHost/processIdentity';

describe('process identity', () => {
  it('is the pid and the start time', async () => {
    const startTime = await processStartTime(process.pid);
    assert.ok(typeof startTime === 'number' && Math.abs(startTime - (Date.now() / 1000 - process.uptime())) < 3);
    const own = { pid: process.pid, startTime, host: os.hostname() };
    assert.strictEqual(await isAlive(own), true);
    assert.strictEqual(await isAlive({ ...own, startTime: startTime - 60 }), false);
    assert.strictEqual(await isAlive({ ...own, host: 'elsewhere' }), undefined);
  });

  it('of a process that has ended is gone', async () => {
    const child = spawn(process.execPath, ['-e', '']);
    await new Promise(resolve => child.once('exit', resolve));
    assert.strictEqual(await isAlive({ pid: child.pid!, startTime: Date.now() / 1000, host: os.hostname() }), false);
  });
});

describe('process identity under Linux', () => {
  const { readFileSync } = fs;
  before(function () {
    if (process.platform !== 'linux') this.skip();
  });
  afterEach(() => (fs.readFileSync = readFileSync));

  it('is unknown, and no proof of an end, when no more files can be opened', async () => {
    const own = { pid: process.pid, startTime: 0, host: os.hostname() };
    fs.readFileSync = () => {
      throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
    };
    assert.strictEqual(await processStartTime(own.pid), 'unknown');
    assert.strictEqual(await isAlive(own), true);
    assert.strictEqual(await isConfirmed(own), false);
  });
});

describe('process identity where another program tells it', () => {
  let folder: string;
  const { platform, env } = process;
  const pretend = (system: NodeJS.Platform, program: string, script: string) => {
    Object.defineProperty(process, 'platform', { value: system });
    fs.writeFileSync(path.join(folder, program), `#!/bin/sh\necho "$@" >> ${folder}/asked\n${script}\n`, { mode: 0o700 });
  };
  const asked = () => fs.existsSync(path.join(folder, 'asked'));

  before(function () {
    if (platform === 'win32') this.skip();
  });
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'processes-'));
    process.env = { ...env, PATH: `${folder}${path.delimiter}${env.PATH}` };
  });
  afterEach(() => {
    Object.defineProperty(process, 'platform', { value: platform });
    process.env = env;
    askOnlyIf(() => true);
    fs.rmSync(folder, { recursive: true, force: true });
  });

  it('is what the program prints', async () => {
    pretend('darwin', 'ps', 'echo "Sun Nov 22 17:15:30 2026"');
    assert.strictEqual(await processStartTime(1), new Date(2026, 10, 22, 17, 15, 30).getTime() / 1000);
  });

  it('is not asked for with anything but a number', async () => {
    for (const [system, program] of [['darwin', 'ps'], ['win32', 'powershell.exe']] as const) {
      pretend(system, program, '');
      await processStartTime('1; calc' as unknown as number);
    }
    assert.ok(!asked());
  });

  it('is not asked for where no process may be started', async () => {
    askOnlyIf(() => false);
    pretend('darwin', 'ps', 'echo "Sun Nov 22 17:15:30 2026"');
    assert.strictEqual(await processStartTime(1), 'unknown');
    assert.ok(!asked());
  });

  it('is gone when the program knows no such process', async () => {
    pretend('darwin', 'ps', 'exit 1');
    assert.strictEqual(await processStartTime(1), 'gone');
  });

  it('is unknown, and no proof of an end, when the program fails', async () => {
    const own = { pid: process.pid, startTime: Date.now() / 1000, host: os.hostname() };
    for (const failure of ['echo "cannot fork" >&2; exit 1', 'echo nonsense', 'kill -9 $$']) {
      pretend('darwin', 'ps', failure);
      assert.strictEqual(await processStartTime(own.pid), 'unknown', failure);
      assert.strictEqual(await isAlive(own), true);
      assert.strictEqual(await isConfirmed(own), false); // so nobody ends it
    }
  });
});
