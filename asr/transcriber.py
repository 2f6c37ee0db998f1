"""One stream, for people who embed voicewire in their own program."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.events import Event
from voicewire.asr.settings import StreamSettings

__all__ = ["BatchTranscriber", "StreamingTranscriber"]


class StreamingTranscriber:
    """Turns pushed audio into events.

    >>> transcriber = StreamingTranscriber.load(model="base", chunk_ms=300, commit_ms=1200)
    >>> events = transcriber.push(samples)   # mono float32 at 16 kHz, any length
    >>> events += transcriber.flush()        # every word of the audio so far
    """

    def __init__(self, batch: BatchTranscriber, settings: StreamSettings) -> None:
        self.batch = batch
        self.settings = settings
        self._slot = batch.open(settings)

    @classmethod
    def load(
        cls,
        model: str = "base",
        *,
        chunk_ms: int = 300,
        commit_ms: int = 1200,
        endpoint_ms: int = 700,
        language: str = "en",
        interim: bool = True,
        beam: int = 1,
        lookahead_ms: int | None = None,
        keyterms: Sequence[str] = (),
        adapter: str | Path = "default",
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> "StreamingTranscriber":
        """Loads a model with room for one stream; see StreamSettings and BatchTranscriber.load."""
        settings = StreamSettings(
            chunk_ms, commit_ms, endpoint_ms, language, interim, beam, lookahead_ms, keyterms=tuple(keyterms)
        )
        batch = BatchTranscriber.load(
            model,
            slots=1,
            adapter=adapter,
            device=device,
            precision=precision,
            threads=threads,
            widest_beam=beam,
        )
        return cls(batch, settings)

    def push(self, samples: NDArray[np.float32]) -> list[Event]:
        """Takes mono float32 samples at 16 kHz, shape = (n,), and says what they gave. Raises AudioError."""
        self.batch.push(self._slot, samples)
        return self._drain()

    def flush(self, tag: str | None = None) -> list[Event]:
        """Says every word of the audio pushed so far; the last event is Flushed(tag). The stream can go on."""
        self.batch.flush(self._slot, tag)
        return self._drain()

    def configure(
        self, *, chunk_ms: int | None = None, commit_ms: int | None = None, endpoint_ms: int | None = None
    ) -> None:
        """Changes settings for the audio that follows. Raises SettingsError."""
        self.settings = self.settings.with_changes(
            chunk_ms=chunk_ms, commit_ms=commit_ms, endpoint_ms=endpoint_ms
        )
        self.batch.configure(self._slot, self.settings)

    def snapshot(self) -> bytes:
        """The stream's whole state; `restore` goes on from it as if nothing had happened."""
        return self.batch.snapshot(self._slot)

    def restore(self, data: bytes) -> None:
        """Replaces the stream by that of a snapshot of the same model and adapter. Raises SnapshotError."""
        self.batch.close(self._slot)
        self._slot = self.batch.restore(data)

    def reset(self) -> None:
        """Begins a new stream, its clock at zero."""
        self.batch.close(self._slot)
        self._slot = self.batch.open(self.settings)

    def _drain(self) -> list[Event]:
        events: list[Event] = []
        while turn := self.batch.step():
            events += turn[self._slot]
        return events
