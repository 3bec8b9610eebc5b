import assert from 'node:assert';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { askOnlyIf, isAlive, processStartTime } from '../../src/trainerHost/processIdentity';

describe('process identity', () => {
  it('is the pid and the start time', async () => {
    const startTime = await processStartTime(process.pid);
    assert.ok(startTime && Math.abs(startTime - (Date.now() / 1000 - process.uptime())) < 3);
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
    await processStartTime(1);
    assert.ok(!asked());
  });
});
