/**
 * voicewire.js: streams audio from a browser to a voicewire server and gives back its words, as events.
 *
 *     import { connect } from "./voicewire.js";
 *
 *     const stream = await connect("wss://captions.example", { sampleRate: 48000 });
 *     stream.addEventListener("transcript", ({ detail }) => show(detail.text, detail.tail_text));
 *     stream.send(samples);       // Float32Array or Int16Array, one channel, of any length
 *     await stream.flush();       // every word of it has come
 *     await stream.close();       // the rest too
 *
 * One file without dependencies. A stream outlives its connections: when one is lost, the next goes on with the same
 * session where it stopped. Where the server does not have it any more, another session begins, audio that was not
 * heard to the end is sent again, and the clock of all events goes on. docs/protocol.md has the messages.
 */

const PROTOCOL_VERSION = 1;
const STREAM_PATH = "v1/stream";
const [LOWEST_RATE, HIGHEST_RATE] = [8000, 48000];

/** Samples in one message at most: a flush or a close behind it need not wait, and no server refuses it. */
const PIECE_SAMPLES = 8192;
/** Bytes that the browser may hold for the network; more than that waits here, where it can still be counted. */
const HIGH_WATER_BYTES = 64 * 1024;
/** The server keeps what it was not told of. */
const MESSAGES_PER_ACK = 32;
/** A websocket's close code that is no goodbye to the session. */
const RETURNING = 4000;
/** How long a server may take to answer `start`, and to say anything at all while audio is sent to it. */
const [OPEN_TIMEOUT_MS, SILENCE_TIMEOUT_MS] = [15_000, 30_000];
const [FIRST_DELAY_MS, LONGEST_DELAY_MS] = [250, 8000];
/** Behind silence that has been looked at, a word may still come that began within so many seconds of its end. */
const UNSEEN_S = 2;

/** Errors of a server after which the same session may well be had a little later. */
const PASSING = new Set([
  "capacity", "handshake_timeout", "idle_timeout", "internal", "overloaded", "resume_failed", "session_too_long",
  "shutting_down", "slow_reader",
]);

/** What a key may consist of, since a browser shows it as a sub-protocol. */
const KEY = /^[\w!#$%&'*+.^`|~-]+$/;

/** Messages that are about a connection, not about its session. */
const UNCOUNTED = new Set(["ready", "resumed", "ack"]);

/**
 * @typedef {{word: string, start: number, end: number, probability: number, emitted: number}} Word
 *   `word` has its leading space; times are seconds of the stream's audio.
 * @typedef {{type: "transcript", words: Word[], tail: Word[], text: string, tail_text: string, utterance: number,
 *   audio_received: number, audio_processed: number, buffered_ms: number}} Transcript
 * @typedef {{type: "ready", session_id: string, model: string, settings: Record<string, any>,
 *   limits: {message_bytes: number, idle_s: number, session_s: number, buffered_s: number},
 *   resume: {token: string, window_s: number, server: string | null} | null}} Ready
 * @typedef {{type: "refined", utterance: number, start: number, end: number, text: string, words: Word[]}} Refined
 * @typedef {{type: "flushed", id: number, audio_processed: number}} Flushed
 * @typedef {{type: "done", totals: {audio_s: number, words: number, utterances: number}}} Done
 *
 * @typedef {"connecting" | "open" | "reconnecting" | "closed"} State
 * @typedef {{state: State, attempt: number, delay_ms: number, reason: string, code: string, resumed: boolean}} StateChange
 *   `attempt` and `delay_ms` say which try comes next and when, `reason` why the connection was lost or what ended the
 *   stream, `code` the same of a VoicewireError that ended it; they are empty where nothing went wrong. `resumed`: the
 *   session goes on, and nothing was lost.
 *
 * @typedef {object} Options
 * @property {number} [sampleRate] of the audio sent: 8,000 to 48,000 Hz; a higher one is halved here. 16,000 if absent.
 * @property {Record<string, any>} [start] fields of the protocol's `start`: language, chunk_ms, keyterms, refine, ...
 * @property {number} [maxBuffered_s] seconds of audio kept while there is no connection; the oldest goes first. 30.
 * @property {string} [key] for a server that asks for an API key. It is shown at each handshake, and never in an address.
 * @property {number} [attempts] tries in a row, after which a stream gives up. Without limit if absent.
 */

/** What ended a stream, or what it refuses to do. `code` is one of the protocol's, or one of `connection_lost`
 * (`attempts` came to nothing), `stream_closed` (used after its end) and `aborted`. */
export class VoicewireError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "VoicewireError";
    this.code = code;
  }
}

