/** Hands what flows through it to the page, as mono blocks of about 50 ms. Runs in the browser's audio thread. */

const BLOCK_S = 0.05;

registerProcessor(
  "tap",
  class extends AudioWorkletProcessor {
    #block = new Float32Array(Math.round(sampleRate * BLOCK_S));
    #filled = 0;

    /** @param {Float32Array[][]} inputs one input, which the browser mixed down to one channel. */
    process([[samples]]) {
      // There is none while nothing plays into the node.
      for (let from = 0; samples && from < samples.length; ) {
        const part = samples.subarray(from, from + this.#block.length - this.#filled);
        this.#block.set(part, this.#filled);
        this.#filled += part.length;
        from += part.length;
        if (this.#filled === this.#block.length) {
          this.port.postMessage(this.#block.slice());
          this.#filled = 0;
        }
      }
      return true;
    }
  },
);
