"""What every other protocol is to the server: a translator that stands between its client and a native session.

A facade knows no sockets, no engine and no time. What it is given it answers with steps, which whoever drives it
carries out in order: native messages and audio go to the session, replies go to the client.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from voicewire.streaming.messages import ClientMessage, ServerMessage


@dataclass(frozen=True, slots=True)
class Reply:
    """Something for the client.

    Attributes:
        data: text, or bytes where the protocol is one of bytes.
    """

    data: str | bytes


# A native message for the session, audio for it, or a reply to the client.
Step = ClientMessage | bytes | Reply


class Facade(Protocol):
    """One client's protocol, sans I/O. Methods may raise SessionError, which ends the session with its code."""

    def begin(self) -> Iterable[Step]:
        """What happens before the client says anything."""
        ...

    def receive_text(self, text: str) -> Iterable[Step]:
        """Takes a text message of the client's."""
        ...

    def receive_bytes(self, data: bytes) -> Iterable[Step]:
        """Takes a binary message of the client's."""
        ...

    def tell(self, message: ServerMessage) -> Iterable[Step]:
        """Takes what the session says."""
        ...
