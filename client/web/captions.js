/** The captions page: puts audio, stream, transcript and view together, and answers the reader. */

import { AudioError, microphones, openFile, openMicrophone } from "./audio.js";
import { DelayMeter, median } from "./delays.js";
import { DelayPlot } from "./plot.js";
import { PRESETS, Preferences } from "./preferences.js";
import { KeyForm } from "./key.js";
import { FORMATS } from "./subtitles.js";
import { TokenStrip } from "./tokens.js";
import { Transcript } from "./transcript.js";
import { CaptionView } from "./view.js";
import { Stream } from "./voicewire.js";

/** @typedef {import("./audio.js").Source} Source */

/** How often the figures are drawn anew, and of how many words they tell. */
const DRAW_MS = 250;
const RECENT_WORDS = 20;

const preferences = new Preferences(location.search);
const view = new CaptionView(
  {
    scroller: part("captions"),
    lines: part("lines"),
    newest: /** @type {HTMLButtonElement} */ (part("newest")),
    tooltip: part("tooltip"),
    announcer: part("announcer"),
  },
  describe,
);
const plot = new DelayPlot(/** @type {HTMLCanvasElement} */ (part("plot")));
const keys = new KeyForm(/** @type {HTMLFormElement} */ (part("key-form")), () => void again?.());
const strip = new TokenStrip(/** @type {HTMLCanvasElement} */ (part("token-strip")));

let transcript = new Transcript();
let meter = new DelayMeter();
/** @type {{shown_s: number, settled_s: number}[]} */ let recent = [];
/** @type {Stream | null} */ let stream = null;
/** @type {Source | null} */ let source = null;
let name = "captions";
/** @type {string | undefined} that the server has. */ let codec;
/** @type {(() => Promise<void>) | undefined} what the reader asked for last. */ let again;
let isBusy = false;
let isFinishing = false;
/** @type {WakeLockSentinel | undefined} */ let lamp;
/** @type {ReturnType<typeof setTimeout> | undefined} */ let forgetting;

// ---- Listening

/** @param {(onBlock: (block: Float32Array) => void) => Promise<Source>} open */
async function begin(open) {
  if (isBusy) return;
  isBusy = true;
  again = () => begin(open);
  keys.hide();
  warn("");
  tell("Starting", "busy");
  /** @type {Float32Array[]} */ const early = [];
  let take = (/** @type {Float32Array} */ block) => void early.push(block);
  try {
    source = await open((block) => take(block));
  } catch (error) {
    isBusy = false;
    tell("Ready", "idle");
    warn(error instanceof AudioError ? error.message : `The audio cannot be used: ${error}`);
    return;
  }
  [transcript, meter, recent, name] = [new Transcript(), new DelayMeter(), [], source.name];
  view.clear();
  plot.clear();
  part("welcome").hidden = true;
  part("captions").hidden = part("delays").hidden = false;
  const [heard, opened] = [source, (stream = listenTo(source.sampleRate))];
  take = (block) => {
    if (source !== heard || opened.state === "closed") return; // on its way when it was stopped
    opened.send(block);
    meter.mark(opened.position_s);
    showLevel(block);
  };
  early.splice(0).forEach(take);
  showControls();
  await stayAwake();
  await listDevices();
  await heard.ended;
  if (stream === opened) await finish();
}

/** @param {number} sampleRate */
function listenTo(sampleRate) {
  const preset = PRESETS[/** @type {keyof PRESETS} */ (preferences.get("preset"))];
  const start = { language: preferences.language, ...preset };
  const opened = new Stream(document.baseURI, { sampleRate, start, key: keys.key });
  opened.addEventListener("transcript", ({ detail }) => take(detail));
  opened.addEventListener("tokens", ({ detail }) => strip.add(detail));
  opened.addEventListener("endpoint", endLine);
  opened.addEventListener("state", ({ detail }) => showState(detail));
  return opened;
}

/** @param {import("./voicewire.js").Transcript} message */
function take(message) {
  recent = [...recent, ...meter.add(message)].slice(-RECENT_WORDS);
  if (message.words.length > 0 && recent.length > 0) {
    const last = recent.slice(-message.words.length);
    plot.addWords(median(last.map(({ shown_s }) => shown_s)), median(last.map(({ settled_s }) => settled_s)));
  }
  transcript.add(message);
  view.show(transcript);
  disable("save", transcript.lines.every(({ words }) => words.length === 0));
  if (message.text || message.tail_text) forgetLater();
}