/**
 * Opens a stream and waits until the server is ready for audio.
 *
 * @param {string | URL} url of the server (`ws:`, `wss:`, `http:` or `https:`), or of its stream.
 * @param {Options} [options]
 * @returns {Promise<Stream>}
 * @throws {VoicewireError} when the server refuses for good, or `attempts` came to nothing.
 */
export async function connect(url, options = {}) {
  const stream = new Stream(url, options);
  await stream.ready;
  return stream;
}

/**
 * A stream of audio and its events. Every message of the server is an event of its own type, whose `detail` is the
 * message: `ready`, `resumed`, `transcript`, `speech_started`, `endpoint`, `refined`, `flushed`, `configured`, `warning`,
 * `error`, `done`.
 * A binary message is an event `tokens`, whose `detail` is an ArrayBuffer. `state` is an event too (`StateChange`).
 *
 * Times are seconds since the stream's first sample and utterances are counted since its first one, however many
 * connections it took.
 */
export class Stream extends EventTarget {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {Ready | null} the answer to `start` of the connection that is open now. */ #session = null;
  /** @type {State} */ #state = "connecting";
  #url;
  #key;
  #start;
  #rate;
  /** @type {Halver[]} */ #halvers = [];
  #attempts;
  #attempt = 0;
  /** @type {{code: string, message: string} | null} what the server said before it closed. */ #farewell = null;

  // Places in the audio, in samples since the stream's first one.
  /** @type {Backlog} what was handed in and is not yet heard to the end. */ #audio;
  #sent = 0;
  #settled = 0;
  #origin = 0;
  #processed_s = 0;

  /** @type {Ready | null} of the session that can be gone on with, once its connection is lost. */ #ticket = null;
  /** @type {Sent[]} what the session was sent and has not said to have received. */ #unreceived = [];
  // Messages of the session: those that the server has received, those that came here, and those that it knows of.
  #delivered = 0;
  #received = 0;
  #acknowledged = 0;

  #utterance = 0;
  #firstUtterance = 0;
  /** @type {Question[]} what was asked for and is not yet answered, in order. */ #requests = [];
  #closing = false;
  #flushes = 0;

  // When something was last sent, when something last came, and when the server last owed nothing; in ms.
  #spokeAt = 0;
  #heardAt = 0;
  #owedAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #opening;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #refill;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #watch;
  #ready = withResolvers();
  #online = () => this.#state === "reconnecting" && this.#open();

