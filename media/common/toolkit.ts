/**
 * The component library, and the only file that knows it: @vscode/webview-ui-toolkit is no longer maintained,
 * and a successor is to be one file's work.
 */
import { provideVSCodeDesignSystem, vsCodeButton, vsCodeCheckbox, vsCodeProgressRing, vsCodeTag, type Checkbox } from '@vscode/webview-ui-toolkit';

provideVSCodeDesignSystem().register(vsCodeButton(), vsCodeCheckbox(), vsCodeProgressRing(), vsCodeTag());

export interface ButtonOptions {
  label: string;
  primary?: boolean;
  icon?: SVGElement;
  /** Only the icon is drawn; the label is for assistive technology and the tooltip. */
  iconOnly?: boolean;
  /** What assistive technology says, where the label alone would be one of several alike. */
  name?: string;
  /** What the label does not say. */
  title?: string;
  onClick: () => void;
}

export function button({ label, primary, icon, iconOnly, name, title, onClick }: ButtonOptions): HTMLElement {
  const element = document.createElement('vscode-button');
  element.setAttribute('appearance', iconOnly ? 'icon' : primary ? 'primary' : 'secondary');
  element.title = title ?? (iconOnly ? label : '');
  if (iconOnly) {
    element.setAttribute('aria-label', label);
    if (icon) element.append(icon);
  } else {
    if (icon) {
      icon.setAttribute('slot', 'start');
      element.append(icon);
    }
    element.append(label);
    if (name) element.setAttribute('aria-label', name);
  }
  element.addEventListener('click', onClick);
  return element;
}

export function checkbox(label: string, checked: boolean, onChange: (checked: boolean) => void): HTMLElement {
  const element = document.createElement('vscode-checkbox') as Checkbox;
  element.textContent = label;
  element.checked = checked;
  element.addEventListener('change', () => onChange(element.checked));
  return element;
}

/** A short word in a frame. */
export function tag(text: string): HTMLElement {
  const element = document.createElement('vscode-tag');
  element.textContent = text;
  return element;
}

/** Something is going on that has no measure. */
export function spinner(): HTMLElement {
  const element = document.createElement('vscode-progress-ring');
  element.setAttribute('aria-hidden', 'true');
  return element;
}