function endLine() {
  transcript.endLine();
  view.endLine();
}

/** The audio is over, or the reader has heard enough: waits for the last words. */
async function finish() {
  if (isFinishing) return;
  isFinishing = true;
  const closing = stream;
  if (closing?.state !== "closed") tell("Last words", "busy");
  await source?.stop();
  source = null;
  try {
    await closing?.close();
  } catch {
    // It ended otherwise; `showState` has said why.
  }
  endLine();
  await lamp?.release();
  stream = null;
  isBusy = isFinishing = false;
  showControls();
  if (part("notice").hidden) tell("Ready", "idle");
}

/** Who stops twice, or while there is no server, waits for no last words. */
function stop() {
  if (isFinishing || stream?.state !== "open") stream?.abort();
  void finish();
}

/** Nobody touches a screen that shows captions, and it should not go dark over it. */
async function stayAwake() {
  if (document.visibilityState !== "visible" || !stream) return;
  lamp = await navigator.wakeLock?.request("screen").catch(() => undefined);
}

// ---- What is shown

/** @param {import("./voicewire.js").StateChange} change */
async function showState({ state, reason, code, attempt, resumed }) {
  if (state === "open") {
    warn("");
    tell(resumed ? "Listening: reconnected, nothing lost" : "Listening", "live");
    await offerTokens();
  } else if (state === "reconnecting") {
    transcript.tail = [];
    view.show(transcript);
    const doing = transcript.duration_s > 0 ? "Reconnecting" : "Connecting";
    tell(doing, "lost");
    // A browser does not tell a page why a websocket was refused; this does.
    const why = await whyNot();
    if (stream?.state === "reconnecting" && attempt > 1) tell(`${doing}: ${why ?? reason}`, "lost");
  } else if (state === "closed" && reason) {
    const lacksKey = code === "unauthorized";
    tell(lacksKey ? "A key is needed" : "Stopped", "lost");
    if (!lacksKey) warn(`The server ended the captions: ${reason}`);
    await finish();
    if (lacksKey) keys.ask();
  }
}

/** What keeps the server from taking a session, in words; nothing where nothing does. */
async function whyNot() {
  try {
    const { status, slots } = await readiness();
    if (status !== "ready") return status === "loading" ? "the server is loading its model" : "the server is closing";
    return slots.in_use >= slots.capacity ? "all of the server’s places are taken" : undefined;
  } catch {
    return "the server does not answer";
  }
}

async function readiness() {
  return (await fetch(new URL("readyz", document.baseURI))).json();
}

/** @param {string} text @param {"idle" | "busy" | "live" | "lost"} mood */
function tell(text, mood) {
  if (part("status").textContent !== text) part("status").textContent = text;
  document.documentElement.dataset.mood = mood;
}

/** @param {string} text */
function warn(text) {
  part("notice").textContent = text;
  part("notice").hidden = text === "";
}

function showControls() {
  const wasHere = part("listen").parentElement?.contains(document.activeElement);
  part("listen").hidden = part("open").hidden = stream !== null;
  part("stop").hidden = stream === null;
  // Who pressed a button that has gone finds its counterpart.
  if (wasHere) part(stream ? "stop" : "listen").focus();
}

/** The dot beats with the voice. @param {Float32Array} block */
function showLevel(block) {
  const power = block.reduce((sum, value) => sum + value * value, 0) / block.length;
  const level = Math.max(0, Math.min(1, 1 + Math.log10(power + 1e-9) / 5));
  part("level").style.setProperty("--level", level.toFixed(2));
}

function showFigures() {
  if (!stream || stream.state === "closed") return;
  plot.addBacklog(stream.backlog_s);
  plot.draw();
  const seconds = (/** @type {number} */ value) => (Number.isNaN(value) ? "–" : `${Math.max(0, value).toFixed(1)} s`);
  write("shown-after", seconds(median(recent.map(({ shown_s }) => shown_s))));
  write("settled-after", seconds(median(recent.map(({ settled_s }) => settled_s))));
  write("waiting", seconds(stream.backlog_s));
}

/** @param {import("./voicewire.js").Word} word */
function describe(word) {
  const delay = meter.of(word);
  const parts = [
    `${word.start.toFixed(2)} – ${word.end.toFixed(2)} s`,
    `${Math.round(word.probability * 100)} % sure`,
    ...(delay ? [`settled after ${Math.max(0, delay.settled_s).toFixed(1)} s`] : []),
  ];
  return parts.join(" · ");
}

