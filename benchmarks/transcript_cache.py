"""Transcripts already made, kept as JSON lines, so that a benchmark goes on where it was stopped.

An entry is found again only by the same recogniser: the key holds a fingerprint of its source and weights.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TranscriptKey:
    """One clip through one recogniser in one setting."""

    recogniser: str
    setting: str
    tar: str
    clip: str

    def __str__(self) -> str:
        return "/".join((self.recogniser, self.setting, self.tar, self.clip))


class TranscriptCache:
    """Reads the file at once; every addition is on disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        self._texts: dict[str, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._read(path)
        self._file = path.open("a", encoding="utf-8")
        self._file.write("\n")  # ends a line that a killed run left torn

    def get(self, key: TranscriptKey) -> str | None:
        return self._texts.get(str(key))

    def add(self, key: TranscriptKey, text: str) -> None:
        self._texts[str(key)] = text
        self._file.write(json.dumps({"key": str(key), "text": text}, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _read(self, path: Path) -> None:
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # empty, or torn
            self._texts[entry["key"]] = entry["text"]


def fingerprint(*parts: object, files: Iterable[Path] = ()) -> str:
    """Sixteen hex digits that change when a part or a file's content does."""
    digest = hashlib.sha256(repr(parts).encode())
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
