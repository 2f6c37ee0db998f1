"""What the server answers over HTTP about itself, as typed models."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from voicewire.streaming.messages import ErrorCode


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Health(_Answer):
    """Whether the process is worth keeping."""

    status: Literal["ok", "failed", "stalled"]


class Slots(_Answer):
    """Sessions that can be had at one time, and those that are taken."""

    capacity: int
    in_use: int


class Readiness(_Answer):
    """Whether sessions are served."""

    status: Literal["ready", "loading", "full", "closing", "failed", "stalled"]
    model: str
    codecs: list[str]
    slots: Slots


class Denial(_Answer):
    """Why a request or a handshake comes to nothing."""

    code: ErrorCode
    message: str
