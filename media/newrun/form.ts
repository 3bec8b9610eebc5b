/** The form's fields. Inputs are the browser's own: their descriptions and errors belong to them for every reader. */
import * as l10n from '@vscode/l10n';
import type { FieldName, MethodCard } from '../../src/views/newRunModel';
import type { FieldView, FormView, FromNewRun, SettingView } from '../../src/views/newRunProtocol';
import { h, icon, setText } from '../common/dom';
import { Place } from '../common/place';
import { button } from '../common/toolkit';

type Send = (message: FromNewRun) => void;

export class Form {
  readonly element = h('form', { attributes: { 'aria-label': l10n.t('New run'), novalidate: '' } });
  private parts: FormParts | undefined;

  constructor(private readonly send: Send) {
    this.element.addEventListener('submit', event => event.preventDefault());
  }

  update(view: FormView): void {
    if (!this.parts) {
      this.parts = new FormParts(view, this.send);
      this.element.append(...this.parts.elements);
    }
    this.parts.update(view);
  }
}

class FormParts {
  readonly elements: HTMLElement[];
  private readonly model: Field;
  private readonly dataset: Field;
  private readonly name: Field;
  private readonly settings: Map<FieldName, Field>;
  private readonly methods: Methods;
  private readonly nameColumns: Place<object>;
  private readonly untrusted: Place<object>;
  private readonly create: HTMLElement;
  private readonly start: HTMLElement;

  constructor(view: FormView, send: Send) {
    const type = (field: FieldName) => (text: string) => send({ type: 'change', field, text });
    const choose = (label: string, message: FromNewRun) => button({ label: l10n.t('Choose…'), name: label, onClick: () => send(message) });
    this.model = new Field('model', l10n.t('Model'), type('model'), { beside: choose(l10n.t('Choose model'), { type: 'chooseModel' }) });
    this.dataset = new Field('dataset', l10n.t('Dataset'), type('dataset'), { beside: choose(l10n.t('Choose dataset'), { type: 'chooseDataset' }) });
    this.name = new Field('name', l10n.t('Name'), type('name'));
    this.settings = new Map(view.settings.map(({ key, label, description, usual }) => [key, new Field(key, label, type(key), { description, usual })]));
    this.methods = new Methods(view, method => send({ type: 'change', field: 'method', text: method }));
    this.nameColumns = new Place(() => button({ label: l10n.t('Name Columns…'), onClick: () => send({ type: 'nameColumns' }) }));
    this.untrusted = new Place(() =>
      h('p', { class: 'problem' }, icon('shield'), h('span', {}, l10n.t('This workspace is not trusted: the configuration can be written, but no process is started.')), button({ label: l10n.t('Manage Workspace Trust'), onClick: () => send({ type: 'manageTrust' }) })),
    );
    this.start = button({ label: l10n.t('Create and Start'), primary: true, onClick: () => send({ type: 'create', start: true }) });
    this.create = button({ label: l10n.t('Create Configuration'), onClick: () => send({ type: 'create', start: false }) });
    this.elements = [
      h('h1', {}, l10n.t('New run')),
      this.untrusted.element,
      this.model.element,
      this.dataset.element,
      this.nameColumns.element,
      this.methods.element,
      h('fieldset', { class: 'settings' }, h('legend', {}, l10n.t('Settings')), ...[...this.settings.values()].map(({ element }) => element)),
      this.name.element,
      h('div', { class: 'actions' }, this.start, this.create),
    ];
  }

  update({ trusted, model, dataset, name, settings, method, complete }: FormView): void {
    this.untrusted.show(trusted ? null : {});
    this.model.update(model);
    this.dataset.update(dataset);
    this.nameColumns.show(dataset.nameColumns ? {} : null);
    this.name.update(name);
    for (const setting of settings) this.settings.get(setting.key)?.update(setting);
    this.methods.update(method);
    this.create.toggleAttribute('disabled', !complete);
    this.start.toggleAttribute('disabled', !complete || !trusted);
  }
}

