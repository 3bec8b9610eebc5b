/** The page of a new run. It holds no truth: it sends what is typed and shows what it is told. */
import '../common/pageLanguage';
import '../common/base.css';
import './newrun.css';
import * as l10n from '@vscode/l10n';
import type { FromNewRun, ToNewRun } from '../../src/views/newRunProtocol';
import { h } from '../common/dom';
import { Place } from '../common/place';
import { Form } from './form';
import { previewPart } from './preview';

declare function acquireVsCodeApi(): { postMessage(message: FromNewRun): void };

const vscode = acquireVsCodeApi();
const send = (message: FromNewRun): void => vscode.postMessage(message);

const form = new Form(send);
const preview = new Place<Parameters<typeof previewPart>[0]>(view => previewPart(view, send));
preview.element.className = 'preview-place';

document.getElementById('newrun')?.append(form.element, h('section', { class: 'preview', attributes: { 'aria-labelledby': 'preview-title' } }, h('h2', { attributes: { id: 'preview-title' } }, l10n.t('What is trained, and what it costs')), preview.element));

function receive(message: ToNewRun): void {
  switch (message.type) {
    case 'form':
      return form.update(message.form);
    case 'preview':
      return preview.show(message.preview);
    default: {
      const unknown: never = message;
      throw new Error(`unknown message ${JSON.stringify(unknown)}`);
    }
  }
}

window.addEventListener('message', (event: MessageEvent<ToNewRun>) => receive(event.data));
send({ type: 'ready' });
