"""The errors of the service. Each message says what to do about it, in words that may be shown to a client."""

from voicewire.streaming.messages import ErrorCode


class StreamingError(Exception):
    """Base of everything that voicewire.streaming raises on purpose."""


class DecodingError(StreamingError, ValueError):
    """Audio that is not what its encoding says."""


class SessionError(StreamingError):
    """Something that ends a session, with the code that its client is told."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class ParameterError(StreamingError, ValueError):
    """A parameter that a client of another protocol gave, and that cannot be."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class FolderError(StreamingError):
    """A folder that the operator named, and that cannot be used."""


class TapeError(StreamingError, ValueError):
    """A recording of a session that cannot be read, or not be played here."""


class HandoverError(StreamingError, ValueError):
    """A session that another process left behind, and that cannot be gone on with."""


class DeploymentError(StreamingError, ValueError):
    """Settings with which the service cannot run on a cluster."""


class EngineError(StreamingError):
    """The engine cannot be used: it failed to load its model, or it was stopped."""
