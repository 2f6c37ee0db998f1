"""What a client of OpenAI's realtime protocol has set, in its present shape or the older one."""

from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from voicewire.streaming.errors import ParameterError
from voicewire.streaming.messages import Encoding, Start
from voicewire.streaming.protocols.language import code_of
from voicewire.streaming.protocols.openai_events import (
    AudioFormat,
    AudioInput,
    OlderSessionUpdate,
    SessionUpdate,
    TurnDetection,
)

_ENCODINGS: dict[str, Encoding] = {"audio/pcm": "pcm_s16le", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}
_OLDER_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
# How long a pause ends a turn where the client leaves that to the model's sense of language, which this one lacks.
_PATIENCE_MS = {"low": 1500, "medium": 800, "auto": 800, "high": 400}
_SHORTEST_MS, _LONGEST_MS = 200, 10_000
# Where the client ends its turns itself.
_UNTOLD_MS = 700
_TELEPHONE_RATE = 8_000
# What holds where the client says nothing.
_PCM = AudioFormat(type="audio/pcm")
_PAUSES = TurnDetection()


@dataclass(frozen=True, slots=True)
class RealtimeSettings:
    """What holds for one realtime session.

    Attributes:
        format: of the audio.
        model: as the client names it.
        language: as the client names it; None for the server's own.
        turns: how turns are told apart; None where the client commits them itself.
    """

    format: AudioFormat = _PCM
    model: str = ""
    language: str | None = None
    turns: TurnDetection | None = _PAUSES

    @property
    def language_code(self) -> str:
        """As Whisper has it."""
        return code_of(self.language or "en")

    @property
    def endpoint_ms(self) -> int:
        """The pause that ends a turn, within what the recogniser can do."""
        if self.turns is None:
            return _UNTOLD_MS
        if self.turns.type == "semantic_vad":
            return _PATIENCE_MS[self.turns.eagerness]
        return min(max(self.turns.silence_duration_ms, _SHORTEST_MS), _LONGEST_MS)

    @property
    def start(self) -> Start:
        """The native session that these settings want."""
        return Start(
            encoding=_ENCODINGS[self.format.type],
            sample_rate=self.format.rate if self.format.type == "audio/pcm" else _TELEPHONE_RATE,
            language=self.language_code,
            endpoint_ms=self.endpoint_ms,
        )

    def updated(self, session: dict[str, Any], *, older: bool) -> "RealtimeSettings":
        """With a client's update. Raises ParameterError."""
        try:
            given = _from_older(session) if older else SessionUpdate.model_validate(session).audio.input
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(("session", *map(str, first["loc"])))
            raise ParameterError(where, first["msg"]) from error
        changed = self
        if given.format is not None:
            changed = replace(changed, format=given.format)
        if given.transcription is not None:
            changed = replace(
                changed,
                model=given.transcription.model or changed.model,
                language=given.transcription.language or changed.language,
            )
        if "turn_detection" in given.model_fields_set:
            changed = replace(changed, turns=given.turn_detection)
        return changed

    def told(self, session_id: str, *, older: bool = False) -> dict[str, Any]:
        """The `session` that a client is told."""
        transcription = {"model": self.model, "language": self.language, "prompt": ""}
        turns = self.turns.model_dump(exclude_unset=True) | {"type": self.turns.type} if self.turns else None
        common = {"id": f"sess_{session_id}", "object": "realtime.transcription_session"}
        if older:
            names = {new: old for old, new in _OLDER_FORMATS.items()}
            return common | {
                "input_audio_format": names[self.format.type],
                "input_audio_transcription": transcription,
                "turn_detection": turns,
            }
        audio = {
            "format": self.format.model_dump(),
            "transcription": transcription,
            "turn_detection": turns,
            "noise_reduction": None,
        }
        return common | {"type": "transcription", "audio": {"input": audio}, "include": None}


def _from_older(session: dict[str, Any]) -> AudioInput:
    given = OlderSessionUpdate.model_validate(session)
    fields: dict[str, Any] = {"transcription": given.input_audio_transcription}
    if given.input_audio_format is not None:
        fields["format"] = AudioFormat.model_validate({"type": _OLDER_FORMATS[given.input_audio_format]})
    if "turn_detection" in given.model_fields_set:
        fields["turn_detection"] = given.turn_detection
    return AudioInput(**fields)
