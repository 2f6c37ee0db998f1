"""Messages on their way to one client, bounded: a client that reads slowly gets fewer tails, never fewer words.

Bytes are binary messages: records of tokens.
"""

from collections import deque

from voicewire.streaming.messages import (
    EndpointMessage,
    FlushedMessage,
    ServerMessage,
    SpeechStartedMessage,
    TranscriptMessage,
)

# A word with its times is about so much as JSON.
_WORD_BYTES = 128

_Numbered = TranscriptMessage | SpeechStartedMessage | EndpointMessage | FlushedMessage


class Outbox:
    """A queue that joins neighbouring transcripts: their words follow each other, the newest tail counts.

    Args:
        most_items: bound on messages and words together.
    """

    def __init__(self, most_items: int) -> None:
        self._most_items = most_items
        self._messages: deque[ServerMessage | bytes] = deque()
        self._items = 0
        self._seq = 0

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
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._items -= _weight(message)
        if isinstance(message, _Numbered):
            self._seq += 1
            return message.model_copy(update={"seq": self._seq})
        return message

    def clear(self) -> None:
        self._messages.clear()
        self._items = 0


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
    return 1
