/** A part of a document as one text, moved along: one text of all of it takes longer to make than the editor's host may be blocked. */
import { placeIn, type LineSource, type Place } from './format';

export interface TextSource extends LineSource {
  /** Of lines from one to another, which is not among them: each with its line end. */
  textOf: (from: number, to: number) => string;
}

const windowCharacters = 128 * 1024;

export class TextWindow {
  /** Whole lines from wherever it begins. */
  text = '';
  private nextLine = 0;
  /** The last place that was asked for. */
  private known: { offset: number; place: Place } = { offset: 0, place: { line: 0, character: 0 } };

  constructor(private readonly source: TextSource) {
    this.take(windowCharacters);
  }

  /** Whether the text goes to the document's end. */
  get isLast(): boolean {
    return this.nextLine === this.source.lineCount;
  }

  /** Where `at` is now that there is enough text behind it; what stands before it may have gone. */
  moveTo(at: number): number {
    if (this.isLast || this.text.length - at > windowCharacters / 2) return at;
    this.known = { offset: 0, place: this.placeOf(at) };
    this.text = this.text.slice(at);
    this.take(windowCharacters);
    return 0;
  }

  /** Takes in as much again, for what does not fit. */
  grow(): void {
    this.take(this.text.length);
  }

  /** What `look` finds in the text, with more and more of the document where that is too little; undefined where all of it is. */
  find<T>(look: (text: string) => T | undefined): T | undefined {
    for (;;) {
      const found = look(this.text);
      if (found !== undefined || this.isLast) return found;
      this.grow();
    }
  }

  /** In the document; no earlier than the last one. */
  placeOf(at: number): Place {
    const { offset, place } = this.known;
    this.known = { offset: at, place: placeIn({ start: place, text: this.text.slice(offset, at) }, at - offset) };
    return this.known.place;
  }

  private take(characters: number): void {
    const { lineCount, lineAt, textOf } = this.source;
    const from = this.nextLine;
    for (let taken = 0; taken < characters && this.nextLine < lineCount; this.nextLine++) taken += lineAt(this.nextLine).length + 1;
    this.text += textOf(from, this.nextLine);
  }
}
