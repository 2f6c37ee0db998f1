"""Recordings and what was said in them, from tars of `KEY.opus` and `KEY.json` pairs (the WebDataset layout)."""

import io
import json
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from voicewire.asr.errors import AudioError
from voicewire.asr.settings import SAMPLE_RATE

NO_SPEECH = "zxx"  # ISO 639-2: no linguistic content
LONGEST_S = 3600.0  # a recording is decoded as a whole
_AUDIO = (".opus", ".ogg", ".flac", ".wav")
Damaged = Callable[[AudioError], None]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One member pair of a tar.

    Attributes:
        key: its name in the tar.
        samples: float32, shape = (samples,), mono, 16 kHz.
        text: what was said; empty where nobody wrote it down, or where nothing was said.
        language: as the corpus gives it, without the region; "zxx" where there is no speech; empty where it says
            nothing.
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


def read_tar(path: Path, share: float = 1.0, damaged: Damaged | None = None) -> Iterator[Recording]:
    """The recordings of a tar in the order of their names.

    Args:
        path: the tar.
        share: how much of it is read, 0 to 1, from the first name on: the rest may be kept for tests.
        damaged: told of a recording that cannot be read, which is left out; where it is None, that is an error.

    Raises:
        AudioError: the tar cannot be read or has no such pairs, or a recording cannot be read; says which.
    """
    try:
        with tarfile.open(path) as tar:
            members = {member.name: member for member in tar if member.isfile()}
            pairs = _pairs(members)
            if not pairs:
                raise AudioError(f"{path} holds no pairs of KEY.json and KEY{'|'.join(_AUDIO)}: pack them so")
            for key, audio in pairs[: round(len(pairs) * share)]:
                try:
                    recording = _recording(key, _bytes(tar, audio), _bytes(tar, members[f"{key}.json"]), path)
                except AudioError as error:
                    if damaged is None:
                        raise
                    damaged(error)
                    continue
                yield recording
    except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        raise AudioError(f"{path} cannot be read as a tar: {error}") from error


def _pairs(members: dict[str, tarfile.TarInfo]) -> list[tuple[str, tarfile.TarInfo]]:
    """Keys in order, each with its audio."""
    keys = sorted(name.removesuffix(".json") for name in members if name.endswith(".json"))
    found = (
        (key, next((members[key + end] for end in _AUDIO if key + end in members), None)) for key in keys
    )
    return [(key, audio) for key, audio in found if audio is not None]


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # only files were listed
    return file.read()


def _recording(key: str, audio: bytes, facts: bytes, path: Path) -> Recording:
    try:
        known = json.loads(facts)
        text, language = str(known.get("text") or ""), str(known.get("language") or "")
        with soundfile.SoundFile(io.BytesIO(audio)) as file:
            rate = file.samplerate
            if file.frames > LONGEST_S * rate:
                raise ValueError(f"it is longer than {LONGEST_S:g} s: cut it")
            mono = file.read(dtype="float32", always_2d=True).mean(axis=1)
    except (ValueError, AttributeError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: {key} cannot be read: {error}") from error
    if not len(mono) or not np.isfinite(mono).all():
        raise AudioError(f"{path}: {key} cannot be read: it is empty, or its samples are no numbers")
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return Recording(
        key, np.ascontiguousarray(mono, dtype=np.float32), text.strip(), _language(language), known
    )


def _language(code: str) -> str:
    """Without the region: "en" for "en-US"."""
    return code.strip().lower().replace("_", "-").partition("-")[0]
