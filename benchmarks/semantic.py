"""Words from tokens: how many are wrong that are right when they are made of the features that were quantised.

    python -m benchmarks.semantic --data TAR... [--limit N] --json OUT [--markdown FILE]

Three ways through the same clips: the audio itself (as a stream of 300:1200), the encoder's features without
quantising, and the tokens at each bitrate; each clip is a stream of its own that is flushed.
Differences are against the features. Besides: how evenly each codebook is used (perplexity, of 1024), and what
encoding costs (processor time over the audio's length).
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.accuracy_outcome import difference_figures, rate_figures
from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import add_limit, table_parser, wide_console
from benchmarks.recogniser import write_report
from benchmarks.speech_tars import Clip, SpeechTar
from benchmarks.word_errors import WordErrors, count_errors
from voicewire.asr.events import Transcript
from voicewire.asr.settings import FRAME_SAMPLES, StreamSettings
from voicewire.asr.transcriber import BatchTranscriber
from voicewire.codecs import Heard
from voicewire.codecs.bitrate import kbps
from voicewire.codecs.whisper_semantic import load

SETTINGS = StreamSettings(interim=False)


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One way to the words, with its errors clip by clip."""

    name: str
    errors: list[WordErrors]


class SemanticRun:
    """The codec, and the recogniser that reads for it."""

    def __init__(self, threads: int | None) -> None:
        self.transcriber = BatchTranscriber.load(slots=1, threads=threads)
        self.codec = load(transcriber=self.transcriber)
        self._features = self.transcriber.feature_source.streams(1)
        self._slot = self._features.open()
        self._busy_s = 0.0

    def judge(self, clips: Sequence[Clip]) -> dict[str, Any]:
        """Figures of all ways through the clips, and of the codec."""
        found: dict[str, list[WordErrors]] = {}
        uses = np.zeros((self.codec.codebooks, 2**self.codec.bits))
        self._busy_s = 0.0
        for clip in track(clips, description=clips[0].tar):
            for name, text in self._texts(clip, uses).items():
                found.setdefault(name, []).append(count_errors(clip.text, text))
        audio_s = sum(clip.duration for clip in clips)
        return {
            "ways": figures([Way(name, errors) for name, errors in found.items()]),
            "perplexity": [_perplexity(row) for row in uses],
            "encoding": self._busy_s / audio_s,
        }

    def _texts(self, clip: Clip, uses: np.ndarray) -> dict[str, str]:
        """By the name of the way; counts how often each code was used, shape = (codebooks, codes)."""
        texts = {"audio": self._hear(clip), "features": self._read(self._heard(clip))}
        began = time.process_time()
        tokens = self.codec.encode(clip.samples)
        self._busy_s += time.process_time() - began
        for row, codes in zip(uses, tokens.codes.T, strict=True):
            np.add.at(row, codes, 1)
        for count in self.codec.choices:
            fewer = replace(tokens, codebooks=count, codes=tokens.codes[:, :count])
            texts[f"{kbps(self.codec, count):g} kbit/s"] = self._read(self.codec.read(fewer))
        return texts

    def _hear(self, clip: Clip) -> str:
        slot = self.transcriber.open(SETTINGS)
        self.transcriber.push(slot, clip.samples)
        return self._text(slot)

    def _heard(self, clip: Clip) -> Heard:
        """The features that are quantised; only a quantiser says where nobody speaks."""
        whole = [self._features.push(self._slot, clip.samples), self._features.flush(self._slot)]
        features = np.concatenate(whole)[: -(-len(clip.samples) // FRAME_SAMPLES)]
        return Heard(features, np.ones(len(features), np.float32))

    def _read(self, heard: Heard) -> str:
        slot = self.transcriber.open(SETTINGS)
        self.transcriber.push_features(slot, heard.features, heard.voice)
        return self._text(slot)

    def _text(self, slot: int) -> str:
        self.transcriber.flush(slot)
        text = ""
        while turn := self.transcriber.step():
            for event in turn[slot]:
                if isinstance(event, Transcript):
                    text += "".join(word.text for word in event.words)
        self.transcriber.close(slot)
        return text


def _perplexity(uses: np.ndarray) -> float:
    shares = uses[uses > 0] / uses.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def figures(ways: Sequence[Way]) -> dict[str, Any]:
    """By the name of the way; differences are against the features."""
    features = next(way for way in ways if way.name == "features")
    return {
        way.name: rate_figures(way.errors) | difference_figures(way.errors, features.errors) for way in ways
    }


def markdown(report: dict[str, Any]) -> str:
    """A table of word error rates, one column for each tar, with the difference to the features."""
    sets = list(report)
    rows = []
    for name in report[sets[0]]["ways"]:
        cells = [_cell(report[one]["ways"][name], name) for one in sets]
        rows.append([name, *cells])
    table = markdown_table(["words from", *sets], rows, left=1)
    return f"{table}\nWord error rate in percent; in brackets, points over the features'. {this_machine()}\n"


def _cell(one: dict[str, Any], name: str) -> str:
    if name == "features":
        return f"{100 * one['wer']:.1f}"
    low, high = 100 * one["difference_low"], 100 * one["difference_high"]
    return f"{100 * one['wer']:.1f} ({100 * one['difference']:+.1f}, {low:.1f} to {high:.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = table_parser("semantic", __doc__)
    parser.add_argument("--threads", type=int, default=None)
    add_limit(parser)
    args = parser.parse_args(arguments)
    run = SemanticRun(args.threads)
    report = {}
    for path in args.data:
        tar = SpeechTar(path)
        report[tar.name] = run.judge(list(tar.clips(args.limit)))
        write_report(args.json, report, {"limit": args.limit, "precision": run.transcriber.precision.name})
    console: Console = wide_console()
    console.print(markdown(report))
    for name, one in report.items():
        console.print_json(json.dumps({name: {key: one[key] for key in ("perplexity", "encoding")}}))
    if args.markdown:
        replace_section(args.markdown, "semantic", markdown(report))


if __name__ == "__main__":
    main()
