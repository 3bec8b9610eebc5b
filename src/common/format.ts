/** Numbers as people read them, in the language of the messages around them. */
import { decimalPoint, grouped } from './language';

const missing = '–';

const isNumber = (value: number | null | undefined): value is number =>
  value !== null && value !== undefined && Number.isFinite(value);

/** A number as programs write it, with the point of the language. */
export const written = (text: string): string => text.replace('.', decimalPoint());

export const fixed = (value: number, digits: number): string => written(value.toFixed(digits));

/** As short as it can be, with so many digits after the point at the most. */
export const short = (value: number, digits: number): string => written(String(+value.toFixed(digits)));

/** A loss, a norm: three or four digits that mean something. */
export function decimal(value: number | null | undefined): string {
  if (!isNumber(value)) return missing;
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e5)) return exponent(value);
  return fixed(value, size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : 3);
}

/** A risk or a β, in [0, 1]; a row's loss. */
export const hundredths = (value: number | null | undefined): string => (isNumber(value) ? fixed(value, 2) : missing);

export const exponent = (value: number | null | undefined): string =>
  isNumber(value) ? (value === 0 ? '0' : written(value.toExponential(1))) : missing;

/** Nats of the canary: its tenths are noise enough. */
export const tenths = (value: number | null | undefined): string => (isNumber(value) ? fixed(value, 1) : missing);

export const integer = (value: number | null | undefined): string =>
  isNumber(value) ? grouped(Math.round(value)) : missing;

export function bytes(value: number | null | undefined): string {
  if (!isNumber(value)) return missing;
  return value >= 1e9 ? `${fixed(value / 1e9, 2)} GB` : `${fixed(value / 1e6, 0)} MB`;
}

export function duration(seconds: number | null | undefined): string {
  if (!isNumber(seconds)) return missing;
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (hours) return `${hours} h ${String(minutes).padStart(2, '0')} min`;
  return minutes ? `${minutes} min ${String(rest).padStart(2, '0')} s` : `${rest} s`;
}

export const percent = (share: number | null | undefined): string => {
  if (!isNumber(share)) return missing;
  const value = 100 * share;
  return `${fixed(value, value > 0 && value < 1 ? 1 : 0)} %`;
};

/** A change with its sign, as in +2 or −1.5. */
export const signed = (value: number, digits: number): string => {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? '±0' : `${value > 0 ? '+' : '−'}${written(text)}`;
};
