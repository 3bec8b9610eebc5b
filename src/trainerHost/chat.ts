/** A conversation with the two models of a run: each goes on with its own answers. Views see this, never the process. */
import { randomUUID } from 'node:crypto';
import * as l10n from '@vscode/l10n';
import { Disposable } from '../common/disposable';
import { Emitter } from '../common/emitter';
import type { ChatAsk, ChatDone, ChatPiece, ChatReply, ChatTurn } from '../protocol/messages';
import type { ChatProcess } from './chatProcess';

export type Side = ChatPiece['model'];

export interface Answer {
  text: string;
  /** How it ended; null while it grows. */
  done: Pick<ChatDone, 'ended' | 'tokens' | 'seconds' | 'refusal' | 'degenerate'> | null;
}

export interface Exchange {
  id: string;
  prompt: string;
  answers: Record<Side, Answer>;
  /** Why there is no answer, or no whole one. */
  failure: string | null;
}

export type ChatState =
  | { state: 'loading'; message: string; done: number | null; total: number | null; unit: string | null }
  | { state: 'ready'; device: string }
  | { state: 'answering'; device: string }
  /** No process. `reason`: why it ended by itself; null where it was told to. */
  | { state: 'ended'; reason: string | null };

export type ChatChange =
  | { type: 'state'; state: ChatState }
  /** One is new or stands differently. */
  | { type: 'exchange'; exchange: Exchange }
  | { type: 'piece'; id: string; side: Side; text: string }
  | { type: 'cleared' };

export class Chat extends Disposable {
  private readonly changed = this.register(new Emitter<ChatChange>());
  private process: ChatProcess | undefined;
  private current: ChatState = { state: 'ended', reason: null };
  private device = '';
  private said: Exchange[] = [];

  readonly onDidChange = this.changed.event;

  get state(): ChatState {
    return this.current;
  }

  get exchanges(): readonly Exchange[] {
    return this.said;
  }

  /** Before there is a process: what is being done about it. */
  prepare(message: string): void {
    this.become({ state: 'loading', message, done: null, total: null, unit: null });
  }

  /** Goes on with this process, which the conversation owns from now on. */
  start(process: ChatProcess): void {
    this.process?.dispose();
    this.process = process;
    process.onReply(reply => this.hear(reply));
    process.onEnd(reason => this.end(reason));
  }

  /** Ends the process; what was said stays. */
  end(reason: string | null): void {
    this.process?.dispose();
    this.process = undefined;
    for (const exchange of this.said) {
      if (isOpen(exchange)) this.fail(exchange, l10n.t('The trainer ended before both had answered.'));
    }
    this.become({ state: 'ended', reason });
  }

  /** Whether it was asked: not while there is no process that could answer. */
  ask(prompt: string, settings: Pick<ChatAsk, 'maxNewTokens' | 'temperature'>): boolean {
    if (this.current.state !== 'ready' || !this.process) return false;
    const conversations = { reference: this.conversation('reference', prompt), tuned: this.conversation('tuned', prompt) };
    const exchange: Exchange = { id: randomUUID(), prompt, answers: { reference: { text: '', done: null }, tuned: { text: '', done: null } }, failure: null };
    this.said.push(exchange);
    this.changed.fire({ type: 'exchange', exchange });
    this.become({ state: 'answering', device: this.device });
    this.process.say({ type: 'ask', id: exchange.id, conversations, ...settings });
    return true;
  }

  /** Ends the answers that grow at present. */
  stop(): void {
    const exchange = this.said.find(isOpen);
    if (exchange) this.process?.say({ type: 'cancel', id: exchange.id });
  }

  /** Forgets what was said. */
  clear(): void {
    this.stop();
    this.said = [];
    this.changed.fire({ type: 'cleared' });
    if (this.current.state === 'answering') this.become({ state: 'ready', device: this.device });
  }

  override dispose(): void {
    this.process?.dispose();
    super.dispose();
  }

  private hear(reply: ChatReply): void {
    switch (reply.type) {
      case 'loading': {
        const { message, done, total, unit } = reply;
        return this.become({ state: 'loading', message, done, total, unit });
      }
      case 'ready':
        this.device = reply.device;
        return this.become({ state: 'ready', device: reply.device });
      case 'piece': {
        const exchange = this.find(reply.id);
        if (!exchange) return;
        exchange.answers[reply.model].text += reply.text;
        return this.changed.fire({ type: 'piece', id: reply.id, side: reply.model, text: reply.text });
      }
      case 'done': {
        const exchange = this.find(reply.id);
        if (!exchange) return;
        const { model, text, ended, tokens, seconds, refusal, degenerate } = reply;
        exchange.answers[model] = { text, done: { ended, tokens, seconds, refusal, degenerate } };
        this.changed.fire({ type: 'exchange', exchange });
        return this.settle();
      }
      case 'failed': {
        const exchange = reply.id === null ? this.said.find(isOpen) : this.find(reply.id);
        if (exchange) this.fail(exchange, reply.message);
        return this.settle();
      }
    }
  }

  private settle(): void {
    if (this.current.state === 'answering' && !this.said.some(isOpen)) this.become({ state: 'ready', device: this.device });
  }

  private fail(exchange: Exchange, failure: string): void {
    exchange.failure = failure;
    this.changed.fire({ type: 'exchange', exchange });
  }

  /** An exchange that failed, or that this side answered with nothing, is as if it had not been. */
  private conversation(side: Side, prompt: string): ChatTurn[] {
    const before = this.said
      .filter(({ failure, answers }) => failure === null && answers[side].text !== '')
      .flatMap(({ prompt: asked, answers }): ChatTurn[] => [
        { role: 'user', content: asked },
        { role: 'assistant', content: answers[side].text },
      ]);
    return [...before, { role: 'user', content: prompt }];
  }

  /** Of what was cleared, answers may still come. */
  private find(id: string): Exchange | undefined {
    return this.said.find(exchange => exchange.id === id);
  }

  private become(state: ChatState): void {
    this.current = state;
    this.changed.fire({ type: 'state', state });
  }
}

const isOpen = ({ answers, failure }: Exchange): boolean => failure === null && Object.values(answers).some(({ done }) => done === null);
