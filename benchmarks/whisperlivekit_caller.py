"""A client of WhisperLiveKit's websocket (`/asr`) that sees what the clients of callers.py see.

Its messages hold the whole transcript so far, without times of words. So a word's delay is the time from its end
in the speech as played, whose words have known times, to the moment at which it stands among what is settled.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection

from benchmarks.callers import Caller
from benchmarks.speech_tars import ReferenceWord
from benchmarks.word_match import match_words, plain
from voicewire.asr.events import Word


class Lines:
    """The words of a transcript that comes whole each time, and when each came.

    Attributes:
        words: those that are settled.
        settled_at: for each of them, when it first stood where it stands.
        shown_at: for each place in the transcript, when a word first stood there, settled or not.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.settled_at: list[float] = []
        self.shown_at: list[float] = []

    def take(self, message: dict[str, Any], now: float) -> None:
        """A message with `lines` and `buffer_transcription`."""
        words = [word for line in message["lines"] for word in (line["text"] or "").split()]
        kept = 0
        for word, before in zip(words, self.words, strict=False):
            if plain(word) != plain(before):
                break
            kept += 1
        self.words = words
        self.settled_at[kept:] = [now] * (len(words) - kept)
        shown = len(words) + len(message["buffer_transcription"].split())
        self.shown_at += [now] * (shown - len(self.shown_at))


class LinesCaller(Caller):
    """One client of it.

    Args:
        url: of the server's websocket; the server takes PCM (`--pcm-input`).
        speech: as for `Caller`.
        reference: what it says, over and over, with times on the clock of what is played.
    """

    def __init__(self, url: str, speech: np.ndarray, reference: Sequence[ReferenceWord]) -> None:
        super().__init__(url, speech, {})
        self._reference = reference
        self._lines = Lines()

    async def call(self, begin_s: float, warm_up_s: float, seconds: float) -> None:
        await super().call(begin_s, warm_up_s, seconds)
        self._measure()

    async def _greet(self, websocket: ClientConnection) -> None:
        await websocket.recv()  # its `config`

    def _take(self, message: str, now: float) -> None:
        transcript = json.loads(message)
        self.heard.error = self.heard.error or transcript.get("error", "")
        if "lines" in transcript:
            self._lines.take(transcript, now)
            if self._counts[0] <= now <= self._counts[1]:
                late_s = transcript["remaining_time_transcription_processing"]
                self.heard.buffered_ms.append(round(1000 * late_s))

    def _measure(self) -> None:
        """The delays of the words that came while it counted."""
        played = [word for word in self._reference if word.end_s <= self._counts[1] - self._began]
        words = [Word(text, 0.0, 0.0, 0.0, 0.0) for text in self._lines.words]
        if not played or not words:
            return
        for word, at in match_words(played, words):
            ended_at = self._began + word.end_s
            for moments, delays in (
                (self._lines.settled_at, self.heard.committed_s),
                (self._lines.shown_at, self.heard.shown_s),
            ):
                if self._counts[0] <= moments[at] <= self._counts[1]:
                    delays.append(moments[at] - ended_at)
