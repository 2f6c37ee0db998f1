/** The codec's tokens as colours: a column per frame, a row per codebook, coarse ones above. docs/tokens.md has the format. */

const [HELLO, TOKENS] = [1, 2];
const SHOWN_S = 8;
/** Finer codebooks look like noise. */
const MOST_ROWS = 6;

export class TokenStrip {
  #canvas;
  #bits = 8;
  #rows = 1;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** @param {ArrayBuffer} data one record, as the server sent it. */
  add(data) {
    const record = new DataView(data);
    if (record.getUint8(0) === HELLO) this.#begin(record);
    else if (record.getUint8(0) === TOKENS) this.#draw(record);
  }

  /** @param {DataView} hello */
  #begin(hello) {
    const framesPerSecond = hello.getUint32(38, true) / hello.getUint16(42, true);
    this.#bits = hello.getUint8(46);
    this.#rows = Math.min(MOST_ROWS, hello.getUint16(44, true));
    const width = Math.round(SHOWN_S * framesPerSecond);
    if (this.#canvas.width === width && this.#canvas.height === this.#rows) return; // the same codec again
    [this.#canvas.width, this.#canvas.height] = [width, this.#rows];
  }

  /** @param {DataView} record */
  #draw(record) {
    const pen = this.#canvas.getContext("2d");
    if (!pen) return;
    const [codebooks, frames] = [record.getUint16(2, true), record.getUint16(4, true)];
    const { width, height } = this.#canvas;
    pen.globalCompositeOperation = "copy"; // what moves out of a place leaves nothing behind
    pen.drawImage(this.#canvas, -frames, 0);
    pen.globalCompositeOperation = "source-over";
    const codes = unpacked(new Uint8Array(record.buffer, 12), this.#bits, codebooks * frames);
    for (let frame = 0; frame < frames; frame += 1) {
      for (let row = 0; row < Math.min(this.#rows, codebooks); row += 1) {
        pen.fillStyle = colourOf(codes[frame * codebooks + row] / 2 ** this.#bits);
        pen.fillRect(width - frames + frame, row, 1, height - row);
      }
    }
  }
}

/** From deep blue to pale green: quiet, and legible as light and dark alone. @param {number} share from 0 to 1 */
function colourOf(share) {
  return `hsl(${Math.round(215 - 60 * share)} ${Math.round(42 - 10 * share)}% ${Math.round(26 + 54 * share)}%)`;
}

/** @param {Uint8Array} bytes @param {number} bits of each code, the highest first @param {number} count */
function unpacked(bytes, bits, count) {
  const codes = new Uint16Array(count);
  for (let place = 0; place < count * bits; place += 1) {
    const bit = (bytes[place >> 3] >> (7 - (place & 7))) & 1;
    codes[Math.floor(place / bits)] |= bit << (bits - 1 - (place % bits));
  }
  return codes;
}
