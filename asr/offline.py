"""Unmodified full-context Whisper through openai-whisper's own `transcribe`: the most accurate, and the measure of
what streaming costs.
"""

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, TypeAlias
from unittest import mock

import numpy as np
import torch
import whisper
from whisper.audio import HOP_LENGTH
from whisper.model import Whisper
from whisper.tokenizer import LANGUAGES

from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.errors import AudioError, SettingsError
from voicewire.asr.events import Word
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.asr.weights import load_checkpoint

Progress = Callable[[float], None]
"""Called with how many seconds of the recording are done."""

Task: TypeAlias = Literal["transcribe", "translate"]
"""The words as they are spoken, or in English."""

_SEED = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech as Whisper divides it; about a sentence."""

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Transcription:
    """What was said in a recording.

    Attributes:
        text: all of it.
        language: Whisper's code for it, asked for or detected.
        segments: in order; their words carry the recording's whole length as `emitted_s`.
    """

    text: str
    language: str
    segments: tuple[Segment, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)


class OfflineTranscriber:
    """A loaded model, for one recording after the other. Not thread-safe.

    Attributes:
        model_name: openai-whisper's name of the model.
    """

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        self.model_name = checkpoint.name
        self._model = Whisper(checkpoint.dims)
        self._model.load_state_dict(checkpoint.state)
        heads = whisper._ALIGNMENT_HEADS.get(checkpoint.name)
        if heads is not None:
            self._model.set_alignment_heads(heads)
        self._model.encoder = _OnceEncoder(self._model.encoder)
        self._model.to(device).eval()

    @classmethod
    def load(
        cls, model: str = "base", device: str = "auto", threads: int | None = None
    ) -> "OfflineTranscriber":
        """Load the weights; float32 on a processor, float16 arithmetic on CUDA, as openai-whisper does.

        Args:
            model: a name of OpenAI's, or a path.
            device: "auto" (CUDA where there is one), "cpu" or "cuda".
            threads: processor threads for torch, in the whole process; None leaves torch's own choice.

        Raises:
            WeightsError: no weights were found, or they are damaged.
            SettingsError: no such device.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise SettingsError(f"device must be auto, cpu or cuda, not {device!r}")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device == "cuda" and not torch.cuda.is_available():
            raise SettingsError("this torch sees no CUDA device: install one with CUDA, or set device to cpu")
        if threads is not None:
            torch.set_num_threads(threads)
        return cls(load_checkpoint(model), device)

    def transcribe(
        self,
        samples: np.ndarray,
        language: str | None = "en",
        progress: Progress | None = None,
        words: bool = True,
        task: Task = "transcribe",
    ) -> Transcription:
        """Transcribe a whole recording. The same recording always gives the same words.

        Args:
            samples: (any number,), mono float32 at 16 kHz.
            language: Whisper's code for what is spoken; None has it detected from the first 30 s.
            progress: told how much is done, from time to time.
            words: whether segments get words with times, which takes a sixth longer.
            task: "translate" gives English whatever is spoken. The times of its words are no more than near.

        Raises:
            AudioError: samples are not one row of finite float32.
            SettingsError: Whisper, or this model of it, does not know the language or cannot translate.
        """
        if samples.ndim != 1 or samples.dtype != np.float32 or not np.isfinite(samples).all():
            raise AudioError("samples must be one row of finite float32")
        self.check(language, task)
        # Where Whisper is not content with its text it tries again by drawing lots.
        with torch.random.fork_rng(), _reporting(progress), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Word-level timestamps on translations")
            torch.manual_seed(_SEED)
            result = whisper.transcribe(
                self._model,
                samples,
                language=language,
                task=task,
                word_timestamps=words,
                fp16=self._model.device.type == "cuda",
            )
        duration_s = len(samples) / SAMPLE_RATE
        segments = tuple(_segment(segment, duration_s) for segment in result["segments"])
        return Transcription(result["text"].strip(), result["language"], segments)

    def check(self, language: str | None, task: Task = "transcribe") -> None:
        """Raises SettingsError where `transcribe` would, given these."""
        if language is not None and language not in LANGUAGES:
            raise SettingsError(
                f"Whisper does not know the language {language!r}: use a code such as en, de, fr"
            )
        if not self._model.is_multilingual and language not in (None, "en"):
            raise SettingsError(f"{self.model_name} knows English only: load a model without .en in its name")
        if not self._model.is_multilingual and task == "translate":
            raise SettingsError(f"{self.model_name} cannot translate: load a model without .en in its name")


class _OnceEncoder(torch.nn.Module):
    """Whisper's encoder, for a window that is asked for again at once: to time its words, and where openai-whisper
    is not content with its text. It would be encoded each time, which is a quarter of all the work.
    """

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self._encoder = encoder
        self._mel: torch.Tensor | None = None
        self._features: torch.Tensor | None = None

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """The features of a window, shape = (1, 1500, n_audio_state); mel has shape = (1, n_mels, 3000)."""
        if self._features is None or self._mel is None or not torch.equal(self._mel, mel):
            self._mel, self._features = mel, self._encoder(mel)
        return self._features


def _segment(segment: dict[str, Any], duration_s: float) -> Segment:
    words = tuple(
        Word(word["word"], float(word["start"]), float(word["end"]), float(word["probability"]), duration_s)
        for word in segment.get("words", ())
    )
    return Segment(float(segment["start"]), float(segment["end"]), segment["text"], words)


_reporting_lock = threading.Lock()


@contextmanager
def _reporting(progress: Progress | None) -> Iterator[None]:
    """Have openai-whisper's progress bar, the only sign of life that it gives, tell `progress` instead."""
    if progress is None:
        yield
        return
    tell = progress

    class Bar:
        def __init__(self, **_: object) -> None:
            self.frames = 0

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, frames: int) -> None:
            self.frames += frames
            tell(self.frames * HOP_LENGTH / SAMPLE_RATE)

    # The package has a function of the module's name, so the module is to be had from here only.
    module = sys.modules["whisper.transcribe"]
    with _reporting_lock, mock.patch.object(module, "tqdm", SimpleNamespace(tqdm=Bar)):
        yield
