/** Where audio comes from: a microphone, or a file that the browser plays. Both give blocks at the device's own rate. */

/** A browser that wants a click first never says so: it just does not begin. */
const RESUMED_WITHIN_MS = 2000;

/** Something that the reader can do something about; its message says what. */
export class AudioError extends Error {}

/**
 * @typedef {object} Source
 * @property {string} name for people, and for the names of saved files.
 * @property {number} sampleRate
 * @property {Promise<void>} ended when there is no more audio, as at the end of a file.
 * @property {() => Promise<void>} stop
 */

/**
 * @param {string} wanted a device's id, or a part of its name; empty for the default one.
 * @param {(block: Float32Array) => void} onBlock
 * @returns {Promise<Source>}
 * @throws {AudioError}
 */
export async function openMicrophone(wanted, onBlock) {
  if (!navigator.mediaDevices) {
    throw new AudioError("Browsers give a microphone only to pages over https, or from this very machine (localhost).");
  }
  const stream = await askFor(await deviceId(wanted));
  const [track] = stream.getAudioTracks();
  const context = new AudioContext();
  const stop = async () => {
    track.stop();
    await context.close();
  };
  try {
    await tap(context, context.createMediaStreamSource(stream), onBlock);
  } catch (error) {
    await stop();
    throw error;
  }
  const ended = new Promise((resolve) => track.addEventListener("ended", () => resolve(undefined)));
  return { name: "captions", sampleRate: context.sampleRate, ended, stop };
}

/**
 * Plays a file at its own pace, heard by the reader too.
 *
 * @param {File} file audio, or a video with sound.
 * @param {(block: Float32Array) => void} onBlock
 * @returns {Promise<Source>}
 * @throws {AudioError}
 */
export async function openFile(file, onBlock) {
  if (!globalThis.AudioWorkletNode) {
    throw new AudioError("Browsers hand out sound only to pages over https, or from this very machine (localhost).");
  }
  const player = new Audio(URL.createObjectURL(file));
  const context = new AudioContext();
  const source = context.createMediaElementSource(player);
  const stop = async () => {
    player.pause();
    URL.revokeObjectURL(player.src);
    await context.close();
  };
  const ended = new Promise((resolve) => player.addEventListener("ended", () => resolve(undefined)));
  try {
    // What the graph gives before the player starts and after it has stopped is silence that is not in the file.
    await tap(context, source, (block) => {
      if (!player.paused && (player.currentTime > 0 || block.some((value) => value !== 0))) onBlock(block);
    });
    source.connect(context.destination);
    await player.play();
  } catch (error) {
    await stop();
    if (error instanceof AudioError) throw error;
    throw new AudioError(`This browser cannot play ${file.name}.`);
  }
  return { name: file.name.replace(/\.[^.]*$/, ""), sampleRate: context.sampleRate, ended, stop };
}

/** The microphones that there are; without names until the reader has allowed one. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter(({ kind, label }) => kind === "audioinput" && label);
}

/** @param {string} wanted */
async function deviceId(wanted) {
  if (!wanted) return undefined;
  const named = (/** @type {MediaDeviceInfo[]} */ all) =>
    all.find(({ deviceId, label }) => deviceId === wanted || label.toLowerCase().includes(wanted.toLowerCase()));
  let found = named(await microphones());
  if (!found) {
    // Names are told only to a page that was allowed to listen.
    for (const track of (await askFor(undefined)).getTracks()) track.stop();
    found = named(await microphones());
  }
  if (!found) throw new AudioError(`There is no microphone called “${wanted}”.`);
  return found.deviceId;
}

/** @param {string | undefined} id */
async function askFor(id) {
  const audio = {
    deviceId: id && { exact: id },
    channelCount: 1,
    autoGainControl: true,
    // Both are made for calls, and cost words where somebody speaks from afar or over loudspeakers.
    echoCancellation: false,
    noiseSuppression: false,
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (name === "NotAllowedError") {
      throw new AudioError("The microphone is not allowed: allow it in the browser’s address bar, then try again.");
    }
    if (name === "NotFoundError") throw new AudioError("No microphone was found: connect one, then try again.");
    throw new AudioError("The microphone cannot be used; another program may hold it.");
  }
}

/**
 * @param {AudioContext} context @param {AudioNode} source @param {(block: Float32Array) => void} onBlock
 */
async function tap(context, source, onBlock) {
  await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url).href);
  const node = new AudioWorkletNode(context, "tap", { channelCount: 1, channelCountMode: "explicit" });
  node.port.onmessage = ({ data }) => onBlock(data);
  // A node that leads nowhere is not run; this one is silent.
  source.connect(node).connect(context.destination);
  await Promise.race([context.resume(), new Promise((resolve) => setTimeout(resolve, RESUMED_WITHIN_MS))]);
  if (context.state !== "running") {
    throw new AudioError("The browser starts no sound before a page was clicked: use one of the buttons below.");
  }
}
