/** Transcripts as files: plain text, SRT and VTT subtitles, and JSON in the shape of Whisper's `verbose_json`. */

import { joined } from "./transcript.js";

/**
 * @typedef {import("./voicewire.js").Word} Word
 * @typedef {import("./transcript.js").Transcript} Transcript
 * @typedef {{start_s: number, end_s: number, lines: string[]}} Cue
 * @typedef {{text: string, start_s: number, end_s: number}} Token what is never broken: a word with its punctuation.
 */

// What broadcasters ask of subtitles; `voicewire transcribe` keeps to the same.
const LINE_WIDTH = 42;
const [SHORTEST_S, LONGEST_S] = [1, 7];
const CHARACTERS_PER_SECOND = 17;
/** A pause after which a new cue begins. */
const PAUSE_S = 1.5;
const SENTENCE_END = /[.?!…]["')\]”’]*$/u;
const CLAUSE_END = /[,;:–—]["')\]”’]*$/u;

/** How to write each kind of file: `FORMATS.srt.write(transcript, "en")`. */
export const FORMATS = {
  txt: { type: "text/plain", write: plainText },
  srt: { type: "application/x-subrip", write: srt },
  vtt: { type: "text/vtt", write: vtt },
  json: { type: "application/json", write: verboseJson },
};

/** One line per utterance. @param {Transcript} transcript */
export function plainText(transcript) {
  return spokenLines(transcript).map(({ words }) => `${joined(words)}\n`).join("");
}

/** @param {Transcript} transcript */
export function srt(transcript) {
  // What stands between these is a tag or a command to players, and hidden from the viewer.
  const harmless = { "<": "‹", ">": "›", "{": "(", "}": ")", "\\": "＼" };
  return cues(transcript)
    .map(({ start_s, end_s, lines }, index) => {
      const text = lines.join("\n").replace(/[<>{}\\]/g, (sign) => harmless[/** @type {keyof harmless} */ (sign)]);
      return `${index + 1}\n${clock(start_s, ",")} --> ${clock(end_s, ",")}\n${text}\n\n`;
    })
    .join("");
}

/** @param {Transcript} transcript */
export function vtt(transcript) {
  const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
  const body = cues(transcript).map(({ start_s, end_s, lines }) => {
    const text = lines.join("\n").replace(/[&<>]/g, (sign) => escapes[/** @type {keyof escapes} */ (sign)]);
    return `${clock(start_s, ".")} --> ${clock(end_s, ".")}\n${text}\n\n`;
  });
  return `WEBVTT\n\n${body.join("")}`;
}

/** @param {Transcript} transcript @param {string} language */
export function verboseJson(transcript, language) {
  const segments = spokenLines(transcript).map(({ words }, id) => ({
    id,
    start: rounded(words[0].start),
    end: rounded(Math.max(...words.map(({ end }) => end))),
    text: joined(words),
    words: words.map(plainWord),
  }));
  const content = {
    task: "transcribe",
    language,
    duration: rounded(transcript.duration_s),
    text: segments.map(({ text }) => text).join(" "),
    segments,
    words: segments.flatMap(({ words }) => words),
  };
  return `${JSON.stringify(content, null, 2)}\n`;
}

/** Cues of at most two lines, in order, without overlap. @param {Transcript} transcript @returns {Cue[]} */
export function cues(transcript) {
  const groups = spokenLines(transcript).flatMap(({ words }) => grouped(tokens(words)));
  const starts = groups.map(([first]) => first.start_s);
  return groups.map((group, index) => {
    const text = textOf(group);
    const reading_s = Math.max(SHORTEST_S, text.length / CHARACTERS_PER_SECOND);
    const wanted_s = Math.max(group[group.length - 1].end_s, starts[index] + reading_s);
    const end_s = Math.min(wanted_s, starts[index] + LONGEST_S, starts[index + 1] ?? Infinity);
    return { start_s: starts[index], end_s: Math.max(end_s, starts[index]), lines: folded(group) };
  });
}

/** @param {Transcript} transcript */
function spokenLines(transcript) {
  return transcript.lines.filter(({ words }) => joined(words) !== "");
}

/** @param {Word[]} words @returns {Token[]} */
function tokens(words) {
  /** @type {Token[]} */ const held = [];
  for (const { word, start, end } of words) {
    const last = held.at(-1);
    if (last && !/^\s/.test(word)) {
      last.text += word.trimEnd();
      last.end_s = Math.max(last.end_s, end);
    } else if (word.trim() !== "") {
      held.push({ text: word.trim(), start_s: Math.max(start, last?.start_s ?? 0), end_s: end });
    }
  }
  return held;
}

/** Tokens by cue: a sentence's end, a pause, or a full cue begins the next one. @param {Token[]} all */
function grouped(all) {
  /** @type {Token[][]} */ const groups = [];
  for (const token of all) {
    const group = groups.at(-1);
    const last = group?.at(-1);
    if (group && last && !mustPart(group, last, token)) group.push(token);
    else groups.push([token]);
  }
  return groups;
}

/** @param {Token[]} group @param {Token} last @param {Token} next */
function mustPart(group, last, next) {
  const length = textOf(group).length;
  const couldEnd = (SENTENCE_END.test(last.text) && length > LINE_WIDTH / 2) ||
    (CLAUSE_END.test(last.text) && length > 1.5 * LINE_WIDTH);
  return (
    couldEnd ||
    next.start_s - last.end_s > PAUSE_S ||
    next.end_s - group[0].start_s > LONGEST_S ||
    (folds([...group, next]).length === 0 && length > 0)
  );
}

/** Places where a second line may begin; the group's length where one line is enough. @param {Token[]} group */
function folds(group) {
  if (textOf(group).length <= LINE_WIDTH || group.length === 1) return [group.length];
  return group
    .map((_, place) => place)
    .filter((place) => place > 0 && Math.max(...halves(group, place).map(({ length }) => length)) <= LINE_WIDTH);
}

/** Two lines of about one length, broken behind a comma where one is near. @param {Token[]} group */
function folded(group) {
  const cost = (/** @type {number} */ place) => {
    const [above, below] = halves(group, place);
    return Math.abs(above.length - below.length) - (CLAUSE_END.test(above) || SENTENCE_END.test(above) ? 10 : 0);
  };
  const [best] = folds(group).sort((one, other) => cost(one) - cost(other));
  return halves(group, best).filter((line) => line !== "");
}

/** @param {Token[]} group @param {number} place */
function halves(group, place) {
  return [textOf(group.slice(0, place)), textOf(group.slice(place))];
}

/** @param {Token[]} group */
function textOf(group) {
  return group.map(({ text }) => text).join(" ");
}

/** @param {number} time_s @param {string} point between seconds and milliseconds. */
function clock(time_s, point) {
  const ms = Math.round(time_s * 1000);
  const two = (/** @type {number} */ value) => String(Math.floor(value)).padStart(2, "0");
  const rest = String(ms % 1000).padStart(3, "0");
  return `${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1000) % 60)}${point}${rest}`;
}

/** @param {Word} word */
function plainWord({ word, start, end, probability }) {
  return { word, start: rounded(start), end: rounded(end), probability: Math.round(probability * 1e4) / 1e4 };
}

/** @param {number} time_s */
function rounded(time_s) {
  return Math.round(time_s * 1000) / 1000;
}
