/**
 * Reads a line of JSON whose every byte but those of its values is known: what the trainer writes. It understands less
 * than JSON.parse, and whatever looks any different fails; what it reads is what JSON.parse would.
 */
const [zero, nine, minus, plus, dot, comma, quote, backslash, opening, closing] = [48, 57, 45, 43, 46, 44, 34, 92, 91, 93];

/** Numbers of so many digits are exact in two parts, and so are these powers of ten. */
const mostDigits = 17;
const digitsOfPart = 9;
const powersOfTen = Float64Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
const powerOf = (exponent: number): number => powersOfTen[exponent] as number;

export type ListKind = 'integer' | 'integerOrNull' | 'number' | 'numberOrNull' | 'string';

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const nullBytes = bytesOf('null');

export class LineScan {
  /** Where each list that was read begins and ends, in their text. */
  places: number[] = [];
  private listsFrom = 0;
  private at = 0;
  private end = 0;
  private failed = false;

  constructor(readonly bytes: Buffer) {}

  /** Begins with the line between two places. */
  line(from: number, to: number): this {
    this.at = from;
    this.end = to;
    this.failed = false;
    this.places = [];
    return this;
  }

  /** From the first list to here: what is read keeps this and not the bytes, which may be written over. */
  get listsText(): string {
    return this.bytes.toString('latin1', this.listsFrom, this.at);
  }

  /** Everything was as expected, to the line's last byte. */
  get succeeded(): boolean {
    return !this.failed && this.at === this.end;
  }

  literal(expected: Uint8Array): void {
    if (!this.failed && !this.skip(expected)) this.failed = true;
  }

  numberOrNull(): number | null {
    return this.skip(nullBytes) ? null : this.number();
  }

  integerOrNull(minimum = -Infinity): number | null {
    return this.skip(nullBytes) ? null : this.integer(minimum);
  }

  integer(minimum = -Infinity): number {
    const from = this.at;
    this.skipNumber(false);
    const value = this.failed ? NaN : this.valueFrom(from);
    if (value < minimum) this.failed = true;
    return value;
  }

  number(): number {
    const from = this.at;
    this.skipNumber(true);
    return this.failed ? NaN : this.valueFrom(from);
  }

  list(kind: ListKind): void {
    const from = this.at;
    if (this.places.length === 0) this.listsFrom = from;
    if (this.bytes[this.at++] !== opening) this.failed = true;
    if (this.bytes[this.at] === closing) this.at++;
    else this.items(kind);
    this.places.push(from - this.listsFrom, this.at - this.listsFrom);
  }

  private items(kind: ListKind): void {
    const mayHaveFraction = kind === 'number' || kind === 'numberOrNull';
    const mayBeNull = kind === 'integerOrNull' || kind === 'numberOrNull';
    do {
      if (kind === 'string') this.skipString();
      else if (!mayBeNull || !this.skip(nullBytes)) this.skipNumber(mayHaveFraction);
    } while (!this.failed && this.bytes[this.at++] === comma);
    if (this.bytes[this.at - 1] !== closing) this.failed = true;
  }

  private skip(expected: Uint8Array): boolean {
    const { bytes, at } = this;
    for (let index = 0; index < expected.length; index++) {
      if (bytes[at + index] !== expected[index]) return false;
    }
    this.at = at + expected.length;
    return true;
  }

  /** Of printable ASCII without escapes. */
  private skipString(): void {
    const { bytes } = this;
    let at = this.at;
    if (bytes[at++] !== quote) this.failed = true;
    for (let byte = bytes[at] as number; byte !== quote; byte = bytes[++at] as number) {
      if (at >= this.end || byte < 32 || byte > 126 || byte === backslash) {
        this.failed = true;
        break;
      }
    }
    this.at = at + 1;
  }

  /** Reads over a number that is surely finite. */
  private skipNumber(mayHaveFraction: boolean): void {
    const { bytes } = this;
    let at = this.at;
    if (bytes[at] === minus) at++;
    const first = at;
    at = afterDigits(bytes, at);
    const digits = at - first;
    if (digits === 0 || digits > 15 || (digits > 1 && bytes[first] === zero)) this.failed = true;
    if (mayHaveFraction) {
      if (bytes[at] === dot) {
        const point = at;
        at = afterDigits(bytes, at + 1);
        if (at === point + 1) this.failed = true;
      }
      if (((bytes[at] as number) | 32) === 101) at = this.afterExponent(at + 1);
    }
    this.at = at;
  }

  private afterExponent(at: number): number {
    const sign = this.bytes[at];
    const first = sign === plus || sign === minus ? at + 1 : at;
    const after = afterDigits(this.bytes, first);
    if (after === first || after > first + 2) this.failed = true;
    return after;
  }

  /** The number between a place and the present one. */
  private valueFrom(from: number): number {
    const { bytes, at: to } = this;
    const negative = bytes[from] === minus;
    let [high, low, digits, decimals, lowDigits] = [0, 0, 0, 0, 0];
    let hasPoint = false;
    for (let at = negative ? from + 1 : from; at < to; at++) {
      const byte = bytes[at] as number;
      if (byte === dot) {
        hasPoint = true;
        continue;
      }
      if (byte < zero || byte > nine) return this.parsed(from); // an exponent
      if (hasPoint) decimals++;
      if (digits > 0 || byte !== zero) digits++;
      if (digits <= digitsOfPart) high = high * 10 + (byte - zero);
      else {
        low = low * 10 + (byte - zero);
        lowDigits++;
      }
    }
    if (digits > mostDigits || decimals >= powersOfTen.length) return this.parsed(from);
    const value = quotient(high * powerOf(lowDigits), low, powerOf(decimals));
    if (Number.isNaN(value)) return this.parsed(from);
    return negative ? -value : value;
  }

  private parsed(from: number): number {
    return Number(String.fromCharCode(...this.bytes.subarray(from, this.at)));
  }
}

function afterDigits(bytes: Uint8Array, from: number): number {
  let at = from;
  while ((bytes[at] as number) >= zero && (bytes[at] as number) <= nine) at++;
  return at;
}

/**
 * (high + low) / divisor, rounded once; NaN where that is not certain. The parts are exact, and so is each error here
 * (Dekker 1971), so that the quotient is known in twice the precision before it is rounded.
 */
function quotient(high: number, low: number, divisor: number): number {
  const sum = high + low;
  if (sum <= Number.MAX_SAFE_INTEGER) return sum / divisor;
  const lost = low - (sum - high);
  const first = sum / divisor;
  const second = (remainder(sum, first, divisor) + lost) / divisor;
  const value = first + second;
  const margin = Math.abs(second) * 2 ** -40;
  return first + (second + margin) === value && first + (second - margin) === value ? value : NaN;
}

/** sum − first·divisor, exactly: by halves of the factors, whose products are exact. */
function remainder(sum: number, first: number, divisor: number): number {
  const [firstHigh, divisorHigh] = [upperHalf(first), upperHalf(divisor)];
  const [firstLow, divisorLow] = [first - firstHigh, divisor - divisorHigh];
  const product = first * divisor;
  const error = firstLow * divisorLow - (product - firstHigh * divisorHigh - firstLow * divisorHigh - firstHigh * divisorLow);
  return sum - product - error;
}

function upperHalf(value: number): number {
  const scaled = 134_217_729 * value; // 2^27 + 1
  return scaled - (scaled - value);
}
