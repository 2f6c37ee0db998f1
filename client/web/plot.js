/** The last minute of delays and of waiting audio, as a small drawing. */

const SPAN_MS = 60_000;
const LOWEST_TOP_S = 2.5;

export class DelayPlot {
  /** @type {{at_ms: number, shown_s: number, settled_s: number}[]} */ #words = [];
  /** @type {{at_ms: number, backlog_s: number}[]} */ #waiting = [];
  #canvas;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** @param {number} shown_s @param {number} settled_s */
  addWords(shown_s, settled_s) {
    this.#words.push({ at_ms: performance.now(), shown_s, settled_s });
  }

  /** @param {number} backlog_s */
  addBacklog(backlog_s) {
    this.#waiting.push({ at_ms: performance.now(), backlog_s });
  }

  draw() {
    const now_ms = performance.now();
    while (this.#words.length && now_ms - this.#words[0].at_ms > SPAN_MS) this.#words.shift();
    while (this.#waiting.length && now_ms - this.#waiting[0].at_ms > SPAN_MS) this.#waiting.shift();
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = globalThis.devicePixelRatio || 1;
    if (this.#canvas.width !== width * ratio || this.#canvas.height !== height * ratio) {
      [this.#canvas.width, this.#canvas.height] = [width * ratio, height * ratio];
    }
    const pen = this.#canvas.getContext("2d");
    if (!pen || width === 0) return;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const top_s = Math.max(LOWEST_TOP_S, ...this.#words.map(({ settled_s }) => settled_s),
      ...this.#waiting.map(({ backlog_s }) => backlog_s)) * 1.08;
    const x = (/** @type {number} */ at_ms) => width - ((now_ms - at_ms) / SPAN_MS) * width;
    const y = (/** @type {number} */ value_s) => height - 1 - (value_s / top_s) * (height - 4);
    const colours = getComputedStyle(this.#canvas);
    const colour = (/** @type {string} */ name) => colours.getPropertyValue(name);

    pen.fillStyle = colour("--rule");
    for (let second = 0; second < top_s; second += top_s > 12 ? 10 : 1) pen.fillRect(0, Math.round(y(second)), width, 1);

    pen.fillStyle = colour("--backlog");
    pen.beginPath();
    for (const { at_ms, backlog_s } of this.#waiting) pen.lineTo(x(at_ms), y(backlog_s));
    if (this.#waiting.length) {
      pen.lineTo(x(this.#waiting[this.#waiting.length - 1].at_ms), y(0));
      pen.lineTo(x(this.#waiting[0].at_ms), y(0));
    }
    pen.fill();

    for (const { at_ms, shown_s, settled_s } of this.#words) {
      pen.fillStyle = colour("--settled");
      disc(pen, x(at_ms), y(Math.max(0, settled_s)), 2);
      pen.fillStyle = colour("--shown");
      disc(pen, x(at_ms), y(Math.max(0, shown_s)), 2);
    }
  }

  clear() {
    this.#words = [];
    this.#waiting = [];
  }
}

/** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} radius */
function disc(pen, x, y, radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
}
