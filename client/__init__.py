"""voicewire's client: streams audio to a server and reads timed words back, reads audio files, writes subtitles.

Needs no torch. `connect` is the async client, `voicewire.client.sync` the same for ordinary code.
"""

from voicewire.client.connection import connect
from voicewire.client.errors import (
    AudioFileError,
    AudioFormatError,
    ClientError,
    ConnectionFailed,
    ConnectionLost,
    ProtocolError,
    ServerError,
    SettingError,
    StreamClosed,
)
from voicewire.client.stream import Stream
from voicewire.client.tokens import TokensEvent, token_records

__all__ = [
    "AudioFileError",
    "AudioFormatError",
    "ClientError",
    "ConnectionFailed",
    "ConnectionLost",
    "ProtocolError",
    "ServerError",
    "SettingError",
    "Stream",
    "StreamClosed",
    "TokensEvent",
    "connect",
    "token_records",
]
