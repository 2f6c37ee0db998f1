"""Transcription in this process, without a server: the one module of the client that calls the recogniser.

It imports the recogniser when it is called, so that a bare install, which lacks torch, can load it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from voicewire.client.audio_files import AudioFile, Block
from voicewire.client.errors import CommandError, MissingPackageError
from voicewire.streaming.messages import WordItem
from voicewire.streaming.subtitles.transcripts import Segment, TimedTranscript, segment_of

if TYPE_CHECKING:
    from voicewire.asr.events import Event, Word
    from voicewire.asr.offline import OfflineTranscriber
    from voicewire.asr.transcriber import StreamingTranscriber

SAMPLE_RATE = 16_000
# Instead of a language: Whisper finds out by itself, offline only.
DETECT = "auto"

# Told how many seconds of the file have been dealt with since it was told before.
Heard = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model to load, and how to run it; the words are those of `voicewire.asr`."""

    model: str = "base"
    adapter: str = "default"
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None


class LocalTranscriber(Protocol):
    """A loaded model that transcribes one file after the other."""

    def transcribe(self, audio: AudioFile, heard: Heard) -> TimedTranscript:
        """Raises AudioFileError where the file turns out to be damaged, CommandError where the model fails."""


@contextmanager
def server_packages(extras: str = "server,weights") -> Iterator[None]:
    """Turns what the other rooms raise into errors of the client, which say what to do.

    Args:
        extras: what brings the packages that are needed inside.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"this needs the package {error.name}, which the client alone does not bring: "
            f"pip install 'voicewire[{extras}]'"
        ) from error
    except Exception as error:
        # By name: their classes cannot be imported where their packages are missing.
        if {base.__name__ for base in type(error).__mro__} & {"AsrError", "CodecError", "StreamingError"}:
            raise CommandError(str(error)) from error
        raise


def load_offline(choice: ModelChoice, language: str) -> LocalTranscriber:
    """Unmodified full-context Whisper: the most accurate. Raises MissingPackageError, CommandError."""
    with server_packages():
        from voicewire.asr.offline import OfflineTranscriber

        model = OfflineTranscriber.load(model=choice.model, device=choice.device, threads=choice.threads)
    return _Offline(model, language)


def load_streaming(
    choice: ModelChoice, language: str, chunk_ms: int, commit_ms: int, endpoint_ms: int = 700
) -> LocalTranscriber:
    """The very path that the server runs, as fast as it goes. Raises MissingPackageError, CommandError."""
    with server_packages():
        from voicewire.asr.transcriber import StreamingTranscriber

        model = StreamingTranscriber.load(
            choice.model,
            chunk_ms=chunk_ms,
            commit_ms=commit_ms,
            endpoint_ms=endpoint_ms,
            language=language,
            adapter=choice.adapter,
            device=choice.device,
            precision=choice.precision,
            threads=choice.threads,
        )
    return _Streaming(model, language)


class _Offline:
    def __init__(self, model: "OfflineTranscriber", language: str) -> None:
        self._model = model
        self._language = language

    def transcribe(self, audio: AudioFile, heard: Heard) -> TimedTranscript:
        samples = np.concatenate(list(_at_model_rate(audio)))
        duration_s = len(samples) / SAMPLE_RATE
        told_s = 0.0

        def progress(done_s: float) -> None:
            nonlocal told_s
            heard(max(0.0, min(done_s, duration_s) - told_s))
            told_s = max(told_s, min(done_s, duration_s))

        with server_packages():
            language = None if self._language == DETECT else self._language
            result = self._model.transcribe(samples, language=language, progress=progress)
        progress(duration_s)
        segments = tuple(
            Segment(segment.start_s, segment.end_s, tuple(map(_item, segment.words)))
            for segment in result.segments
            if segment.words
        )
        return TimedTranscript(result.language, duration_s, segments)


class _Streaming:
    def __init__(self, model: "StreamingTranscriber", language: str) -> None:
        self._model = model
        self._language = language

    def transcribe(self, audio: AudioFile, heard: Heard) -> TimedTranscript:
        with server_packages():
            self._model.reset()
            gathered = _Utterances()
            duration_s = 0.0
            for block in _at_model_rate(audio):
                gathered.take(self._model.push(block))
                duration_s += len(block) / SAMPLE_RATE
                heard(len(block) / SAMPLE_RATE)
            gathered.take(self._model.flush())
        return TimedTranscript(self._language, duration_s, tuple(gathered.segments()))


class _Utterances:
    """The committed words of a stream, by utterance."""

    def __init__(self) -> None:
        self._words: list[list[WordItem]] = [[]]

    def take(self, events: "list[Event]") -> None:
        from voicewire.asr.events import Endpoint, Transcript

        for event in events:
            if isinstance(event, Transcript):
                self._words[-1].extend(map(_item, event.words))
            elif isinstance(event, Endpoint):
                self._words.append([])

    def segments(self) -> Iterator[Segment]:
        return (segment_of(words) for words in self._words if words)


def _at_model_rate(audio: AudioFile) -> Iterator[Block]:
    from voicewire.asr.resampler import Resampler

    resampler = Resampler(audio.sample_rate, SAMPLE_RATE)
    for block in audio.blocks():
        yield resampler.push(block)
    yield resampler.flush()


def _item(word: "Word") -> WordItem:
    return WordItem(
        word=word.text,
        start=word.start_s,
        end=word.end_s,
        probability=word.probability,
        emitted=word.emitted_s,
    )
