"""A folder of recordings through what `voicewire transcribe` is made of: which workers are fastest.

    python -m benchmarks.folder --data TAR... --json OUT [--recordings 4] [--seconds 45] [--ways 1x1,2x1]

Recordings are clips of the tars joined with half a second of silence. Each way transcribes all of them, after a
short one that loads what it needs. `WxT` is W worker processes of T threads, `threads` two threads of one process,
`whole` one thread of openai-whisper that is given each recording whole, `streamN` N threads of the server's path.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console

from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import table_parser
from benchmarks.recogniser import write_report
from benchmarks.speech_tars import Clip, SpeechTar
from benchmarks.word_errors import WordErrors, count_errors, total
from voicewire.asr.offline import OfflineTranscriber
from voicewire.client.audio_files import AudioFile
from voicewire.client.local import Heard, LocalTranscriber, ModelChoice, Wanted, word_item
from voicewire.client.offline import Offline
from voicewire.client.online import Online
from voicewire.client.recordings import Recording
from voicewire.client.transcript_batch import TranscriptBatch
from voicewire.streaming.subtitles.transcripts import TimedTranscript, segment_of

RATE = 16_000
TITLES = {
    "whole": "openai-whisper, each recording whole, 1 thread",
    "threads": "the same in 2 threads of one process",
    "1x1": "1 worker of 1 thread",
    "1x2": "1 worker of 2 threads",
    "2x1": "2 workers of 1 thread",
    "stream1": "`--streaming`, 1 worker",
    "stream2": "`--streaming`, 2 workers",
}


@dataclass(frozen=True, slots=True)
class Spoken:
    """A recording, and what is said in it."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Measured:
    """One way over all recordings; `speed` is seconds of audio per second."""

    way: str
    audio_s: float
    took_s: float
    speed: float
    errors: WordErrors


class Whole:
    """A `LocalTranscriber` that cuts no passages."""

    def __init__(self, model: str) -> None:
        self._model = OfflineTranscriber.load(model, "cpu", threads=1)

    def transcribe(self, audio: AudioFile, heard: Heard) -> TimedTranscript:
        torch.set_num_threads(1)  # of the thread that asks
        samples = np.concatenate(list(audio.blocks()))
        words = self._model.transcribe(samples).words
        return TimedTranscript("en", len(samples) / RATE, (segment_of(map(word_item, words)),))

    def close(self) -> None: ...
    def kill(self) -> None: ...


class Threads:
    """A `LocalTranscriber` of two models in one process; each thread that asks has one."""

    def __init__(self, model: str) -> None:
        self._idle = [Whole(model) for _ in range(2)]

    def transcribe(self, audio: AudioFile, heard: Heard) -> TimedTranscript:
        whole = self._idle.pop()
        try:
            return whole.transcribe(audio, heard)
        finally:
            self._idle.append(whole)

    def close(self) -> None: ...
    def kill(self) -> None: ...


def load(way: str, model: str) -> tuple[LocalTranscriber, int]:
    """The transcriber, and how many recordings it takes at once."""
    choice = ModelChoice(model, device="cpu", threads=1)
    if way == "whole":
        return Whole(model), 1
    if way == "threads":
        return Threads(model), 2
    if way.startswith("stream"):
        return Online(choice, Wanted()), int(way.removeprefix("stream"))
    workers, threads = map(int, way.split("x"))
    return Offline(ModelChoice(model, device="cpu", threads=threads), Wanted(), workers), workers


def measure(way: str, model: str, spoken: Sequence[Spoken]) -> Measured:
    transcriber, at_once = load(way, model)
    with closing(transcriber):
        # The first of them once for each worker, so that all have loaded what they need.
        _run(transcriber, spoken[:1] * at_once, at_once)
        began = time.perf_counter()
        transcripts = _run(transcriber, spoken[1:], at_once)
        took_s = time.perf_counter() - began
    audio_s = sum(one.duration_s for one in transcripts)
    errors = [count_errors(one.text, said.text) for one, said in zip(spoken[1:], transcripts, strict=True)]
    return Measured(way, audio_s, took_s, audio_s / took_s, total(errors))


def _run(transcriber: LocalTranscriber, spoken: Sequence[Spoken], at_once: int) -> list[TimedTranscript]:
    recordings = [Recording(str(one.path), f"{number}", None) for number, one in enumerate(spoken)]
    found: dict[Recording, TimedTranscript] = {}
    outcomes = TranscriptBatch(
        transcriber, recordings, found.__setitem__, Console(quiet=True), at_once=at_once
    ).run()
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        raise SystemExit(f"not transcribed: {failed}")
    return [found[recording] for recording in recordings]


def make_recordings(clips: Iterator[Clip], folder: Path, count: int, seconds: float) -> list[Spoken]:
    """A short one, then as many as are asked for of at least so many seconds."""
    spoken = []
    for number, least_s in enumerate([3.0] + [seconds] * count):
        pieces, texts = [], []
        while sum(map(len, pieces)) < least_s * RATE:
            clip = next(clips, None)
            if clip is None:
                raise SystemExit("the tars hold too few clips for so many recordings")
            pieces += [clip.samples, np.zeros(RATE // 2, np.float32)]
            texts.append(clip.text)
        path = folder / f"{number}.wav"
        soundfile.write(path, np.clip(np.concatenate(pieces), -1, 1), RATE)
        spoken.append(Spoken(path, " ".join(texts)))
    return spoken


def table_of(measured: Sequence[Measured]) -> str:
    rows = [
        (TITLES.get(one.way, one.way), f"{one.speed:.1f} x", f"{100 * (one.errors.rate or 0.0):.1f} %")
        for one in measured
    ]
    return markdown_table(("", "speed", "word errors"), rows, left=1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = table_parser("folder", __doc__)
    parser.add_argument("--model", default="base")
    parser.add_argument("--recordings", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=45.0, help="least length of each")
    parser.add_argument("--ways", default=",".join(TITLES))
    args = parser.parse_args(arguments)
    clips = (clip for path in args.data for clip in SpeechTar(path).clips())
    with tempfile.TemporaryDirectory() as folder:
        spoken = make_recordings(clips, Path(folder), args.recordings, args.seconds)
        measured = []
        for way in args.ways.split(","):
            measured.append(measure(way, args.model, spoken))
            print(table_of(measured[-1:]).splitlines()[-1], flush=True)
    facts = {"model": args.model, "recordings": args.recordings, "seconds": args.seconds}
    write_report(args.json, {"ways": [asdict(one) for one in measured]}, facts)
    if args.markdown:
        replace_section(args.markdown, "folder", table_of(measured) + f"\n{this_machine()}\n")


if __name__ == "__main__":
    main()
