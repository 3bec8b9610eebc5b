import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Command } from '../../src/protocol/messages';
import { writeCommand } from '../../src/trainerHost/commandWriter';
import { commandsFile } from '../../src/trainerHost/runFolder';

describe('a command', () => {
  let folder: string;
  beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'commands-'))));
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));
  const lines = () => fs.readFileSync(commandsFile(folder), 'utf8').split('\n');

  it('is a line of its own, in the order given', () => {
    const given = [writeCommand(folder, 'pause'), writeCommand(folder, 'resume')];
    assert.strictEqual(lines().pop(), '');
    assert.deepStrictEqual(lines().slice(0, -1).map(line => JSON.parse(line) as Command), given);
  });

  it('is not lost behind a line that was cut short', () => {
    fs.writeFileSync(commandsFile(folder), '{"id": "torn');
    const given = writeCommand(folder, 'cancel');
    assert.deepStrictEqual(lines(), ['{"id": "torn', JSON.stringify(given), '']);
  });
});
