/** A piece of a line, for legends. */
import { themeColour } from './theme';

const width = 18;

export function lineSample(colour: string, dash: readonly number[] = []): SVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('class', 'sample');
  svg.setAttribute('viewBox', `0 0 ${width} 4`);
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('data-colour', colour);
  svg.style.color = themeColour(colour);
  const line = document.createElementNS(space, 'path');
  line.setAttribute('d', `M0 2h${width}`);
  line.setAttribute('stroke', 'currentColor');
  line.setAttribute('stroke-width', '2');
  line.setAttribute('stroke-dasharray', dash.join(' '));
  svg.append(line);
  return svg;
}
