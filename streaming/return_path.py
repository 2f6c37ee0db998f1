"""How a session is gone on with after its connection was lost, sans I/O: who has received what, and for how long.

Both sides count whole messages. That holds for every encoding, for settings and flushes between the audio and for
binary records alike, and says to the message where each side stopped.
"""

from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import Ack, AckMessage, ClientMessage, ErrorCode, Resumed, Ticket
from voicewire.streaming.outbox import Outbox

# A client is told of what has come whenever there is so much of it: it has to keep what it was not told of.
_MESSAGES_PER_ACK = 32
_BYTES_PER_ACK = 64 * 1024


class ReturnPath:
    """One session's way back.

    Args:
        outbox: keeps what the client may lack.
        ticket: what the client needs; with a window of 0 there is no way back.

    Attributes:
        lost_at: since when there is no connection; None while there is one, and once nobody is waited for.
    """

    def __init__(self, outbox: Outbox, ticket: Ticket) -> None:
        self.ticket = ticket
        self.lost_at: float | None = None
        self._outbox = outbox
        self._received = 0
        self._told = 0
        self._bytes_untold = 0

    @property
    def open(self) -> bool:
        """Whether the client may come back, as far as nothing that it lacks was thrown away."""
        return self._outbox.keeps

    @property
    def waiting(self) -> bool:
        """Whether there is no connection, and the client may come back."""
        return self.open and self.lost_at is not None

    @property
    def deadline(self) -> float:
        """When a client that is waited for is given up; there must be one."""
        assert self.lost_at is not None
        return self.lost_at + self.ticket.window_s

    def begin(self) -> None:
        """The client asks for it."""
        self._outbox.keeps = self.ticket.window_s > 0

    def shut(self) -> None:
        """Nobody will come back."""
        self._outbox.keeps = False
        self.lost_at = None

    def count(self, message: ClientMessage | bytes) -> None:
        """A message of the client's has come, and will have its effect."""
        if isinstance(message, Ack):
            return
        self._received += 1
        if isinstance(message, bytes):
            self._bytes_untold += len(message)

    def ack(self) -> AckMessage | None:
        """What the client is to be told of its messages; None where it is too early for that."""
        due = self._received - self._told >= _MESSAGES_PER_ACK or self._bytes_untold >= _BYTES_PER_ACK
        if not due or not self.open:
            return None
        self._tell()
        return AckMessage(received=self._received)

    def acknowledged(self, received: int) -> None:
        """The client has so many messages. Raises SessionError where that cannot be."""
        if not self._outbox.acknowledge(received):
            raise SessionError(
                ErrorCode.BAD_MESSAGE, f"`ack` of {received} messages, which is more than were sent"
            )

    def lose(self, now: float) -> None:
        """The connection is gone."""
        self.lost_at = now

    def resume(self, received: int, audio_received_s: float) -> None:
        """The client has so many messages, and gets the others. Raises SessionError, with nothing changed."""
        if not self._outbox.can_rewind(received):
            raise SessionError(
                ErrorCode.RESUME_FAILED, f"what follows the first {received} messages is not there any more"
            )
        self.lost_at = None
        self._tell()
        self._outbox.rewind(
            received, Resumed(received=self._received, audio_received=round(audio_received_s, 3))
        )

    @property
    def received(self) -> int:
        """Messages of the client's that have had their effect."""
        return self._received

    def restore(self, received: int) -> None:
        """So many messages came to another process, which told the client of them or not."""
        self._received = received

    def _tell(self) -> None:
        self._told = self._received
        self._bytes_untold = 0
