"""The errors of the client. Each message says what to do about it; the commands print it and no traceback."""

from voicewire.streaming.messages import ErrorCode


class ClientError(Exception):
    """Base of everything that voicewire.client raises on purpose."""


class ConnectionFailed(ClientError):  # noqa: N818
    """No session came about: nothing listens there, it is no voicewire server, or it did not answer in time."""


class ConnectionLost(ClientError):  # noqa: N818
    """The connection broke before the server had said `done`."""


class ServerError(ClientError):
    """The server ended the session and said why.

    Attributes:
        code: one of the codes of docs/protocol.md; it equals its name, so ``error.code == "capacity"`` works.
        message: the server's own words.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(f"the server ended the session ({code}): {message}")
        self.code = code
        self.message = message


class ProtocolError(ClientError):
    """The other side sent something that is not in the protocol."""


class StreamClosed(ClientError):  # noqa: N818
    """The stream was closed before this call."""


class SettingError(ClientError, ValueError):
    """A setting lies outside what the protocol allows."""


class AudioFormatError(ClientError, ValueError):
    """Samples of a shape or type that the stream's encoding cannot carry."""


class AudioFileError(ClientError):
    """A file that cannot be read as audio; the message says why."""


class MicrophoneError(ClientError):
    """No microphone can be opened."""


class MissingPackageError(ClientError):
    """A part of voicewire that this installation lacks; the message says what to install."""


class CommandError(ClientError):
    """A command cannot do what it was asked to."""
