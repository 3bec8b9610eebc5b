/** The page "Try Model". It holds no truth: it sends prompts and draws what it is told. */
import '../common/pageLanguage';
import '../common/base.css';
import './try.css';
import * as l10n from '@vscode/l10n';
import type { ChatState, Exchange, FromTry, ToTry, TryAbout, TrySettings } from '../../src/views/tryProtocol';
import { h, icon, setText } from '../common/dom';
import { Place } from '../common/place';
import { button, spinner } from '../common/toolkit';
import { Composer } from './composer';
import { ExchangeView, spokenEnds } from './exchange';
import { suggestions } from './suggestions';

/** What is kept while the page is hidden, which ends it. */
interface Kept {
  draft: string;
  settings: TrySettings;
}

declare function acquireVsCodeApi(): {
  postMessage(message: FromTry): void;
  getState(): Kept | undefined;
  setState(state: Kept): void;
};

const vscode = acquireVsCodeApi();
const send = (message: FromTry): void => vscode.postMessage(message);

const title = h('h1');
const about = h('p', { class: 'note' });
const sharing = new Place<{ run: string }>(({ run }) =>
  h('p', { class: 'warning' }, icon('warning'), h('span', {}, l10n.t`Run ${run} is training on this machine. Both share its device, so that both take longer.`)),
);
const clear = button({ label: l10n.t('Clear conversation'), icon: icon('trash'), iconOnly: true, onClick: () => send({ type: 'clear' }) });
const hints = new Place<TryAbout['examples']>(examples => suggestions(examples, prompt => composer.fill(prompt)));
const exchanges = h('div', { class: 'exchanges' });
const conversation = h('section', { class: 'conversation', attributes: { 'aria-label': l10n.t('Conversation'), tabindex: '0' } }, hints.element, exchanges);
const notice = new Place<ChatState>(stateCard);
const composer = new Composer({
  ...vscode.getState(),
  onSend: (prompt, settings) => send({ type: 'ask', prompt, settings }),
  onStop: () => send({ type: 'stop' }),
  onChange: (draft, settings) => vscode.setState({ draft, settings }),
});
const spoken = h('div', { class: 'unseen', attributes: { 'aria-live': 'polite' } });
document.getElementById('try')?.append(
  h('header', {}, h('div', { class: 'title' }, h('div', {}, title, about), clear), sharing.element),
  conversation,
  notice.element,
  composer.element,
  spoken,
);

let shown: TryAbout | undefined;
/** Where the models are. */
let device = '';
const views = new Map<string, ExchangeView>();

function stateCard(state: ChatState): HTMLElement | null {
  switch (state.state) {
    case 'loading': {
      const { message, done, total, unit } = state;
      const amount = done === null ? '' : total ? l10n.t`${done} of ${total} ${unit ?? ''}` : `${done} ${unit}`;
      return h(
        'div',
        { class: 'card', attributes: { role: 'status' } },
        spinner(),
        h('p', {}, `${message}…`, h('span', { class: 'note' }, amount && ` ${amount}`)),
        button({ label: l10n.t('Cancel'), onClick: () => send({ type: 'cancelLoading' }) }),
      );
    }
    case 'ended': {
      const { reason } = state;
      return h(
        'div',
        { class: reason ? 'card bad' : 'card', attributes: { role: reason ? 'alert' : 'status' } },
        reason && icon('error'),
        h('p', {}, reason ?? l10n.t('The models are not loaded.')),
        button({ label: reason ? l10n.t('Start again') : l10n.t('Load the models'), icon: icon('restart'), primary: true, onClick: () => send({ type: 'start' }) }),
        reason && button({ label: l10n.t('Show Log'), icon: icon('log'), onClick: () => send({ type: 'showLog' }) }),
      );
    }
    case 'ready':
    case 'answering':
      return null;
  }
}

function showAbout(): void {
  if (!shown) return;
  setText(title, l10n.t`Try: ${shown.run}`);
  setText(about, [shown.model, shown.method, device && l10n.t`on ${device}`].filter(Boolean).join(' · '));
}

function showState(state: ChatState): void {
  device = state.state === 'ready' || state.state === 'answering' ? state.device : '';
  showAbout();
  composer.update(state);
  notice.show(device ? null : state);
}

/** Suggestions are for those who have not begun. */
function showHints(): void {
  const isEmpty = views.size === 0;
  hints.show(isEmpty && shown ? shown.examples : null);
  clear.toggleAttribute('disabled', isEmpty);
}

function showExchange(exchange: Exchange): void {
  const atEnd = isAtEnd();
  let view = views.get(exchange.id);
  if (!view) {
    view = new ExchangeView(exchange.id, views.size + 1, side => {
      send({ type: 'copy', id: exchange.id, side });
      setText(spoken, l10n.t('Copied'));
    });
    views.set(exchange.id, view);
    exchanges.append(view.element);
    showHints();
  }
  if (view.update(exchange)) setText(spoken, exchange.failure ?? spokenEnds(exchange));
  if (atEnd) scrollToEnd();
}

function showAll(all: readonly Exchange[]): void {
  views.clear();
  exchanges.replaceChildren();
  all.forEach(showExchange);
  showHints();
  setText(spoken, '');
  scrollToEnd();
}

const isAtEnd = (): boolean => conversation.scrollHeight - conversation.scrollTop - conversation.clientHeight < 40;
const scrollToEnd = (): void => conversation.scrollTo({ top: conversation.scrollHeight });

function receive(message: ToTry): void {
  switch (message.type) {
    case 'about':
      shown = message.about;
      showAbout();
      return showHints();
    case 'state':
      return showState(message.state);
    case 'sharing':
      return sharing.show(message.run === null ? null : { run: message.run });
    case 'conversation':
      return showAll(message.exchanges);
    case 'exchange':
      return showExchange(message.exchange);
    case 'piece': {
      const atEnd = isAtEnd();
      views.get(message.id)?.append(message.side, message.text);
      if (atEnd) scrollToEnd();
      return;
    }
    default: {
      const unknown: never = message;
      throw new Error(`unknown message ${JSON.stringify(unknown)}`);
    }
  }
}

window.addEventListener('message', (event: MessageEvent<ToTry>) => receive(event.data));
send({ type: 'ready' });
