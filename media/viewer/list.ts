/** The rows of a view, of which only those on the screen are on the page. */
import * as l10n from '@vscode/l10n';
import { h } from '../common/dom';
import { hundredths, integer } from '../../src/common/format';
import type { ListedRow } from '../../src/views/viewerProtocol';

const ROW_PIXELS = 44;
const PAGE_ROWS = 100;
/** Browsers draw no higher elements; beyond this a pixel of the scroll bar stands for more than one. */
const MOST_PIXELS = 10_000_000;

const STATE_WORDS: Record<ListedRow['state'], string> = {
  ordinary: '',
  flagged: '',
  reviewed: l10n.t('reviewed'),
  refusal: l10n.t('refusal'),
  malformed: l10n.t('malformed'),
  failed: l10n.t('not judged'),
};

export interface ListEvents {
  /** Rows are needed that are not known, or no longer. */
  onNeed(first: number, count: number): void;
  /** Another row is chosen; undefined where there is none. */
  onChoose(row: ListedRow | undefined): void;
  /** The chosen row is wanted in full. */
  onOpen(): void;
}

export class RowList {
  readonly element: HTMLElement;
  private readonly rowsPlace = h('div', { class: 'rows' });
  private readonly height = h('div', { class: 'height' });
  private readonly pages = new Map<number, ListedRow[]>();
  private readonly stale = new Set<number>();
  private total = 0;
  /** The row at the top, in rows; may be a fraction. */
  private top = 0;
  private cursor = 0;
  /** Where the cursor is to be, once so many rows have been read. */
  private wanted = 0;
  private ownScroll = false;

