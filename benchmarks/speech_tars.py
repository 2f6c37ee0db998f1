"""Speech with references, read from tars of `KEY.opus` and `KEY.json` pairs.

The tests and every benchmark take their speech from here, so that all of them hear the same samples.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16_000
FOLDER_VARIABLE = "VOICEWIRE_SPEECH"
REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class ReferenceWord:
    """A word of a reference whose place in the audio is known; times in seconds from the clip's start."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One utterance.

    Attributes:
        key: its name in the tar, unique there.
        samples: float32 of shape (samples,), mono, 16 kHz.
        text: what was said, as the corpus writes it; empty where nothing was said.
        words: the words with their times, where the corpus has them, else empty.
        duration: seconds of `samples`.
        speaker, corpus: as the corpus names them.
        tar: the name of its tar.
    """

    key: str
    samples: np.ndarray
    text: str
    words: tuple[ReferenceWord, ...]
    duration: float
    speaker: str
    corpus: str
    tar: str = ""


class SpeechTar:
    """One tar, indexed at once and decoded clip by clip.

    Args:
        path: a tar of pairs `KEY.opus` (or .ogg, .flac, .wav) and `KEY.json`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        self._tar = tarfile.open(path)  # noqa: SIM115 - lives as long as this object
        audio: dict[str, tarfile.TarInfo] = {}
        meta: dict[str, tarfile.TarInfo] = {}
        for member in self._tar:
            key, _, suffix = member.name.rpartition(".")
            (meta if suffix == "json" else audio)[key] = member
        self._members = {key: (audio[key], meta[key]) for key in sorted(audio.keys() & meta.keys())}

    def __len__(self) -> int:
        return len(self._members)

    def keys(self, limit: int | None = None, *, timed: bool = False) -> list[str]:
        """The clips' names in order; with `limit`, an arbitrary choice of that many that is always the same.

        The choice goes by a hash of the name, so a smaller choice is part of every larger one. With `timed`, only
        clips whose words have known times.
        """
        return _chosen([key for key in self._members if not timed or self.words(key)], limit)

    def held_out_keys(self, limit: int | None = None) -> list[str]:
        """The same of clips that training may not hear: all, but where nobody speaks the second half by name."""
        keys = list(self._members)
        speaks = any(self.reference(key)[0] for key in keys)
        return _chosen(keys if speaks else keys[len(keys) // 2 :], limit)

    def read(self, key: str) -> Clip:
        """Decodes one clip. Raises KeyError."""
        audio, _ = self._members[key]
        facts = self._facts(key)
        samples, rate = soundfile.read(io.BytesIO(self._bytes(audio)), dtype="float32", always_2d=True)
        mono = samples.mean(axis=1)
        if rate != SAMPLE_RATE:
            mono = soxr.resample(mono, rate, SAMPLE_RATE)
        return Clip(
            key=key,
            samples=np.ascontiguousarray(mono, dtype=np.float32),
            text=facts["text"],
            words=self.words(key),
            duration=len(mono) / SAMPLE_RATE,
            speaker=str(facts.get("speaker", "")),
            corpus=str(facts.get("corpus", "")),
            tar=self.name,
        )

    def reference(self, key: str) -> tuple[str, float]:
        """What was said in a clip and its length in seconds, without decoding it. Raises KeyError."""
        facts = self._facts(key)
        return facts["text"], float(facts["duration"])

    def words(self, key: str) -> tuple[ReferenceWord, ...]:
        """A clip's words with their times, without decoding it; () where the corpus has none. Raises KeyError."""
        return tuple(_reference_word(word) for word in self._facts(key).get("words", ()))

    def clips(self, limit: int | None = None, *, timed: bool = False) -> Iterator[Clip]:
        """Decodes the clips that `keys` names, one at a time."""
        for key in self.keys(limit, timed=timed):
            yield self.read(key)

    def _facts(self, key: str) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self._bytes(self._members[key][1]))
        return facts

    def _bytes(self, member: tarfile.TarInfo) -> bytes:
        file = self._tar.extractfile(member)
        if file is None:
            raise ValueError(f"{self.path}: {member.name} is no regular file")
        return file.read()


def speech_folder() -> Path:
    """Where the tars lie: $VOICEWIRE_SPEECH, or the folder `shared/speech` beside the repository."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else REPOSITORY.parent / "shared" / "speech"


def _chosen(keys: list[str], limit: int | None) -> list[str]:
    if limit is None or limit >= len(keys):
        return keys
    return sorted(sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())[:limit])


def _reference_word(word: dict[str, Any]) -> ReferenceWord:
    return ReferenceWord(str(word["word"]), float(word["start"]), float(word["end"]))
