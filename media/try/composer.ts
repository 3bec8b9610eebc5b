/** Where a prompt is written, sent and stopped, and how it is to be answered. */
import * as l10n from '@vscode/l10n';
import { limits, withinLimits, type ChatState, type Limit, type TrySettings } from '../../src/views/tryProtocol';
import { h, icon, setText } from '../common/dom';
import { button } from '../common/toolkit';

interface ComposerOptions {
  draft?: string;
  settings?: TrySettings;
  onSend: (prompt: string, settings: TrySettings) => void;
  onStop: () => void;
  onChange: (draft: string, settings: TrySettings) => void;
}

export class Composer {
  readonly element: HTMLElement;
  private readonly box = h('textarea', {
    attributes: { rows: '2', placeholder: l10n.t('Ask both models'), 'aria-label': l10n.t('Prompt'), 'aria-describedby': 'reason' },
  });
  private readonly send = button({ label: l10n.t('Send'), icon: icon('send'), primary: true, onClick: () => this.submit() });
  private readonly stop = button({ label: l10n.t('Stop'), icon: icon('stop'), onClick: () => this.options.onStop() });
  private readonly reason = h('p', { class: 'note', attributes: { id: 'reason' } });
  private readonly tokens: HTMLInputElement;
  private readonly temperature: HTMLInputElement;
  private state: ChatState['state'] = 'loading';

  constructor(private readonly options: ComposerOptions) {
    const { maxNewTokens, temperature } = options.settings ?? { maxNewTokens: limits.maxNewTokens.usual, temperature: limits.temperature.usual };
    this.tokens = numberBox(limits.maxNewTokens, '1', maxNewTokens);
    this.temperature = numberBox(limits.temperature, '0.1', temperature);
    this.box.value = options.draft ?? '';
    this.element = h(
      'footer',
      { class: 'composer' },
      this.box,
      h(
        'div',
        { class: 'controls' },
        this.send,
        this.stop,
        this.reason,
        h('label', { title: l10n.t('After so many tokens an answer is cut.') }, l10n.t('Max. tokens'), this.tokens),
        h('label', { title: l10n.t('0: always the likeliest token, as the evaluation measures. Above, answers differ each time.') }, l10n.t('Temperature'), this.temperature),
      ),
    );
    this.box.addEventListener('input', () => this.change());
    this.box.addEventListener('keydown', event => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    for (const input of [this.tokens, this.temperature]) {
      input.addEventListener('change', () => {
        const { maxNewTokens, temperature } = this.settings;
        this.tokens.value = String(maxNewTokens);
        this.temperature.value = String(temperature);
        this.change();
      });
    }
    this.draw();
  }

  /** Puts a prompt into the box, to be sent or changed. */
  fill(prompt: string): void {
    this.box.value = prompt;
    this.box.focus();
    this.change();
  }

  update({ state }: ChatState): void {
    const hadFocus = this.stop.contains(document.activeElement);
    this.state = state;
    this.draw();
    if (hadFocus && state !== 'answering') this.box.focus();
  }

  private get settings(): TrySettings {
    return withinLimits({ maxNewTokens: this.tokens.valueAsNumber, temperature: this.temperature.valueAsNumber });
  }

  private submit(): void {
    if (this.whyNot()) return;
    this.options.onSend(this.box.value.trim(), this.settings);
    this.fill('');
  }

  private change(): void {
    this.options.onChange(this.box.value, this.settings);
    this.draw();
  }

  /** Why nothing can be sent at the moment; empty where it can. */
  private whyNot(): string {
    switch (this.state) {
      case 'loading':
        return l10n.t('The models are being loaded.');
      case 'answering':
        return l10n.t('The models are answering.');
      case 'ended':
        return l10n.t('The models are not loaded.');
      case 'ready':
        return this.box.value.trim() ? '' : l10n.t('Write a prompt first.');
    }
  }

  private draw(): void {
    const whyNot = this.whyNot();
    this.send.toggleAttribute('disabled', whyNot !== '');
    this.send.hidden = this.state === 'answering';
    this.stop.hidden = this.state !== 'answering';
    setText(this.reason, whyNot || l10n.t('Enter sends, Shift+Enter begins a new line.'));
  }
}

function numberBox({ least, most }: Limit, step: string, value: number): HTMLInputElement {
  const element = h('input', { attributes: { type: 'number', min: String(least), max: String(most), step } });
  element.value = String(value);
  return element;
}
