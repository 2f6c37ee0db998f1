"""Prepared utterances on disk: for each tar a file of samples, read by mapping it, and one of JSON lines.

The JSON lines are written last, so a shard that has them is whole. Nothing in it is pickled.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicewire.asr.errors import AudioError
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.asr.train.labels import in_order

FULL_SCALE = 32767


@dataclass(frozen=True, slots=True)
class Utterance:
    """Labels of one stretch of audio.

    Attributes:
        key: its name in the tar.
        start: its first sample in the shard.
        samples: how many it has.
        tokens: what is said in it; empty for noise.
        begins, due: seconds from the utterance's start; when each token's word begins, and when the token should
            be said.
        text: the tokens as text.
        agreement: the share of the reference's words that Whisper heard, or without a reference the mean
            probability of its tokens.
        labelled: whether there was a reference.
        facts: what the corpus says of it: speaker, corpus, licence.
    """

    key: str
    start: int
    samples: int
    tokens: list[int] = field(default_factory=list)
    begins: list[float] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    text: str = ""
    agreement: float = 1.0
    labelled: bool = True
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        return self.samples / SAMPLE_RATE

    def check(self, available: int) -> None:
        """Raises ValueError where the labels contradict each other or the shard's length."""
        fits = self.start >= 0 and self.samples > 0 and self.start + self.samples <= available
        if not fits or not len(self.tokens) == len(self.due) == len(self.begins):
            raise ValueError(f"utterance {self.key!r} does not fit its shard")
        if in_order(self.due) != self.due:
            raise ValueError(f"utterance {self.key!r} has tokens that are due before earlier ones")


class ShardWriter:
    """Collects a tar's utterances; nothing is visible before `close`.

    Attributes:
        count: utterances so far.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, name
        self._temporary = folder / f".{name}.{os.getpid()}.part"
        self._audio = self._temporary.open("wb")
        self.count = 0
        self._lines: list[str] = []
        self._samples = 0

    def add(self, samples: NDArray[np.float32], key: str, **labels: Any) -> None:
        """Samples, shape = (n,), and the other attributes of their Utterance."""
        utterance = Utterance(key, self._samples, len(samples), **labels)
        self._audio.write((np.clip(samples, -1, 1) * FULL_SCALE).astype("<i2").tobytes())
        self._samples += len(samples)
        self.count += 1
        self._lines.append(json.dumps(asdict(utterance), ensure_ascii=False))

    def close(self) -> None:
        self._audio.close()
        self._temporary.rename(audio_file(self._folder, self._name))
        text = "".join(f"{line}\n" for line in self._lines)
        unfinished = self._temporary.with_suffix(".lines")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.rename(label_file(self._folder, self._name))

    def abandon(self) -> None:
        self._audio.close()
        self._temporary.unlink(missing_ok=True)


def audio_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.pcm"


def label_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl"


def is_prepared(folder: Path, name: str) -> bool:
    return label_file(folder, name).is_file() and audio_file(folder, name).is_file()


@dataclass(frozen=True)
class Shard:
    """A prepared tar.

    Attributes:
        name: the tar's.
        utterances: in the order of the tar.
        samples: int16, shape = (samples,), mapped from disk.
    """

    name: str
    utterances: list[Utterance]
    samples: NDArray[np.int16]

    @classmethod
    def open(cls, folder: Path, name: str) -> "Shard":
        """Raises AudioError where a file is missing or damaged."""
        try:
            audio = audio_file(folder, name)
            # an empty file cannot be mapped: nothing of that tar was kept
            empty = audio.stat().st_size == 0
            samples = np.zeros(0, "<i2") if empty else np.memmap(audio, dtype="<i2", mode="r")
            utterances = [
                Utterance(**json.loads(line))
                for line in label_file(folder, name).read_text(encoding="utf-8").splitlines()
            ]
            for utterance in utterances:
                utterance.check(len(samples))
        except (OSError, ValueError, TypeError) as error:
            raise AudioError(f"the shard {folder / name} is damaged ({error}): prepare it again") from error
        return cls(name, utterances, samples)

    def audio(self, utterance: Utterance) -> NDArray[np.float32]:
        """Its samples, shape = (n,), float32."""
        piece = self.samples[utterance.start : utterance.start + utterance.samples]
        return piece.astype(np.float32) / np.float32(FULL_SCALE)


def open_shards(folders: Iterable[Path]) -> list[Shard]:
    """All shards of the folders. Raises AudioError where a folder has none, or one is damaged."""
    shards: list[Shard] = []
    for folder in folders:
        found = [Shard.open(folder, file.stem) for file in sorted(folder.glob("*.jsonl"))]
        if not found:
            raise AudioError(f"nothing is prepared in {folder}: run `voicewire train prepare` first")
        shards += found
    return shards
