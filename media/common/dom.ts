/** Building and changing the page. Text only ever goes in as text. */

type Child = Node | string | null | undefined | false;

interface Properties {
  class?: string;
  title?: string;
  hidden?: boolean;
  onclick?: (event: MouseEvent) => void;
  /** Any attribute, `aria-…` and `role` among them. */
  attributes?: Record<string, string>;
}

export function h<K extends keyof HTMLElementTagNameMap>(
  name: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  if (properties.class) element.className = properties.class;
  if (properties.title) element.title = properties.title;
  if (properties.hidden) element.hidden = true;
  if (properties.onclick) element.onclick = properties.onclick;
  for (const [key, value] of Object.entries(properties.attributes ?? {})) element.setAttribute(key, value);
  element.append(...children.filter(child => child instanceof Node || typeof child === 'string'));
  return element;
}

/** A message with elements in the place of its numbered placeholders. */
export const around = (message: string, ...elements: Element[]): Child[] => message.split(/\{(\d)\}/).map((part, index) => (index % 2 ? elements[Number(part)] : part));

/** Writes only what is new, so that nothing is laid out or read aloud again without need. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Our own drawings on a 16 × 16 grid, in the text's colour. */
const shapes = {
  play: 'M4 2.5v11l9-5.5z',
  pause: 'M4 3h3v10H4zM9 3h3v10H9z',
  stop: 'M3.5 3.5h9v9h-9z',
  close: 'M3.4 4.5l1.1-1.1L8 6.9l3.5-3.5 1.1 1.1L9.1 8l3.5 3.5-1.1 1.1L8 9.1l-3.5 3.5-1.1-1.1L6.9 8z',
  restart: 'M8 3V1L4.5 4 8 7V4.8A3.6 3.6 0 1 1 4.4 8.4H2.6A5.4 5.4 0 1 0 8 3z',
  log: 'M3 2h10v12H3zM5 5v1.2h6V5zm0 3v1.2h6V8zm0 3v1.2h4V11z',
  check: 'M6.3 12.3L2.2 8.2l1.2-1.2 2.9 2.9 6.3-6.3 1.2 1.2z',
  warning: 'M8 1.5L15 14H1zM7.2 6v4h1.6V6zm0 5.2v1.5h1.6v-1.5z',
  error: 'M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM7.2 4.5v5h1.6v-5zm0 6v1.6h1.6v-1.6z',
  dot: 'M8 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8z',
  slash: 'M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zm0 1.6a4.9 4.9 0 0 0-3.8 8L11 4.2A4.9 4.9 0 0 0 8 3.1zm3.9 2.1L5 11.8a4.9 4.9 0 0 0 6.9-6.6z',
  unplugged: 'M7.2 1.5h1.6v6H7.2zM4.6 3.4l1 1.3a4.1 4.1 0 1 0 4.8 0l1-1.3a5.7 5.7 0 1 1-6.8 0z',
  folder: 'M1.5 3h5l1.5 1.6h6.5V13h-13z',
  file: 'M3 1.5h6.5L13 5v9.5H3zM9 3v2.6h2.6z',
  save: 'M2.5 2h9L14 4.5V14H2.5zM5 3.5v3h5v-3zM5 9v3.5h6V9z',
  tools: 'M2 11.8l5-5a3.6 3.6 0 0 1 4.9-4.4L9.6 4.7l1.7 1.7 2.3-2.3a3.6 3.6 0 0 1-4.4 4.9l-5 5z',
  speech: 'M1.5 2.5h13v8.5H8.3L5 14v-3H1.5zM3.1 4.1v5.3h9.8V4.1z',
  send: 'M2 2l12.5 6L2 14l1.6-5.2L9 8 3.6 7.2z',
  copy: 'M5.5 1.5h8v10h-2v3h-9v-10h3zM7.1 3.1v6.8h4.8V3.1zM5.5 6.1H4.1v6.8h5.8v-1.4H5.5z',
  trash: 'M6 1.5h4v1.2h3.5v1.5h-11V2.7H6zM3.6 5.2h8.8l-.6 9.3H4.2zM6 6.8v6h1.1v-6zm2.9 0v6H10v-6z',
  note: 'M2.5 2h11v8.5L10 14H2.5zM5 5v1.2h6V5zm0 2.6v1.2h6V7.6zM9.8 12.6v-2.2h2.2z',
  gauge: 'M1.5 11.5a6.5 6.5 0 0 1 13 0H13a5 5 0 0 0-10 0zM10.9 5.6l1 1L9.2 10.2a1.5 1.5 0 1 1-2-1.4z',
  shield: 'M8 1.2l5.5 2v4.3c0 3.4-2.3 5.7-5.5 7.3-3.2-1.6-5.5-3.9-5.5-7.3V3.2z',
  chart: 'M2 2h1.4v10.6H14V14H2zM4.6 10l2.9-4.2 2.3 2.1 3-4.6 1.2.8-4 6-2.3-2.1L5.8 10.8z',
  picture: 'M2 3h12v10H2zM3.4 4.4v6l3-3.2 2.2 2.4 1.4-1.4 2.6 2.8V4.4zM10.6 5.6a1.2 1.2 0 1 1 0 2.4 1.2 1.2 0 0 1 0-2.4z',
  download: 'M7.2 2h1.6v6l2.2-2.2 1.1 1.1L8 11 3.9 6.9 5 5.8 7.2 8zM3 12.4h10V14H3z',
} as const;

export type IconName = keyof typeof shapes;

export function icon(name: IconName): SVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const shape = document.createElementNS(space, 'path');
  shape.setAttribute('d', shapes[name]);
  shape.setAttribute('fill-rule', 'evenodd');
  svg.append(shape);
  return svg;
}
