/** The trainer's `chat`: a process by which the two models of a run answer, until it is disposed or ends by itself. */
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import * as l10n from '@vscode/l10n';
import { Disposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import { errorText, type Log } from '../common/log';
import type { ChatAsk, ChatCancel, ChatReply } from '../protocol/messages';
import { check } from '../protocol/validate';
import { LineDecoder } from './eventTail';
import { endTree, spawnTree } from './processTree';
import { trainerArguments, trainerEnvironment, type Trainer } from './trainerCommand';

const badLinesLogged = 5;
const keptLines = 40;
/** A process whose input has been closed ends at once, unless it hangs. */
const graceMilliseconds = 2000;

export class ChatProcess extends Disposable {
  private readonly replied = this.register(new Emitter<ChatReply>());
  private readonly ended = this.register(new Emitter<string>());
  private readonly child: ChildProcess;
  /** The last lines that it wrote beside its replies. */
  private readonly said: string[] = [];
  private badLines = 0;
  private hasEnded = false;

  readonly onReply = this.replied.event;
  /** It has ended by itself: why, in a sentence or two. */
  readonly onEnd = this.ended.event;

  constructor(
    trainer: Trainer,
    runFolder: string,
    private readonly log: Log,
  ) {
    super();
    this.child = spawnTree(trainer.interpreter, trainerArguments('chat', runFolder), {
      cwd: path.dirname(runFolder),
      env: trainerEnvironment(trainer),
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const decoder = new LineDecoder();
    this.child.stdout!.on('data', (bytes: Buffer) => {
      for (const { bytes: within, from, to } of decoder.lines(bytes)) this.hear(within.toString('utf8', from, to));
    });
    createInterface(this.child.stderr!).on('line', line => this.note(line));
    this.child.stdin!.on('error', () => undefined); // the process has gone, which its end says
    this.child.once('error', error => this.end(l10n.t`The trainer could not be started with ${trainer.interpreter}: ${error.message}`));
    this.child.once('close', (code, signal) => this.end(whyEnded(this.said, code, signal)));
  }

  say(request: ChatAsk | ChatCancel): void {
    this.child.stdin!.write(`${JSON.stringify(request)}\n`);
  }

  /** Ends the process with everything it started. */
  override dispose(): void {
    super.dispose();
    if (this.hasEnded) return;
    this.child.stdin!.end();
    const { pid } = this.child;
    const kill = setTimeout(() => pid && void endTree(pid, 'SIGKILL'), graceMilliseconds);
    this.child.once('close', () => clearTimeout(kill));
  }

  private hear(line: string): void {
    const reply = parseReply(line);
    if ('value' in reply) return this.replied.fire(reply.value);
    this.badLines++;
    if (this.badLines <= badLinesLogged) this.log.warn(`The trainer's chat wrote a line that is no reply: ${reply.reason}`);
  }

  private note(line: string): void {
    this.log.info(`chat: ${line}`);
    this.said.push(line);
    if (this.said.length > keptLines) this.said.shift();
  }

  private end(reason: string): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.ended.fire(reason);
  }
}

function parseReply(line: string): { value: ChatReply } | { reason: string } {
  try {
    const checked = check('ChatReply', JSON.parse(line));
    return checked.ok ? { value: checked.value } : { reason: checked.reason };
  } catch (error) {
    return { reason: errorText(error) };
  }
}

function whyEnded(said: readonly string[], code: number | null, signal: string | null): string {
  const error = said.findLastIndex(line => line.startsWith('error: '));
  if (error >= 0) return said.slice(error).join('\n').replace(/^error: /, '');
  if (signal === 'SIGKILL' || code === 137) {
    return l10n.t('The trainer was killed (signal 9). Often the machine ran out of memory: close what else uses it, and start again.');
  }
  if (signal) return l10n.t`The trainer was ended by ${signal}.`;
  const raised = said.findLast(line => /^[\w.]*(Error|Exception)\b/.test(line));
  return raised ?? l10n.t`The trainer ended with exit code ${String(code)}.`;
}