  constructor(private readonly events: ListEvents) {
    this.element = h(
      'div',
      { class: 'list', attributes: { tabindex: '0', role: 'listbox', 'aria-label': l10n.t('Rows') } },
      this.height,
      this.rowsPlace,
    );
    this.element.addEventListener('scroll', () => this.onScroll());
    this.element.addEventListener('wheel', event => this.onWheel(event), { passive: false });
    // Rows are drawn anew while they are judged, so that a click may begin on one element and end on another.
    this.rowsPlace.addEventListener('pointerdown', ({ target, button }) => {
      const row = target instanceof Element ? target.closest<HTMLElement>('.row') : null;
      if (row && button === 0) this.choose(Number(row.dataset['position']));
    });
    this.rowsPlace.addEventListener('dblclick', () => this.events.onOpen());
    this.element.addEventListener('keydown', event => this.onKey(event));
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  get position(): number {
    return this.wanted;
  }

  get chosen(): ListedRow | undefined {
    return this.rowAt(this.cursor);
  }

  /** Another view, or another file. */
  clear(cursor = 0): void {
    this.pages.clear();
    this.stale.clear();
    this.total = 0;
    this.top = 0;
    this.cursor = cursor;
    this.wanted = cursor;
    this.draw();
    this.need(Math.floor(cursor / PAGE_ROWS));
  }

  /** What is known may have changed: it is asked for again, and stays until it comes. */
  refresh(): void {
    for (const page of this.pages.keys()) this.stale.add(page);
    this.draw();
    if (this.total === 0) this.need(0); // no row is drawn that would ask
  }

  put(first: number, total: number, rows: ListedRow[]): void {
    const chosen = this.chosen;
    const before = this.cursor;
    const isNew = this.total === 0;
    this.total = total;
    this.pages.set(first / PAGE_ROWS, rows);
    this.stale.delete(first / PAGE_ROWS);
    this.cursor = Math.max(0, Math.min(this.wanted, total - 1));
    if (isNew || this.cursor !== before) this.reveal();
    else this.draw();
    const now = this.chosen;
    const isSame = now?.record === chosen?.record && now?.hash === chosen?.hash && now?.state === chosen?.state && now?.risk === chosen?.risk;
    if (!isSame || total === 0) this.events.onChoose(now);
  }

  choose(position: number): void {
    if (this.total === 0) return;
    this.cursor = Math.max(0, Math.min(position, this.total - 1));
    this.wanted = this.cursor;
    this.reveal();
    this.events.onChoose(this.chosen);
  }

  private get visible(): number {
    return Math.max(1, this.element.clientHeight / ROW_PIXELS);
  }

  private get lastTop(): number {
    return Math.max(0, this.total - this.visible);
  }

  private rowAt(position: number): ListedRow | undefined {
    return this.pages.get(Math.floor(position / PAGE_ROWS))?.[position % PAGE_ROWS];
  }

  private reveal(): void {
    if (this.cursor < this.top) this.top = this.cursor;
    else if (this.cursor + 1 > this.top + this.visible) this.top = this.cursor + 1 - this.visible;
    this.draw();
  }

  private need(page: number): void {
    this.events.onNeed(page * PAGE_ROWS, PAGE_ROWS);
  }

  private onScroll(): void {
    if (this.ownScroll) {
      this.ownScroll = false;
      return;
    }
    const room = this.element.scrollHeight - this.element.clientHeight;
    this.top = room <= 0 ? 0 : (this.element.scrollTop / room) * this.lastTop;
    this.draw(false);
  }

  private onWheel(event: WheelEvent): void {
    if (this.total * ROW_PIXELS <= MOST_PIXELS || event.ctrlKey) return; // the browser does it better
    event.preventDefault();
    this.top += event.deltaY / ROW_PIXELS;
    this.draw();
  }

  private onKey(event: KeyboardEvent): void {
    const screen = Math.max(1, Math.floor(this.visible) - 1);
    const moves: Record<string, () => void> = {
      ArrowUp: () => this.choose(this.cursor - 1),
      ArrowDown: () => this.choose(this.cursor + 1),
      PageUp: () => this.choose(this.cursor - screen),
      PageDown: () => this.choose(this.cursor + screen),
      Home: () => this.choose(0),
      End: () => this.choose(this.total - 1),
      Enter: () => this.events.onOpen(),
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  }

  private draw(moveBar = true): void {
    this.top = Math.max(0, Math.min(this.top, this.lastTop));
    this.height.style.height = `${Math.min(this.total * ROW_PIXELS, MOST_PIXELS)}px`;
    const room = this.element.scrollHeight - this.element.clientHeight;
    const wanted = this.lastTop === 0 ? 0 : (this.top / this.lastTop) * room;
    if (moveBar && Math.abs(this.element.scrollTop - wanted) > 1) {
      this.ownScroll = true;
      this.element.scrollTop = wanted;
    }
    const first = Math.floor(this.top);
    const last = Math.min(this.total, Math.ceil(this.top + this.visible) + 1);
    const shown: HTMLElement[] = [];
    const pages = new Set<number>();
    for (let position = first; position < last; position++) {
      pages.add(Math.floor(position / PAGE_ROWS));
      shown.push(this.item(position));
    }
    // What the screen reader is told to be chosen must be on the page.
    if (this.cursor < this.total && (this.cursor < first || this.cursor >= last)) {
      const away = this.item(this.cursor);
      away.classList.add('unseen');
      shown.push(away);
    }
    this.rowsPlace.replaceChildren(...shown);
    this.rowsPlace.style.transform = `translateY(${this.element.scrollTop - (this.top - first) * ROW_PIXELS}px)`;
    this.element.setAttribute('aria-activedescendant', `row-${this.cursor}`);
    for (const page of pages) if (!this.pages.has(page) || this.stale.delete(page)) this.need(page);
    // Pages far away are asked for again when they are looked at.
    for (const page of this.pages.keys()) if (this.pages.size > 50 && !pages.has(page) && page !== Math.floor(this.cursor / PAGE_ROWS)) this.pages.delete(page);
  }

  private item(position: number): HTMLElement {
    const row = this.rowAt(position);
    const element = h('div', {
      class: `row ${row?.state ?? 'waiting'}`,
      attributes: { role: 'option', id: `row-${position}`, 'aria-selected': String(position === this.cursor), 'aria-setsize': String(this.total), 'aria-posinset': String(position + 1) },
    });
    element.dataset['position'] = String(position);
    if (!row) return element;
    const isJudged = row.risk !== undefined && row.state !== 'refusal';
    const bar = h('span', { class: 'risk number' }, unseen(isJudged ? `${l10n.t('risk')} ` : `${l10n.t('risk')}: `), isJudged ? hundredths(row.risk) : '–');
    if (isJudged) bar.style.setProperty('--risk', String(row.risk));
    element.append(
      bar,
      h('span', { class: 'line number' }, unseen(`, ${l10n.t('line')} `), integer(row.line)),
      unseen(': '),
      h('span', { class: 'texts' }, h('span', { class: 'prompt' }, row.prompt || row.answer), h('span', { class: 'answer' }, row.prompt ? row.answer : '')),
    );
    const words = [STATE_WORDS[row.state], ...row.labels].filter(Boolean).join(' · ');
    if (words) element.append(h('span', { class: 'state' }, words));
    return element;
  }
}

/** For those who hear the row. */
const unseen = (text: string): HTMLElement => h('span', { class: 'unseen' }, text);
