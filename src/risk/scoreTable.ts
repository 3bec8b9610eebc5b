/**
 * Scores by content hash in 20 bytes a place, for millions of rows. Divided by the first two digits of the hash
 * into parts so small that growing one, or forgetting what has not been used for long, holds nobody up.
 */
export interface RowScore {
  /** The highest over the row's training pairs, in [0, 1], to six decimal places. */
  risk: number;
  /** Every answer is a refusal: safety data. */
  refusal: boolean;
  /** Index of the message that the risk is about. */
  messageIndex: number;
}

const PARTS = 256;
const FIRST_PLACES = 16;
const FULLEST = 0.75; // of a part's places: beyond it, looking takes long
/** What is left of a part that was full. */
const KEPT = 0.75;
const MILLION = 1_000_000;
const REFUSAL = 0x8000_0000;

/** 32-bit words of one score as it is kept: both halves of the hash, risk in millionths and refusal, message + 1. */
export const WORDS = 4;

export class ScoreTable {
  private parts: (Part | undefined)[] = [];
  private readonly partCapacity: number;

  /** Keeps about `capacity` scores; of more, those used last. */
  constructor(capacity: number) {
    this.partCapacity = Math.max(1, Math.floor(capacity / PARTS));
  }

  get size(): number {
    return this.parts.reduce((sum, part) => sum + (part?.size ?? 0), 0);
  }

  get(hash: string): RowScore | undefined {
    return this.parts[parseInt(hash.slice(0, 2), 16)]?.get(wordOf(hash, 0), wordOf(hash, 8));
  }

  set(hash: string, { risk, refusal, messageIndex }: RowScore): void {
    const value = Math.round(risk * MILLION) + (refusal ? REFUSAL : 0);
    this.part(wordOf(hash, 0)).set(wordOf(hash, 0), wordOf(hash, 8), value, messageIndex + 1);
  }

  clear(): void {
    this.parts = [];
  }

  /** The scores in packs of 32-bit words, `WORDS` for each. */
  *packs(): Generator<Uint32Array> {
    for (const part of this.parts) if (part) yield part.pack();
  }

  /** Takes in what another table has packed, but for what is here already; false if a score is none. */
  unpack(words: Uint32Array): boolean {
    for (let at = 0; at < words.length; at += WORDS) {
      const [high, low, value, message] = [words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!];
      if (value % REFUSAL > MILLION || message === 0) return false;
      const part = this.part(high);
      if (!part.has(high, low)) part.set(high, low, value, message);
    }
    return true;
  }

  private part(high: number): Part {
    return (this.parts[high >>> 24] ??= new Part(this.partCapacity));
  }
}

const wordOf = (hash: string, from: number): number => parseInt(hash.slice(from, from + 8), 16);

/** A hash table with open addressing: hashes are as good as random, so their last bits say where to look first. */
class Part {
  size = 0;
  private places = FIRST_PLACES;
  private high = new Uint32Array(FIRST_PLACES);
  private low = new Uint32Array(FIRST_PLACES);
  private value = new Uint32Array(FIRST_PLACES);
  /** 0 where the place is empty. */
  private message = new Uint32Array(FIRST_PLACES);
  /** When it was used last. */
  private used = new Uint32Array(FIRST_PLACES);
  private clock = 0;

  constructor(private readonly capacity: number) {}

  has(high: number, low: number): boolean {
    return this.message[this.placeOf(high, low)] !== 0;
  }

  get(high: number, low: number): RowScore | undefined {
    const place = this.placeOf(high, low);
    const message = this.message[place]!;
    if (message === 0) return undefined;
    this.used[place] = ++this.clock;
    const value = this.value[place]!;
    return { risk: (value % REFUSAL) / MILLION, refusal: value >= REFUSAL, messageIndex: message - 1 };
  }

  set(high: number, low: number, value: number, message: number): void {
    if (!this.has(high, low)) this.makeRoom();
    this.put(high, low, value, message, ++this.clock);
  }

  pack(): Uint32Array {
    const words = new Uint32Array(this.size * WORDS);
    let at = 0;
    for (let place = 0; place < this.places; place++) {
      if (this.message[place] === 0) continue;
      words.set([this.high[place]!, this.low[place]!, this.value[place]!, this.message[place]!], at);
      at += WORDS;
    }
    return words;
  }

  /** Where the hash is, or the empty place where it would be. */
  private placeOf(high: number, low: number): number {
    const last = this.places - 1; // the number of places is a power of two
    let place = low & last;
    while (this.message[place] !== 0 && (this.low[place] !== low || this.high[place] !== high)) place = (place + 1) & last;
    return place;
  }

  private put(high: number, low: number, value: number, message: number, used: number): void {
    const place = this.placeOf(high, low);
    if (this.message[place] === 0) this.size++;
    this.high[place] = high;
    this.low[place] = low;
    this.value[place] = value;
    this.message[place] = message;
    this.used[place] = used;
  }

  private makeRoom(): void {
    if (this.size >= this.capacity) this.rebuild(this.places, this.usedSince(Math.floor(KEPT * this.capacity)));
    else if (this.size >= FULLEST * this.places) this.rebuild(2 * this.places, -1);
  }

  /** The time after which no more than `count` of the scores have been used. */
  private usedSince(count: number): number {
    const times = this.used.filter((_, place) => this.message[place] !== 0).sort();
    return times[times.length - 1 - count]!;
  }

  /** Puts what was used after a time into fresh places. */
  private rebuild(places: number, after: number): void {
    const { high, low, value, message, used } = this;
    this.places = places;
    this.high = new Uint32Array(places);
    this.low = new Uint32Array(places);
    this.value = new Uint32Array(places);
    this.message = new Uint32Array(places);
    this.used = new Uint32Array(places);
    this.size = 0;
    for (let place = 0; place < message.length; place++) {
      if (message[place] === 0 || used[place]! <= after) continue;
      this.put(high[place]!, low[place]!, value[place]!, message[place]!, used[place]!);
    }
  }
}
