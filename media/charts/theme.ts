/** Colours of the editor's theme, as canvases need them. */

export const themeColour = (name: string): string =>
  getComputedStyle(document.body).getPropertyValue(name).trim() ||
  getComputedStyle(document.body).getPropertyValue('--vscode-foreground').trim() ||
  'currentColor';

/** Gives what was coloured for another theme the colour of this one. */
export function recolour(root: Element): void {
  root.querySelectorAll<HTMLElement | SVGElement>('[data-colour]').forEach(element => {
    element.style.color = themeColour(element.dataset['colour'] ?? '');
  });
}

/** VS Code changes the body's classes and the root's variables when the theme changes. */
export function onThemeChange(listener: () => void): void {
  const observer = new MutationObserver(listener);
  observer.observe(document.body, { attributes: true, attributeFilter: ['class'] });
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ['style'] });
}