interface FieldOptions {
  beside?: HTMLElement;
  description?: SettingView['description'];
  usual?: SettingView['usual'];
}

/** A text with its label, what it is for, what is known of it and what is wrong with it. */
class Field {
  readonly element: HTMLElement;
  private readonly input: HTMLInputElement;
  private readonly note = h('p', { class: 'note' });
  private readonly problem = h('p', { class: 'field-problem', attributes: { 'aria-live': 'polite' } });

  constructor(
    name: FieldName,
    label: string,
    onType: (text: string) => void,
    { beside, description, usual }: FieldOptions = {},
  ) {
    const id = name.replace('.', '-');
    this.note.id = `${id}-note`;
    this.problem.id = `${id}-problem`;
    const about = h('p', { class: 'note', attributes: { id: `${id}-about` } }, description, usual && ` ${l10n.t`Usually ${usual}.`}`);
    const describedBy = [description && about.id, this.note.id, this.problem.id].filter(Boolean).join(' ');
    const numeric: Record<string, string> = description === undefined ? {} : { inputmode: 'decimal', placeholder: usual || l10n.t('none') };
    this.input = h('input', { attributes: { id, type: 'text', spellcheck: 'false', autocomplete: 'off', 'aria-describedby': describedBy, ...numeric } });
    this.input.addEventListener('input', () => onType(this.input.value));
    this.element = h('div', { class: description === undefined ? 'field wide' : 'field' }, h('label', { attributes: { for: id } }, label), h('div', { class: 'input' }, this.input, beside), description !== undefined && about, this.note, this.problem);
  }

  update({ text, note, problem }: FieldView): void {
    if (document.activeElement !== this.input && this.input.value !== text) this.input.value = text;
    setText(this.note, note);
    this.note.hidden = note === '';
    this.input.setAttribute('aria-invalid', String(problem !== null));
    if (this.problem.textContent !== (problem ?? '')) this.problem.replaceChildren(...(problem === null ? [] : [icon('error'), h('span', {}, problem)]));
  }
}

/** A card for each method, the baselines folded. */
class Methods {
  readonly element: HTMLElement;
  private readonly inputs: HTMLInputElement[];
  private readonly folded: HTMLDetailsElement;

  constructor({ methods, baselines }: FormView, onChoose: (method: string) => void) {
    const cards = [...methods, ...baselines].map(card => methodCard(card, card === methods[0], () => onChoose(card.method)));
    this.inputs = cards.map(({ input }) => input);
    const elements = cards.map(({ element }) => element);
    this.folded = h('details', {}, h('summary', {}, l10n.t`Baselines, to compare with (${baselines.length})`), h('div', { class: 'cards' }, ...elements.slice(methods.length)));
    this.element = h('fieldset', {}, h('legend', {}, l10n.t('Method')), h('div', { class: 'cards' }, ...elements.slice(0, methods.length)), this.folded);
  }

  update(method: string): void {
    for (const input of this.inputs) input.checked = input.value === method;
    if (this.inputs.some(input => input.checked && this.folded.contains(input))) this.folded.open = true;
  }
}

function methodCard({ method, what, when, cost }: MethodCard, isFirst: boolean, onChoose: () => void): { element: HTMLElement; input: HTMLInputElement } {
  const input = h('input', { attributes: { type: 'radio', name: 'method', value: method, 'aria-describedby': `method-${method}` } });
  input.addEventListener('change', onChoose);
  const element = h(
    'label',
    { class: 'card' },
    input,
    h('span', { class: 'card-name' }, method === 'recommended' ? l10n.t('Recommended') : method, isFirst && h('span', { class: 'note' }, ` ${l10n.t('what a configuration without a method gets')}`)),
    h('span', { class: 'card-text', attributes: { id: `method-${method}` } }, h('span', {}, what), h('span', { class: 'note' }, l10n.t`When: ${when} Extra cost: ${cost}`)),
  );
  return { element, input };
}
