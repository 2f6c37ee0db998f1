/** How long after it was spoken a word is shown, how long until it is settled, and how much audio waits. */

/** @typedef {import("./voicewire.js").Transcript} TranscriptMessage */

const KEPT_S = 120;

export class DelayMeter {
  /** @type {{position_s: number, at_ms: number}[]} when the audio up to a place was heard. */
  #marks = [];
  /** @type {Map<number, {name: string, at_ms: number}>} what stands behind the settled words, and since when. */
  #shown = new Map();
  #count = 0;
  /** @type {WeakMap<object, {shown_s: number, settled_s: number}>} */ #delays = new WeakMap();

  /** The audio up to here has just been heard. @param {number} position_s */
  mark(position_s, at_ms = performance.now()) {
    this.#marks.push({ position_s, at_ms });
    while (position_s - this.#marks[0].position_s > KEPT_S) this.#marks.shift();
  }

  /**
   * @param {TranscriptMessage} message
   * @returns {{shown_s: number, settled_s: number}[]} of the words that were settled with it.
   */
  add({ words, tail }, now_ms = performance.now()) {
    const found = [];
    for (const word of words) {
      const name = nameOf(word.word);
      if (name === "") continue;
      const spoken_ms = this.#spokenAt(word.end);
      const seen = this.#shown.get(this.#count);
      this.#shown.delete(this.#count++);
      const shown_ms = seen && seen.name === name ? seen.at_ms : now_ms;
      const delay = { shown_s: (shown_ms - spoken_ms) / 1000, settled_s: (now_ms - spoken_ms) / 1000 };
      this.#delays.set(word, delay);
      found.push(delay);
    }
    const names = tail.map(({ word }) => nameOf(word)).filter((name) => name !== "");
    const before = this.#shown;
    this.#shown = new Map(
      names.map((name, index) => {
        const seen = before.get(this.#count + index);
        return [this.#count + index, seen && seen.name === name ? seen : { name, at_ms: now_ms }];
      }),
    );
    return found;
  }

  /** The delays of a settled word. @param {object} word */
  of(word) {
    return this.#delays.get(word);
  }

  /** @param {number} time_s on the stream's clock. */
  #spokenAt(time_s) {
    let [low, high] = [0, this.#marks.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#marks[middle].position_s < time_s) low = middle + 1;
      else high = middle;
    }
    const mark = this.#marks[low];
    return mark ? mark.at_ms - (mark.position_s - time_s) * 1000 : performance.now();
  }
}

/** What a word is called: a comma that comes late makes it no other one. @param {string} text */
function nameOf(text) {
  return text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
}

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted.length ? sorted[sorted.length >> 1] : NaN;
}
