/** The reader's API key, asked for where the server wants one. It is in no address and in no log. */

const STORE = "voicewire-key";

export class KeyForm {
  /** What to show the server; empty where no key is known. */ key = "";
  #form;

  /** @param {HTMLFormElement} form @param {() => void} onKey when there is one to try. */
  constructor(form, onKey) {
    this.#form = form;
    try {
      this.key = sessionStorage.getItem(STORE) ?? "";
    } catch {
      // No memory, as in some private windows: the reader is asked.
    }
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.key = this.#field.value;
      this.#field.value = "";
      this.#keep(this.#part("key-kept").checked);
      onKey();
    });
  }

  /** Shows the form: a key is needed, or the one that was tried is none that the server knows. */
  ask() {
    this.#part("key-title").textContent = this.key
      ? "The server does not know this API key."
      : "This server asks for an API key.";
    this.key = "";
    this.#keep(false);
    this.#form.hidden = false;
    this.#field.focus();
  }

  hide() {
    this.#form.hidden = true;
  }

  get #field() {
    return this.#part("key");
  }

  /** @param {string} id @returns {HTMLInputElement} */
  #part(id) {
    return /** @type {HTMLInputElement} */ (this.#form.querySelector(`#${id}`));
  }

  /** For as long as this tab lives, or not at all. @param {boolean} isKept */
  #keep(isKept) {
    try {
      if (isKept) sessionStorage.setItem(STORE, this.key);
      else sessionStorage.removeItem(STORE);
    } catch {
      // Not kept, then.
    }
  }
}
