/** What the reader or the page's address asks for. The address wins and is not remembered; choices are. */

const STORE = "voicewire";

/** Name: the values that it may have, the default first. */
const CHOICES = {
  theme: ["auto", "light", "dark"],
  contrast: ["normal", "high"],
  size: ["normal", "large", "largest"],
  preset: ["accurate", "balanced", "fast"],
  tokens: ["off", "on"],
};

/** How much is heard before something is said, and before it is settled. */
export const PRESETS = {
  fast: { chunk_ms: 100, commit_ms: 400 },
  balanced: { chunk_ms: 200, commit_ms: 600 },
  accurate: { chunk_ms: 300, commit_ms: 1200 },
};

export class Preferences {
  /** @type {Record<string, string>} */ #chosen = {};
  #address;

  /** @param {string} search of the page's address. */
  constructor(search) {
    this.#address = new URLSearchParams(search);
    try {
      this.#chosen = JSON.parse(localStorage.getItem(STORE) ?? "{}");
    } catch {
      // No memory, as in a private window: the defaults will do.
    }
  }

  /** @param {keyof typeof CHOICES} name @returns {string} */
  get(name) {
    const allowed = CHOICES[name];
    return [this.#address.get(name), this.#chosen[name]].find((value) => value && allowed.includes(value)) ?? allowed[0];
  }

  /** @param {keyof typeof CHOICES} name @param {string} value */
  set(name, value) {
    this.#address.delete(name);
    this.#chosen[name] = value;
    try {
      localStorage.setItem(STORE, JSON.stringify(this.#chosen));
    } catch {
      // Not remembered, then.
    }
  }

  /** Puts what concerns looks on the root, where the style sheet finds it. @param {HTMLElement} root */
  dress(root) {
    root.dataset.theme = this.get("theme");
    root.dataset.contrast = matchMedia("(prefers-contrast: more)").matches ? "high" : this.get("contrast");
    root.dataset.size = this.get("size");
  }

  get isOverlay() {
    return this.#flag("overlay");
  }

  get startsItself() {
    return this.isOverlay || this.#flag("start");
  }

  get language() {
    return this.#address.get("language") ?? "en";
  }

  /** A microphone's id, or a part of its name. */
  get device() {
    return this.#address.get("device") ?? "";
  }

  /** Lines of an overlay. */
  get lines() {
    return this.#number("lines", 2, 1, 8);
  }

  /** Seconds without news after which an overlay shows nothing; 0 is never. */
  get clear_s() {
    return this.#number("clear", 8, 0, 3600);
  }

  /** The colour behind an overlay, for a chroma key; transparent where there is none. */
  get background() {
    const hex = this.#address.get("background") ?? "";
    return /^([0-9a-f]{3}|[0-9a-f]{6})$/i.test(hex) ? `#${hex}` : "transparent";
  }

  /** @param {string} name */
  #flag(name) {
    const value = this.#address.get(name);
    return value !== null && !["0", "false", "off"].includes(value);
  }

  /** @param {string} name @param {number} otherwise @param {number} least @param {number} most */
  #number(name, otherwise, least, most) {
    const value = Number(this.#address.get(name) ?? otherwise);
    return Number.isFinite(value) ? Math.max(least, Math.min(most, value)) : otherwise;
  }
}
