"""Recordings and what was said in them, from tars of `KEY.opus` and `KEY.json` pairs (the WebDataset layout)."""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from voicewire.asr.errors import AudioError
from voicewire.asr.settings import SAMPLE_RATE

NO_SPEECH = "zxx"  # ISO 639-2: no linguistic content
_AUDIO = (".opus", ".ogg", ".flac", ".wav")


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One member pair of a tar.

    Attributes:
        key: its name in the tar.
        samples: float32, shape = (samples,), mono, 16 kHz.
        text: what was said; empty where nobody wrote it down, or where nothing was said.
        language: as the corpus gives it; "zxx" where there is no speech.
        facts: the whole JSON, for what a model card needs (speaker, corpus, licence).
    """

    key: str
    samples: np.ndarray
    text: str
    language: str
    facts: dict[str, Any]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def read_tar(path: Path, share: float = 1.0) -> Iterator[Recording]:
    """The recordings of a tar in the order of their names.

    Args:
        path: the tar.
        share: how much of it is read, 0 to 1, from the first name on: the rest may be kept for tests.

    Raises:
        AudioError: the tar, or a member of it, cannot be read; says which.
    """
    try:
        with tarfile.open(path) as tar:
            members = {member.name: member for member in tar if member.isfile()}
            keys = sorted(name[: -len(".json")] for name in members if name.endswith(".json"))
            for key in keys[: round(len(keys) * share)]:
                audio = next((members[key + end] for end in _AUDIO if key + end in members), None)
                if audio is not None:
                    yield _recording(key, _bytes(tar, audio), _bytes(tar, members[f"{key}.json"]), path)
    except (OSError, tarfile.TarError) as error:
        raise AudioError(f"{path} cannot be read as a tar: {error}") from error


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # only files were listed
    return file.read()


def _recording(key: str, audio: bytes, facts: bytes, path: Path) -> Recording:
    try:
        known = json.loads(facts)
        samples, rate = soundfile.read(io.BytesIO(audio), dtype="float32", always_2d=True)
        text, language = str(known.get("text", "")), str(known.get("language", "en"))
    except (ValueError, AttributeError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: {key} cannot be read: {error}") from error
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return Recording(key, np.ascontiguousarray(mono, dtype=np.float32), text.strip(), language, known)
