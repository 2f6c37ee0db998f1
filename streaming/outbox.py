"""Messages on their way to one client, bounded: a client that reads slowly gets fewer tails, never fewer words.

Bytes are binary messages: records of tokens.
"""

from collections import deque

from voicewire.streaming.messages import (
    AckMessage,
    EndpointMessage,
    FlushedMessage,
    Ready,
    RefinedMessage,
    Resumed,
    ServerMessage,
    SpeechStartedMessage,
    TranscriptMessage,
)
from voicewire.streaming.saved_session import SavedOutbox

# A word with its times is about so much as JSON.
_WORD_BYTES = 128

_Numbered = TranscriptMessage | SpeechStartedMessage | EndpointMessage | RefinedMessage | FlushedMessage
# These are about one connection, not about the session, and are never said again.
_Uncounted = Ready | Resumed | AckMessage


class Outbox:
    """A queue that joins neighbouring transcripts: their words follow each other, the newest tail counts.

    Args:
        most_items: bound on messages and words together, of those that wait and again of those that are kept.

    Attributes:
        keeps: whether messages are kept once taken, until the client has acknowledged them, or there are too many.
    """

    def __init__(self, most_items: int) -> None:
        self.keeps = False
        self._most_items = most_items
        self._messages: deque[ServerMessage | bytes] = deque()
        self._items = 0
        self._seq = 0
        self._kept: deque[ServerMessage | bytes] = deque()
        self._kept_items = 0
        self._again: deque[ServerMessage | bytes] = deque()
        self._taken = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def full(self) -> bool:
        """Whether more waits than is allowed."""
        return self._items > self._most_items

    def put(self, message: ServerMessage | bytes) -> None:
        """Appends; whether it was too much, `full` says."""
        last = self._messages[-1] if self._messages else None
        if (
            isinstance(message, TranscriptMessage)
            and isinstance(last, TranscriptMessage)
            and message.utterance == last.utterance
        ):
            self._messages.pop()
            self._items -= _weight(last)
            message = _joined(last, message)
        self._messages.append(message)
        self._items += _weight(message)

    def put_first(self, message: ServerMessage | bytes) -> None:
        """Puts a message before all that wait."""
        self._messages.appendleft(message)
        self._items += _weight(message)

    def take(self) -> ServerMessage | bytes | None:
        """The oldest message, numbered in the order of leaving; None where nothing waits."""
        if self._again:
            message = self._again.popleft()
        elif self._messages:
            message = self._messages.popleft()
            self._items -= _weight(message)
            if isinstance(message, _Numbered):
                self._seq += 1
                message = message.model_copy(update={"seq": self._seq})
        else:
            return None
        if not isinstance(message, _Uncounted):
            self._taken += 1
            self._keep(message)
        return message

    def clear(self) -> None:
        """Forgets everything; nothing can be said again then, since something would be missing."""
        self.keeps = False
        for messages in (self._messages, self._kept, self._again):
            messages.clear()
        self._items = self._kept_items = 0

    # ---- what may have to be said again

    def can_rewind(self, received: int) -> bool:
        """Whether all that was taken after the first `received` messages is still there."""
        return self.keeps and self._taken - len(self._kept) <= received <= self._taken

    def acknowledge(self, received: int) -> bool:
        """Forgets the first `received` messages; False where there were not so many."""
        while self._kept and self._taken - len(self._kept) < received:
            self._forget_oldest()
        return received <= self._taken

    def rewind(self, received: int, resumed: Resumed) -> None:
        """Says `resumed`, then again what was taken after the first `received` messages.

        `can_rewind` must hold.
        """
        self.acknowledge(received)
        unsaid = (message for message in self._again if not isinstance(message, _Uncounted))
        self._again = deque([resumed, *self._kept, *unsaid])
        self._taken = received
        self._kept.clear()
        self._kept_items = 0

    # ---- from one process to the next

    def save(self) -> SavedOutbox:
        """All of it; there may be no binary messages."""
        return SavedOutbox(
            seq=self._seq,
            taken=self._taken,
            waiting=[message for message in self._messages if not isinstance(message, bytes)],
            kept=[message for message in self._kept if not isinstance(message, bytes)],
            again=[message for message in self._again if not isinstance(message, bytes | _Uncounted)],
        )

    def restore(self, saved: SavedOutbox) -> None:
        """Becomes what was saved."""
        self.clear()
        self.keeps = True
        self._seq, self._taken = saved.seq, saved.taken
        self._messages.extend(saved.waiting)
        self._items = sum(map(_weight, saved.waiting))
        self._kept.extend(saved.kept)
        self._kept_items = sum(map(_weight, saved.kept))
        self._again.extend(saved.again)

    def _keep(self, message: ServerMessage | bytes) -> None:
        if not self.keeps:
            return
        self._kept.append(message)
        self._kept_items += _weight(message)
        while self._kept_items > self._most_items:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._kept_items -= _weight(self._kept.popleft())


def _joined(first: TranscriptMessage, second: TranscriptMessage) -> TranscriptMessage:
    return second.model_copy(
        update={"words": [*first.words, *second.words], "text": first.text + second.text}
    )


def _weight(message: ServerMessage | bytes) -> int:
    """Messages and words; without word items, text weighs about as much as its words would, and so do bytes."""
    if isinstance(message, bytes):
        return 1 + len(message) // _WORD_BYTES
    if isinstance(message, TranscriptMessage):
        return (
            1
            + max(len(message.words), len(message.text) // 8)
            + max(len(message.tail), len(message.tail_text) // 8)
        )
    if isinstance(message, RefinedMessage):
        return 1 + max(len(message.words), len(message.text) // 8)
    return 1
