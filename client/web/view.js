/** The captions as the reader sees, hears and walks through them. */

import { joined } from "./transcript.js";

/**
 * @typedef {import("./voicewire.js").Word} Word
 * @typedef {import("./transcript.js").Transcript} Transcript
 * @typedef {import("./transcript.js").Line} Line
 * @typedef {{line: Line, paragraph: HTMLElement, text: HTMLElement, count: number}} Shown
 */

/** So near to its end the text counts as read to the end. */
const NEAR_PX = 48;
/** A screen reader is told whole sentences; the newest few are kept. */
const ANNOUNCED = 5;
const SENTENCE_END = /[.?!…]["')\]”’]*$/u;

export class CaptionView {
  /** @type {WeakMap<Element, Word>} */ #wordOf = new WeakMap();
  /** @type {Shown | null} */ #shown = null;
  #tail = element("span", "tail");
  #unsaid = "";
  #following = true;
  #lastTop = 0;
  #parts;
  #describe;

  /**
   * @param {{scroller: HTMLElement, lines: HTMLElement, newest: HTMLButtonElement, tooltip: HTMLElement,
   *   announcer: HTMLElement}} parts
   * @param {(word: Word) => string} describe what to tell of a word.
   */
  constructor(parts, describe) {
    this.#parts = parts;
    this.#describe = describe;
    const { scroller, newest } = parts;
    scroller.addEventListener("scroll", () => this.#noteScroll());
    scroller.addEventListener("keydown", (event) => this.#walk(event));
    for (const type of ["pointerover", "focusin"]) {
      scroller.addEventListener(type, ({ target }) => this.#explain(/** @type {Element} */ (target)));
    }
    for (const type of ["pointerleave", "focusout"]) scroller.addEventListener(type, () => this.#explain(null));
    newest.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.#keepUp()).observe(scroller);
  }

  /** Shows what is new. @param {Transcript} transcript */
  show(transcript) {
    const line = transcript.current;
    if (line && this.#shown?.line !== line) this.#begin(line);
    if (this.#shown) {
      const { line: { words }, text } = this.#shown;
      const fresh = words.slice(this.#shown.count);
      this.#shown.count = words.length;
      text.append(...fresh.flatMap((word) => this.#spelled(word)));
      this.#tail.textContent = transcript.tail.map(({ word }) => word).join("");
      text.append(this.#tail); // always last
      this.#announce(fresh);
    }
    this.#keepUp();
  }

  /** The utterance is over. */
  endLine() {
    this.#tail.textContent = "";
    this.#say();
    this.#keepUp();
  }

  clear() {
    this.#parts.lines.replaceChildren();
    this.#parts.announcer.replaceChildren();
    this.#shown = null;
    this.#unsaid = "";
    this.follow();
  }

  /** Goes to the newest line and stays with it. */
  follow() {
    this.#following = true;
    this.#keepUp();
  }

  /** @param {Line} line */
  #begin(line) {
    if (this.#shown?.count === 0) this.#shown.paragraph.remove();
    const paragraph = element("p", "line");
    const text = element("span", "text");
    paragraph.append(text);
    this.#parts.lines.append(paragraph);
    this.#shown = { line, paragraph, text, count: 0 };
  }

  /** A word's nodes: its space stays outside, so that nothing but letters lights up. @param {Word} word */
  #spelled(word) {
    const { paragraph } = /** @type {Shown} */ (this.#shown);
    if (!paragraph.querySelector("time")) {
      const time = element("time", "at");
      time.textContent = minutes(word.start);
      time.dateTime = `PT${word.start.toFixed(1)}S`;
      paragraph.prepend(time);
    }
    const span = element("span", "word");
    span.textContent = word.word.trim();
    span.tabIndex = -1;
    this.#wordOf.set(span, word);
    return /^\s/.test(word.word) ? [" ", span] : [span];
  }

  // ---- Following

  #noteScroll() {
    const { scroller } = this.#parts;
    if (scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop < NEAR_PX) this.#following = true;
    else if (scroller.scrollTop < this.#lastTop) this.#following = false;
    this.#lastTop = scroller.scrollTop;
    this.#parts.newest.hidden = this.#following;
    this.#explain(null);
  }

  #keepUp() {
    if (this.#following) this.#parts.scroller.scrollTop = this.#parts.scroller.scrollHeight;
    this.#parts.newest.hidden = this.#following;
  }

  // ---- Words one by one

  /** Arrow keys go from word to word. @param {KeyboardEvent} event */
  #walk(event) {
    const words = [...this.#parts.lines.querySelectorAll(".word")];
    const here = document.activeElement ? words.indexOf(document.activeElement) : -1;
    const from = here < 0 ? words.length : here;
    const steps = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: words.length - 1 };
    const next = words[steps[/** @type {keyof typeof steps} */ (event.key)] ?? -1];
    if (event.key === "Escape") {
      this.#explain(null);
    } else if (next instanceof HTMLElement) {
      next.focus();
      event.preventDefault();
    }
  }

  /** @param {Element | null} target */
  #explain(target) {
    const { tooltip, scroller } = this.#parts;
    const word = target && this.#wordOf.get(target);
    for (const old of scroller.querySelectorAll("[aria-describedby]")) old.removeAttribute("aria-describedby");
    tooltip.hidden = !word;
    if (!target || !word) return;
    tooltip.textContent = this.#describe(word);
    target.setAttribute("aria-describedby", tooltip.id);
    const [place] = target.getClientRects();
    const left = place.left + place.width / 2 - tooltip.offsetWidth / 2;
    const above = place.top - tooltip.offsetHeight - 8;
    tooltip.style.left = `${Math.max(8, Math.min(innerWidth - tooltip.offsetWidth - 8, left))}px`;
    tooltip.style.top = `${above < 8 ? place.bottom + 8 : above}px`;
  }

  // ---- For ears

  /** @param {Word[]} words */
  #announce(words) {
    this.#unsaid += words.map(({ word }) => word).join("");
    if (SENTENCE_END.test(joined(words))) this.#say();
  }

  /** Settled text alone, and whole sentences: a reader that speaks every change of mind is of no use. */
  #say() {
    const { announcer } = this.#parts;
    const text = this.#unsaid.trim();
    this.#unsaid = "";
    if (text === "") return;
    const sentence = document.createElement("p");
    sentence.textContent = text;
    announcer.append(sentence);
    while (announcer.childElementCount > ANNOUNCED) announcer.firstElementChild?.remove();
  }
}

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name @param {string} className
 */
function element(name, className) {
  const made = document.createElement(name);
  made.className = className;
  return made;
}

/** @param {number} time_s */
function minutes(time_s) {
  const whole = Math.floor(time_s);
  const [hours, minute, second] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const clock = `${minute}:${String(second).padStart(2, "0")}`;
  return hours ? `${hours}:${clock.padStart(5, "0")}` : clock;
}
