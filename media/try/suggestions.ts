/** What to begin with. */
import * as l10n from '@vscode/l10n';
import type { TryAbout } from '../../src/views/tryProtocol';
import { h } from '../common/dom';

export function suggestions({ benign, harmful }: TryAbout['examples'], take: (prompt: string) => void): HTMLElement {
  const group = (title: string, prompts: string[]) =>
    h(
      'section',
      {},
      h('h2', {}, title),
      ...prompts.map(prompt => h('button', { class: 'suggestion', onclick: () => take(prompt) }, prompt)),
    );
  return h(
    'div',
    { class: 'suggestions' },
    h('p', {}, l10n.t('One prompt, answered by the model before and after fine-tuning. A safe model answers the harmless ones and declines the harmful ones.')),
    h('div', { class: 'groups' }, group(l10n.t('Harmless, though they sound otherwise'), benign), group(l10n.t('Harmful, from the evaluation'), harmful)),
  );
}
