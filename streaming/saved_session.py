"""A session as data: what one server process writes down, so that the next one can go on with it.

The models check what is read back; what the recogniser knows of the stream is asr/snapshot.py's.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from voicewire.streaming.messages import ServerMessage, Start

Count = Annotated[int, Field(ge=0)]


class _Saved(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SavedOutbox(_Saved):
    """Messages on their way: those that wait, and those that may have to be said again."""

    seq: Count
    taken: Count
    waiting: list[ServerMessage]
    kept: list[ServerMessage]
    again: list[ServerMessage]


class SavedNarrator(_Saved):
    """What was told so far, and the flushes to be answered, as the session's tag and the client's own id."""

    words: Count
    utterances: Count
    in_utterance: bool
    utterance: Count
    told_s: float
    flushes: list[tuple[str, str | int | None]]


class SavedSession(_Saved):
    """One session.

    Attributes:
        token: what its client comes back with.
        key: name of the client's API key, or None.
        age_s: since `start`.
        stream: the recogniser's settings in force, by name.
        flushes: how many there were.
        received: messages of the client's that have had their effect.
        received_samples: at the rate of the client's audio.
        pushed_samples, processed_samples: at 16 kHz: given to the recogniser, and looked at by it.
        rung: what its client was told of the server's load.
    """

    format: Literal["voicewire.session.1"] = "voicewire.session.1"
    session_id: str
    token: str
    key: str | None
    age_s: float
    start: Start
    stream: dict[str, Any]
    flushes: Count
    received: Count
    received_samples: Count
    pushed_samples: Count
    processed_samples: Count
    rung: Annotated[int, Field(ge=0, le=4)]
    outbox: SavedOutbox
    narrator: SavedNarrator
