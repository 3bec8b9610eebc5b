/** Colours of the editor's theme, as canvases need them. */

/** Asking the style is slow, and charts ask for every line that they draw. */
const known = new Map<string, string>();
const listeners: (() => void)[] = [];
let observer: MutationObserver | undefined;

export function themeColour(name: string): string {
  observeTheme();
  const colour = known.get(name) ?? readColour(name);
  known.set(name, colour);
  return colour;
}

function readColour(name: string): string {
  const style = getComputedStyle(document.body);
  return style.getPropertyValue(name).trim() || style.getPropertyValue('--vscode-foreground').trim() || 'currentColor';
}

/** Gives what was coloured for another theme the colour of this one. */
export function recolour(root: Element): void {
  root.querySelectorAll<HTMLElement | SVGElement>('[data-colour]').forEach(element => {
    element.style.color = themeColour(element.dataset['colour'] ?? '');
  });
}

export function onThemeChange(listener: () => void): void {
  observeTheme();
  listeners.push(listener);
}

/** VS Code changes the body's classes and the root's variables when the theme changes. */
function observeTheme(): void {
  if (observer) return;
  observer = new MutationObserver(() => {
    known.clear();
    listeners.forEach(listener => listener());
  });
  observer.observe(document.body, { attributes: true, attributeFilter: ['class'] });
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ['style'] });
}
