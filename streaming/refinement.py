"""What a session hears once more: which stretches are on their way, and what is told of each; sans I/O."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from voicewire.asr.events import Event, Word
from voicewire.asr.stretch import Stretch
from voicewire.streaming.commands import Command, PushAudio, Refine, Refined
from voicewire.streaming.messages import ErrorCode, RefinedMessage, Warning
from voicewire.streaming.narrator import rounded, word_item
from voicewire.streaming.outbox import Outbox
from voicewire.streaming.stretches import Said, Stretches
from voicewire.streaming.terms import Terms

# The outbox numbers messages when they leave.
_UNNUMBERED = 0


@dataclass(frozen=True, slots=True)
class _Pending:
    """A stretch on its way, told of by its words."""

    said: Said
    deadline: float

    @property
    def span(self) -> tuple[float, float]:
        words = self.said.words
        return rounded(words[0].start_s), rounded(max(word.end_s for word in words))


class Refinement:
    """One session's second pass.

    Args:
        outbox: where the outcome goes.
        wait_s: how long a stretch is waited for.
    """

    def __init__(self, outbox: Outbox, wait_s: float) -> None:
        self._outbox = outbox
        self._wait_s = wait_s
        self._terms: Terms | None = None
        self._stretches = Stretches()
        self._pending: dict[int, _Pending] = {}
        self._count = 0

    @property
    def pending(self) -> int:
        """Stretches that are neither told nor left out."""
        return len(self._pending)

    @property
    def deadline(self) -> float:
        """When the last of them is given up."""
        return max((one.deadline for one in self._pending.values()), default=math.inf)

    def use(self, terms: Terms) -> None:
        """What holds for the audio from here on."""
        self._terms = terms

    def overhear(self, commands: Iterable[Command]) -> Iterator[Command]:
        """Passes the session's commands on, and takes the audio in them."""
        for command in commands:
            if isinstance(command, PushAudio) and self._terms is not None:
                if self._terms.refine:
                    self._stretches.hear(command.samples)
                else:
                    self._stretches.skip(len(command.samples))
            yield command

    def go_on(self, samples: int) -> None:
        """So much of the session's audio came to another process."""
        self._stretches.skip(samples)

    def follow(self, events: Iterable[Event], now: float) -> Iterator[Refine]:
        """What is to be heard once more after these events; what has taken too long is left out."""
        assert self._terms is not None
        self.give_up(now)
        settings = self._terms.stream
        for event in events:
            for said in self._stretches.follow(event):
                self._count += 1
                self._pending[self._count] = _Pending(said, now + self._wait_s)
                text = "".join(word.text for word in said.words)
                stretch = Stretch(said.samples, said.start_s, text, settings.language, settings.keyterms)
                yield Refine(self._count, stretch)

    def tell(self, report: Refined) -> None:
        """Says what became of a stretch, where it was not given up before."""
        pending = self._pending.pop(report.number, None)
        if pending is not None and report.words is not None:
            self._outbox.put(self._refined(pending, report.words))
        elif pending is not None:
            self._outbox.put(_left_out(pending))

    def give_up(self, now: float = math.inf) -> None:
        """Leaves out what has not come in time; all there is, where no time is given."""
        for number, pending in list(self._pending.items()):
            if pending.deadline <= now:
                del self._pending[number]
                self._outbox.put(_left_out(pending))

    def _refined(self, pending: _Pending, words: tuple[Word, ...]) -> RefinedMessage:
        assert self._terms is not None
        start, end = pending.span
        return RefinedMessage(
            seq=_UNNUMBERED,
            utterance=pending.said.utterance,
            start=start,
            end=end,
            text="".join(word.text for word in words).strip(),
            words=[word_item(word) for word in words] if self._terms.start.words else [],
        )


def _left_out(pending: _Pending) -> Warning:
    start, end = pending.span
    return Warning(
        code=ErrorCode.NOT_REFINED,
        message=f"the words from {start:g} to {end:g} s were not heard once more: there was no time for it",
    )
