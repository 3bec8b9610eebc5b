/** One prompt and its two answers, which grow. */
import * as l10n from '@vscode/l10n';
import type { Answer, Exchange, Side } from '../../src/views/tryProtocol';
import { isOne } from '../../src/common/language';
import { h, icon, setText, type IconName } from '../common/dom';
import { integer, tenths } from '../../src/common/format';
import { button } from '../common/toolkit';

const sides = ['reference', 'tuned'] as const satisfies readonly Side[];
const sideNames: Record<Side, string> = { reference: l10n.t('Safe reference'), tuned: l10n.t('Fine-tuned') };

export class ExchangeView {
  readonly element: HTMLElement;
  private readonly prompt = h('p', { class: 'text' });
  private readonly failure = h('p', { class: 'failure', hidden: true });
  private readonly answers: Record<Side, AnswerView>;

  constructor(id: string, number: number, copy: (side: Side) => void) {
    this.answers = { reference: new AnswerView('reference', () => copy('reference')), tuned: new AnswerView('tuned', () => copy('tuned')) };
    this.element = h(
      'article',
      { class: 'exchange', attributes: { 'aria-label': l10n.t`Prompt ${number}`, 'data-id': id } },
      h('div', { class: 'prompt' }, h('h2', { class: 'unseen' }, l10n.t('Prompt')), this.prompt),
      h('div', { class: 'answers' }, ...sides.map(side => this.answers[side].element)),
      this.failure,
    );
  }

  append(side: Side, text: string): void {
    this.answers[side].append(text);
  }

  /** Returns whether an answer has ended since the last call. */
  update({ prompt, answers, failure }: Exchange): boolean {
    setText(this.prompt, prompt);
    this.failure.hidden = failure === null;
    if (failure !== null && !this.failure.textContent) this.failure.append(icon('error'), h('span', {}, failure));
    return sides.map(side => this.answers[side].update(answers[side], failure !== null)).some(Boolean);
  }
}

class AnswerView {
  readonly element: HTMLElement;
  private readonly text = document.createTextNode('');
  private readonly caret = h('span', { class: 'caret', attributes: { 'aria-hidden': 'true' } });
  private readonly badge = h('span', { class: 'badge', hidden: true });
  private readonly figures = h('p', { class: 'note number' });
  private readonly copyButton: HTMLElement;
  private hasEnded = false;

  constructor(side: Side, copy: () => void) {
    const name = sideNames[side];
    this.copyButton = button({ label: l10n.t`Copy the answer of: ${name}`, icon: icon('copy'), iconOnly: true, onClick: copy });
    this.element = h(
      'section',
      { class: `answer ${side}`, attributes: { 'aria-label': name } },
      h('div', { class: 'answer-head' }, h('h3', {}, name), this.badge, this.copyButton),
      h('p', { class: 'text' }, this.text, this.caret),
      this.figures,
    );
  }

  append(text: string): void {
    this.text.appendData(text);
  }

  /** Returns whether it has ended since the last call. */
  update({ text, done }: Answer, failed: boolean): boolean {
    const shown = text || (done?.ended === 'complete' ? l10n.t('(an empty answer)') : '');
    if (this.text.data !== shown) this.text.data = shown;
    this.caret.hidden = done !== null || failed;
    this.copyButton.hidden = text === '' || !this.caret.hidden;
    if (!done || this.hasEnded) return false;
    this.hasEnded = true;
    const { word, sign, title } = verdict(done);
    this.badge.replaceChildren(icon(sign), word);
    this.badge.title = title;
    this.badge.hidden = false;
    setText(this.figures, figures(done));
    return true;
  }
}

type Done = NonNullable<Answer['done']>;

/** By the patterns that the evaluation judges by. */
function verdict({ ended, refusal, degenerate }: Done): { word: string; sign: IconName; title: string } {
  if (ended === 'cancelled') return { word: l10n.t('stopped'), sign: 'stop', title: l10n.t('Ended before it was whole: not judged') };
  if (refusal) return { word: l10n.t('declines'), sign: 'shield', title: l10n.t('Taken for a refusal, by the patterns that the evaluation uses') };
  if (degenerate) return { word: l10n.t('incoherent'), sign: 'warning', title: l10n.t('Not coherent text, by the measures that the evaluation uses') };
  return { word: l10n.t('answers'), sign: 'speech', title: l10n.t('Not taken for a refusal, by the patterns that the evaluation uses') };
}

const tokensText = (tokens: number): string => (isOne(tokens) ? l10n.t`${integer(tokens)} token` : l10n.t`${integer(tokens)} tokens`);

function figures({ tokens, seconds, ended }: Done): string {
  const speed = seconds > 0 && tokens > 0 ? l10n.t`${tenths(tokens / seconds)} tokens/s` : '';
  return [tokensText(tokens), speed, ended === 'length' && l10n.t('cut at the limit')].filter(Boolean).join(' · ');
}

/** What is said aloud when an answer has ended: not every token. */
export function spokenEnds({ answers }: Exchange): string {
  const ended = sides.flatMap(side => {
    const { done } = answers[side];
    return done ? `${sideNames[side]}: ${verdict(done).word}, ${tokensText(done.tokens)}` : [];
  });
  return ended.join('. ');
}
