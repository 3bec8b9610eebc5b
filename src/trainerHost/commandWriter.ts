/** Tells a run something: one line in commands.jsonl, on the disk when this returns. */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import type { Command } from '../protocol/messages';
import { commandsFile } from './runFolder';

/** What the command `set` changes; what is not given stays. */
export type Settings = Partial<Pick<Command, 'betaMin' | 'betaMax' | 'learningRate'>>;

const unchanged: Required<Settings> = { betaMin: null, betaMax: null, learningRate: null };

export function writeCommand(folder: string, command: Command['command'], settings: Settings = {}, now = Date.now()): Command {
  const line: Command = { id: randomUUID(), ts: now, command, ...unchanged, ...settings };
  const file = fs.openSync(commandsFile(folder), 'a+', 0o600);
  try {
    fs.writeSync(file, `${isTorn(file) ? '\n' : ''}${JSON.stringify(line)}\n`);
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
  return line;
}

/** Whether the last line was cut short, as by a full disk: what is appended would be lost with it. */
function isTorn(file: number): boolean {
  const { size } = fs.fstatSync(file);
  const last = Buffer.alloc(1);
  return size > 0 && fs.readSync(file, last, 0, 1, size - 1) === 1 && last.toString() !== '\n';
}
