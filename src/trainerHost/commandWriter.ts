/** Tells a run something: one line in commands.jsonl, on the disk when this returns. */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import type { Command } from '../protocol/messages';
import { commandsFile } from './runFolder';

export function writeCommand(folder: string, command: Command['command'], now = Date.now()): Command {
  const line: Command = { id: randomUUID(), ts: now, command };
  const file = fs.openSync(commandsFile(folder), 'a', 0o600);
  try {
    fs.writeSync(file, `${JSON.stringify(line)}\n`);
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
  return line;
}