/** An overlay does not leave old words on the screen. */
function forgetLater() {
  document.documentElement.classList.remove("quiet");
  clearTimeout(forgetting);
  if (!preferences.isOverlay || preferences.clear_s === 0) return;
  forgetting = setTimeout(() => document.documentElement.classList.add("quiet"), preferences.clear_s * 1000);
}

/** Tokens can be had where the server has a codec loaded; without, nothing here speaks of them. */
async function offerTokens() {
  [codec] = (await readiness().catch(() => ({}))).codecs ?? [];
  part("tokens-choice").hidden = !codec;
  showTokens();
}

/** Asks the server for tokens, or for none any more, and shows the strip that they come to. */
function showTokens() {
  const isWanted = Boolean(codec) && preferences.get("tokens") === "on";
  part("token-strip").hidden = !isWanted;
  const [comes, wanted] = [stream?.settings?.outputs, isWanted ? ["words", "tokens"] : ["words"]];
  if (comes && String(comes) !== String(wanted)) stream?.renew({ outputs: wanted, codec });
}

async function listDevices() {
  const select = /** @type {HTMLSelectElement} */ (part("device"));
  const found = await microphones();
  if (found.length === 0) return;
  const chosen = select.value;
  select.replaceChildren(new Option("The system’s own", ""), ...found.map((one) => new Option(one.label, one.deviceId)));
  select.value = chosen;
}

// ---- What the reader does

function listen() {
  const chosen = /** @type {HTMLSelectElement} */ (part("device")).value;
  void begin((onBlock) => openMicrophone(chosen || preferences.device, onBlock));
}

/** @param {File | undefined} file */
function play(file) {
  if (file) void begin((onBlock) => openFile(file, onBlock));
}

/** @param {keyof typeof FORMATS} form */
function save(form) {
  const { type, write } = FORMATS[form];
  const content = write(transcript, preferences.language);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: `${type};charset=utf-8` }));
  link.download = `${name}.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** @param {HTMLInputElement} input */
function choose({ name, value }) {
  preferences.set(/** @type {any} */ (name), value);
  preferences.dress(document.documentElement);
  if (name === "preset") void stream?.configure(PRESETS[/** @type {keyof PRESETS} */ (value)]).catch(() => {});
  view.follow();
  plot.draw();
}

function attend() {
  part("listen").addEventListener("click", listen);
  part("stop").addEventListener("click", stop);
  document.addEventListener("visibilitychange", () => void stayAwake());
  const file = /** @type {HTMLInputElement} */ (part("file"));
  part("open").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    play(file.files?.[0]);
    file.value = "";
  });
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => save(/** @type {any} */ (button).dataset.save));
  }
  for (const input of document.querySelectorAll("input[type=radio]")) {
    const radio = /** @type {HTMLInputElement} */ (input);
    radio.checked = preferences.get(/** @type {any} */ (radio.name)) === radio.value;
    radio.addEventListener("change", () => choose(radio));
  }
  const tokens = /** @type {HTMLInputElement} */ (part("tokens"));
  tokens.checked = preferences.get("tokens") === "on";
  tokens.addEventListener("change", () => {
    preferences.set("tokens", tokens.checked ? "on" : "off");
    showTokens();
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.documentElement.classList.add("dropping");
  });
  for (const type of ["dragleave", "drop"]) {
    document.addEventListener(type, () => document.documentElement.classList.remove("dropping"));
  }
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    play(event.dataTransfer?.files[0]);
  });
}

/** @param {string} id @returns {HTMLElement} */
function part(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** @param {string} id @param {string} text */
function write(id, text) {
  if (part(id).textContent !== text) part(id).textContent = text;
}

/** @param {string} id @param {boolean} isDisabled */
function disable(id, isDisabled) {
  /** @type {HTMLButtonElement} */ (part(id)).disabled = isDisabled;
}

preferences.dress(document.documentElement);
if (preferences.isOverlay) {
  document.documentElement.classList.add("overlay");
  document.documentElement.style.setProperty("--overlay-lines", String(preferences.lines));
  document.documentElement.style.setProperty("--overlay-background", preferences.background);
}
tell("Ready", "idle");
attend();
setInterval(showFigures, DRAW_MS);
if (preferences.startsItself) listen();
