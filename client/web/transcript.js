/** What has been said so far: committed words by utterance, and the tail that may still change. */

/**
 * @typedef {import("./voicewire.js").Word} Word
 * @typedef {import("./voicewire.js").Transcript} TranscriptMessage
 * @typedef {{utterance: number, words: Word[]}} Line one utterance's committed words.
 */

export class Transcript {
  /** @type {Line[]} */ lines = [];
  /** @type {Word[]} */ tail = [];
  duration_s = 0;
  #isOver = true;

  get words() {
    return this.lines.flatMap(({ words }) => words);
  }

  /** The line that the next words belong to; null where an utterance is over and the next has not begun. */
  get current() {
    return this.#isOver ? null : (this.lines.at(-1) ?? null);
  }

  /** @param {TranscriptMessage} message */
  add(message) {
    this.duration_s = Math.max(this.duration_s, message.audio_received);
    this.tail = message.tail;
    if (message.words.length === 0 && message.tail.length === 0) return;
    if (this.#isOver || this.lines.at(-1)?.utterance !== message.utterance) {
      if (this.lines.at(-1)?.words.length === 0) this.lines.pop();
      this.lines.push({ utterance: message.utterance, words: [] });
      this.#isOver = false;
    }
    /** @type {Line} */ (this.lines.at(-1)).words.push(...message.words);
  }

  /** The utterance is over: what comes next begins a line. */
  endLine() {
    this.tail = [];
    this.#isOver = true;
  }
}

/** @param {Word[]} words */
export function joined(words) {
  return words.map(({ word }) => word).join("").trim();
}
