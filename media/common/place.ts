/** A part of the page that is made anew only when what it shows has changed. */
import { h } from './dom';

export class Place<View> {
  readonly element = h('div');
  private shown = 'null';
  private cameFrom: HTMLElement | undefined;

  constructor(private readonly make: (view: View) => Node | null) {
    this.element.addEventListener('focusin', ({ relatedTarget }) => {
      if (relatedTarget instanceof HTMLElement && !this.element.contains(relatedTarget)) this.cameFrom = relatedTarget;
    });
  }

  /** The focus stays on the control that has it; where that is gone, it goes back to where it came from. */
  show(view: View | null): void {
    const stamp = JSON.stringify(view);
    if (stamp === this.shown) return;
    this.shown = stamp;
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    const made = view && this.make(view);
    this.element.replaceChildren(...(made ? [made] : []));
    if (!focused) return;
    const same = [...this.element.querySelectorAll<HTMLElement>(focused.localName)].find(control => nameOf(control) === nameOf(focused));
    (same ?? this.cameFrom)?.focus();
  }
}

/** Buttons of a list are told apart by what stands beside them. */
const nameOf = (control: Element): string | null => (control.closest('li') ?? control).textContent;