  /** @param {string | URL} url @param {Options} [options] */
  constructor(url, { sampleRate = 16_000, start = {}, key = "", maxBuffered_s = 30, attempts = Infinity } = {}) {
    super();
    this.#url = streamUrl(url);
    if (key && !KEY.test(key)) throw new RangeError("this is no API key: it holds a character that none has");
    this.#key = key;
    this.#rate = sampleRate;
    for (; this.#rate > HIGHEST_RATE; this.#rate /= 2) this.#halvers.push(new Halver());
    if (!(this.#rate >= LOWEST_RATE && Number.isInteger(this.#rate))) {
      throw new RangeError(`a sample rate of ${sampleRate} Hz cannot be sent: ${LOWEST_RATE} Hz and more can`);
    }
    this.#start = { ...start };
    this.#attempts = attempts;
    this.#audio = new Backlog(Math.ceil(maxBuffered_s * this.#rate));
    this.#ready.promise.catch(() => {}); // who does not wait for it hears of it through `state`
    globalThis.addEventListener?.("online", this.#online);
    this.#open();
  }

  /**
   * @param {string} type @param {((event: CustomEvent) => void) | EventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, /** @type {EventListenerOrEventListenerObject | null} */ (listener), options);
  }

  /** Resolves with the first `ready`. @type {Promise<Ready>} */
  get ready() {
    return this.#ready.promise;
  }

  /** @type {State} */
  get state() {
    return this.#state;
  }

  /** What is in force now; null until the server is ready. @type {Record<string, any> | null} */
  get settings() {
    return this.#session && this.#session.settings;
  }

  /** Seconds of audio handed in so far: where the next sample will lie. */
  get position_s() {
    return this.#audio.end / this.#rate;
  }

  /** Seconds of audio handed in that the server has not looked at yet. */
  get backlog_s() {
    return Math.max(0, this.position_s - this.#processed_s);
  }

  /**
   * Takes the next samples of one channel. Never waits: audio is kept until it can be sent, within bounds.
   *
   * @param {Float32Array | Int16Array} samples floats from -1 to 1, beyond which they are clipped.
   * @throws {VoicewireError} after `close`.
   */
  send(samples) {
    this.#mustBeOpen();
    if (this.#halvers.length > 0) {
      let floats = samples instanceof Int16Array ? Float32Array.from(samples, (value) => value / 32_768) : samples;
      for (const halver of this.#halvers) floats = halver.push(floats);
      samples = floats;
    }
    this.#audio.append(samples instanceof Int16Array ? samples.slice() : toInt16(samples));
    this.#pump();
  }

  /**
   * Asks for every word of the audio so far; the stream goes on.
   * @returns {Promise<Flushed>} when they have come.
   */
  flush() {
    return this.#ask({ type: "flush", id: ++this.#flushes });
  }

  /**
   * Changes settings from here on: `chunk_ms`, `commit_ms`, `endpoint_ms`, `refine`.
   * @param {Record<string, number | boolean>} settings
   * @returns {Promise<Record<string, any>>} what is in force then.
   */
  configure(settings) {
    Object.assign(this.#start, settings);
    return this.#ask({ type: "configure", ...settings });
  }

  /**
   * Says that no more audio comes.
   * @returns {Promise<Done>} when the last words have come. A second call gives the same answer.
   */
  close() {
    const asked = this.#requests.find((request) => request.message.type === "close");
    if (asked) return asked.promise;
    const answer = this.#ask({ type: "close" });
    this.#closing = true;
    return answer;
  }

  /** Drops the connection; words that have not come yet are lost. */
  abort() {
    this.#end(new VoicewireError("aborted", "the stream was dropped"));
  }

  /**
   * Begins a new session on the same clock with other fields of `start`, such as `outputs`. What was not settled is
   * heard again.
   * @param {Record<string, any>} start
   */
  renew(start) {
    this.#mustBeOpen();
    Object.assign(this.#start, start);
    this.#attempt = 0;
    this.#ticket = null;
    this.#enter("connecting");
    this.#open();
  }

  // ---- The connection

  #open() {
    this.#drop();
    if (this.#state === "closed") return;
    this.#farewell = null;
    const socket = new WebSocket(this.#address(), this.#key ? ["token", this.#key] : []);
    let isLetIn = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      isLetIn = true;
      socket.send(JSON.stringify(this.#hello()));
    };
    socket.onmessage = ({ data }) => {
      this.#heardAt = performance.now();
      const message = typeof data === "string" ? JSON.parse(data) : null;
      if (!message || !UNCOUNTED.has(message.type)) this.#count();
      if (message) this.#take(message);
      else this.#emit("tokens", data);
    };
    socket.onclose = async ({ code, reason }) => {
      const refusal = isLetIn ? null : await this.#refusal();
      if (this.#socket !== socket) return;
      this.#farewell ??= refusal;
      this.#lost(reason || (code === 1006 ? "" : `code ${code}`));
    };
    this.#socket = socket;
    this.#opening = setTimeout(() => this.#lost("the server did not answer"), OPEN_TIMEOUT_MS);
  }

  /** Where to connect. By the server's name a proxy finds the one that has the session. */
  #address() {
    if (!this.#ticket?.resume) return this.#url;
    const { server } = this.#ticket.resume;
    return `${this.#url}?resume${server ? `=${encodeURIComponent(server)}` : ""}`;
  }

  /** Why a handshake was refused for good, which a browser does not tell; null where it was for another reason. */
  async #refusal() {
    /** @type {RequestInit} */ const request = { signal: AbortSignal.timeout(OPEN_TIMEOUT_MS) };
    if (this.#key) request.headers = { Authorization: `Bearer ${this.#key}` };
    try {
      const answer = await fetch(this.#url.replace(/^ws/, "http"), request);
      return [401, 403].includes(answer.status) ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  /** Lets go of the connection, without a word to anyone. */
  #drop() {
    for (const timer of [this.#retry, this.#opening, this.#refill, this.#watch]) clearTimeout(timer);
    const socket = this.#socket;
    this.#socket = this.#session = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(this.#ticket ? RETURNING : 1000);
  }

  /** @param {string} reason */
  #lost(reason) {
    this.#drop();
    const said = this.#farewell;
    if (said && !PASSING.has(said.code)) {
      this.#end(new VoicewireError(said.code, said.message));
      return;
    }
    this.#attempt += 1;
    const why = said ? said.message : reason || "no connection";
    if (this.#attempt > this.#attempts) {
      this.#end(new VoicewireError(said ? said.code : "connection_lost", why));
      return;
    }
    // With some chance in it, so that the clients of a server that comes back do not all come at once.
    const longest_ms = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (this.#attempt - 1));
    const delay_ms = longest_ms * (0.5 + Math.random() / 2);
    this.#retry = setTimeout(() => this.#open(), delay_ms);
    this.#enter("reconnecting", { delay_ms, reason: why });
  }

  /** @param {Done | VoicewireError} outcome */
  #end(outcome) {
    if (this.#state === "closed") return;
    this.#ticket = null;
    this.#drop();
    globalThis.removeEventListener?.("online", this.#online);
    const failed = outcome instanceof VoicewireError;
    const error = failed ? outcome : new VoicewireError("stream_closed", "the stream was closed before that");
    this.#ready.reject(error);
    for (const request of this.#requests) {
      if (!failed && request.message.type === "close") request.resolve(outcome);
      else request.reject(error);
    }
    this.#enter("closed", failed && error.code !== "aborted" ? { reason: error.message, code: error.code } : {});
  }

  /** @param {State} state @param {Partial<StateChange>} [more] */
  #enter(state, more = {}) {
    this.#state = state;
    this.#emit("state", { state, attempt: this.#attempt, delay_ms: 0, reason: "", code: "", resumed: false, ...more });
  }

  // ---- Where a connection begins: with a session's end still to come, or with a session of its own.

  /** The first message of a connection. */
  #hello() {
    if (this.#ticket?.resume) {
      return { type: "resume", token: this.#ticket.resume.token, received: this.#received };
    }
    const format = { version: PROTOCOL_VERSION, encoding: "pcm_s16le", sample_rate: this.#rate };
    return { type: "start", ...format, resume: true, ...this.#start };
  }

  /**
   * A new session knows nothing of the audio before it: it begins where the words so far are settled, and its clock
   * and its utterances are counted from there.
   */
  #begin() {
    this.#origin = this.#sent = Math.max(this.#settled, this.#audio.begin);
    this.#firstUtterance = this.#utterance;
    for (const request of this.#requests) request.sent = false;
    this.#unreceived = [];
    this.#delivered = this.#received = this.#acknowledged = 0;
  }

  /** The session goes on behind what it has received; the rest is sent again. @param {number} received */
  #goOn(received) {
    this.#forget(received);
    if (this.#unreceived.length > 0) this.#sent = this.#unreceived[0].from;
    for (const { request } of this.#unreceived) if (request) request.sent = false;
    this.#unreceived = [];
  }

  // ---- Sending

  #mustBeOpen() {
    if (this.#state === "closed" || this.#closing) {
      throw new VoicewireError("stream_closed", "the stream is closed: open another one");
    }
  }

  /** @param {Record<string, any>} message @returns {Promise<any>} the answer. */
  #ask(message) {
    try {
      this.#mustBeOpen();
    } catch (error) {
      return Promise.reject(error);
    }
    const request = new Question(message, this.#audio.end);
    this.#requests.push(request);
    this.#pump();
    return request.promise;
  }

  /** Sends what can be sent: audio, and between it what was asked for where it was asked. */
  #pump() {
    clearTimeout(this.#refill);
    const socket = this.#socket;
    if (!this.#session || !socket) return;
    if (this.#sent < this.#audio.begin) {
      // Audio was dropped that this session has not heard: another one begins behind the gap, or times would be wrong.
      this.#ticket = null;
      this.#lost("the server could not keep up");
      return;
    }
    for (;;) {
      const request = this.#requests.find(({ sent }) => !sent);
      const until = request ? request.at : this.#audio.end;
      if (this.#sent < until) {
        if (socket.bufferedAmount > HIGH_WATER_BYTES) {
          this.#refill = setTimeout(() => this.#pump(), 50);
          return;
        }
        const samples = this.#audio.read(this.#sent, Math.min(PIECE_SAMPLES, until - this.#sent));
        this.#unreceived.push({ from: this.#sent, request: null });
        socket.send(samples);
        this.#sent += samples.length;
      } else if (request) {
        request.sent = true;
        this.#unreceived.push({ from: this.#sent, request });
        socket.send(JSON.stringify(request.message));
      } else {
        break;
      }
      this.#spokeAt = performance.now();
    }
  }

  /** Once a second: holds an idle session open, and notices a server that has gone without a word. */
  #look() {
    const now = performance.now();
    const isOwed = this.#sent / this.#rate - this.#processed_s > 2 || this.#requests.length > 0;
    if (isOwed && now - Math.max(this.#heardAt, this.#owedAt) > SILENCE_TIMEOUT_MS) {
      this.#lost("the server fell silent");
      return;
    }
    if (!isOwed) this.#owedAt = now;
    const idle_ms = (/** @type {Ready} */ (this.#session).limits.idle_s * 1000) / 3;
    if (now - this.#spokeAt > idle_ms) {
      this.#unreceived.push({ from: this.#sent, request: null });
      this.#socket?.send('{"type": "keepalive"}');
      this.#spokeAt = now;
    }
  }

  /** The server has received so many messages of the session. @param {number} received */
  #forget(received) {
    this.#unreceived.splice(0, received - this.#delivered);
    this.#delivered = received;
  }

  // ---- Receiving

  /** A message of the session has come. */
  #count() {
    this.#received += 1;
    if (this.#ticket && this.#received - this.#acknowledged >= MESSAGES_PER_ACK) {
      this.#acknowledged = this.#received;
      this.#socket?.send(JSON.stringify({ type: "ack", received: this.#received }));
    }
  }

  /** @param {any} message in JSON, as the server sent it. */
  #take(message) {
    switch (message.type) {
      case "ready":
        this.#begin();
        this.#ticket = message.resume ? message : null;
        this.#takeReady(message);
        return;
      case "resumed":
        this.#goOn(message.received);
        this.#acknowledged = this.#received;
        this.#takeReady(/** @type {Ready} */ (this.#ticket), message);
        return;
      case "ack":
        this.#forget(message.received);
        return;
      case "transcript":
        this.#takeTranscript(this.#moved(message));
        return;
      case "error":
        this.#farewell = message;
        this.#ticket = null;
        break;
      case "configured":
        if (this.#session) this.#session.settings = message.settings;
        this.#answer("configure", message.settings);
        break;
      case "flushed":
        message = this.#moved(message);
        this.#note(message.audio_processed);
        this.#answer("flush", message);
        break;
      case "endpoint":
        message = this.#moved(message);
        this.#utterance = message.utterance + 1;
        break;
      case "done":
        this.#emit("done", message);
        this.#end(message);
        return;
      default:
        message = this.#moved(message);
    }
    this.#emit(message.type, message);
  }

  /** @param {Ready} ready of the session @param {object} [resumed] where it was begun before. */
  #takeReady(ready, resumed) {
    clearTimeout(this.#opening);
    this.#session = ready;
    // Who asked for settings while there was no connection has them now, by `start`.
    const isAsked = () => !resumed && this.#requests.some(({ message }) => message.type === "configure");
    while (isAsked()) this.#answer("configure", ready.settings);
    this.#spokeAt = this.#heardAt = this.#owedAt = performance.now();
    this.#watch = setInterval(() => this.#look(), 1000);
    this.#ready.resolve(ready);
    this.#attempt = resumed ? 0 : this.#attempt;
    this.#enter("open", { resumed: Boolean(resumed) });
    if (resumed) this.#emit("resumed", resumed);
    else this.#emit("ready", ready);
    this.#pump();
  }

  /** @param {Transcript} transcript on the stream's clock. */
  #takeTranscript(transcript) {
    this.#attempt = 0; // this connection is worth something
    this.#note(transcript.audio_processed);
    this.#utterance = Math.max(this.#utterance, transcript.utterance);
    const last = transcript.words.at(-1);
    let settled_s = last ? last.end : 0;
    if (transcript.tail_text === "") settled_s = Math.max(settled_s, transcript.audio_processed - UNSEEN_S);
    this.#settled = Math.max(this.#settled, Math.min(this.#sent, Math.round(settled_s * this.#rate)));
    this.#audio.forget(this.#settled);
    this.#emit("transcript", transcript);
  }

  /** @param {number} processed_s */
  #note(processed_s) {
    this.#processed_s = Math.max(this.#processed_s, processed_s);
  }

  /** A message with its times on the stream's clock and its utterance among the stream's. @param {any} message */
  #moved(message) {
    const moved = { ...message };
    const origin_s = this.#origin / this.#rate;
    for (const name of ["time", "start", "end", "audio_received", "audio_processed"]) {
      if (name in moved) moved[name] += origin_s;
    }
    if ("utterance" in moved) moved.utterance += this.#firstUtterance;
    for (const name of ["words", "tail"]) {
      if (name in moved) moved[name] = moved[name].map((/** @type {Word} */ word) => onClock(word, origin_s));
    }
    return moved;
  }

  /** @param {string} type of the oldest request that is now answered @param {any} answer */
  #answer(type, answer) {
    const place = this.#requests.findIndex(({ message }) => message.type === type);
    if (place >= 0) this.#requests.splice(place, 1)[0].resolve(answer);
  }

  /** @param {string} type @param {any} detail */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @typedef {{from: number, request: Question | null}} Sent a message, and the audio that was sent before it. */

/** Something asked of the server, at a place in the audio. */
class Question {
  sent = false;

  /** @param {Record<string, any>} message @param {number} at */
  constructor(message, at) {
    this.message = message;
    this.at = at;
    const { promise, resolve, reject } = withResolvers();
    this.promise = promise;
    this.resolve = resolve;
    this.reject = reject;
    promise.catch(() => {}); // who does not wait for the answer need not hear that there was none
  }
}

/** The samples of a stretch of audio, of which the oldest are forgotten when there are too many. */
class Backlog {
  /** @type {Int16Array[]} */ #pieces = [];
  #most;
  begin = 0;
  end = 0;

  /** @param {number} most samples. */
  constructor(most) {
    this.#most = most;
  }

  /** @param {Int16Array} samples */
  append(samples) {
    if (samples.length === 0) return;
    this.#pieces.push(samples);
    this.end += samples.length;
    while (this.end - this.begin > this.#most) this.#shift();
  }

  /** Forgets whole pieces before a place. @param {number} place */
  forget(place) {
    while (this.#pieces.length > 0 && this.begin + this.#pieces[0].length <= place) this.#shift();
  }

  /** @param {number} place not before `begin` @param {number} most @returns {Int16Array} some samples from there on. */
  read(place, most) {
    let offset = place - this.begin;
    const piece = this.#pieces.find((one) => offset < one.length || ((offset -= one.length), false));
    return piece ? piece.subarray(offset, offset + most) : new Int16Array(0);
  }

  #shift() {
    this.begin += this.#pieces[0].length;
    this.#pieces.shift();
  }
}

/**
 * Halves a sample rate, for devices beyond what the protocol takes. A half-band filter of 7 taps; what would fold
 * into the band of speech (of 96 kHz: 40 kHz and more) comes out at a hundredth.
 */
class Halver {
  #held = new Float32Array(6);

  /** @param {Float32Array} samples @returns {Float32Array} half as many. */
  push(samples) {
    const all = new Float32Array(this.#held.length + samples.length);
    all.set(this.#held);
    all.set(samples, this.#held.length);
    const count = Math.max(0, Math.floor((all.length - 5) / 2));
    const halved = new Float32Array(count);
    for (let index = 0; index < count; index += 1) {
      const at = 2 * index;
      halved[index] =
        all[at + 3] / 2 + (9 * (all[at + 2] + all[at + 4]) - (all[at] + all[at + 6])) / 32;
    }
    this.#held = all.slice(2 * count);
    return halved;
  }
}

/** @param {Word} word @param {number} origin_s */
function onClock(word, origin_s) {
  return { ...word, start: word.start + origin_s, end: word.end + origin_s, emitted: word.emitted + origin_s };
}

/** Full scale is 32767 on both sides; what is not a number is silence. @param {Float32Array} samples */
function toInt16(samples) {
  return Int16Array.from(samples, (value) => Math.round(Math.max(-1, Math.min(1, value || 0)) * 32_767));
}

/** @param {string | URL} url */
function streamUrl(url) {
  const full = new URL(url, globalThis.location?.href);
  full.protocol = full.protocol.replace(/^http/, "ws");
  if (!full.pathname.endsWith(STREAM_PATH)) full.pathname += `${full.pathname.endsWith("/") ? "" : "/"}${STREAM_PATH}`;
  full.search = full.hash = "";
  return full.href;
}

/** @returns {{promise: Promise<any>, resolve: (value: any) => void, reject: (error: any) => void}} */
function withResolvers() {
  /** @type {any} */ let resolve;
  /** @type {any} */ let reject;
  const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
}
