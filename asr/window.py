"""The stretch of a stream that the model's positions hold at the moment, and where the next one begins.

Positions count encoder frames of 20 ms from the window's start. Whisper has 30 s of them, but short windows cost
half the memory and do better where speakers change (docs/design.md has the figures), so a window is left at the
first pause after 9 s, or by 14 s at a word boundary. At a pause the next window begins behind the last word;
elsewhere it begins with a few seconds encoded again from position 0, and the words that lie in them are the
forced beginning of its transcript. So no word is lost, doubled or cut, and the clock goes on.
"""

from dataclasses import dataclass, field

from voicewire.asr.settings import FRAME_S
from voicewire.asr.words import SpokenToken

LEAVE_FROM = 450  # frames: at a pause
LEAVE_BY = 700  # frames: wherever it is
CAPACITY = 800  # frames: a block and a flush's padding must still fit in
LONGEST_TEXT = 360  # tokens, of Whisper's 448
KEEP_S = 3.0  # what a new window likes to begin with ...
KEEP_MOST_S = 6.0  # ... and at most
KEEP_LEAST_S = 1.0  # ... and at least
AFTER_WORD_S = 0.1  # at a pause, a new window begins this long after the last word
DUE_S = 0.5  # a token of the forced beginning sees this much audio after its end


@dataclass
class Window:
    """One stream's window.

    Attributes:
        start: the window's first frame, counted from the session's start.
        available: frames through the convolutions.
        committed: frames encoded for good.
        encoded: frames encoded, for good or for now.
        prefix: prompt and committed tokens.
        limits: frames that each token of the prefix may see when it is fed again after a rollover.
        cached: tokens of the prefix whose keys and values the slot holds.
        prompt: how many tokens of the prefix are prompt.
        spoken: the committed tokens, with times.
    """

    prefix: list[int]
    prompt: int
    start: int = 0
    available: int = 0
    committed: int = 0
    encoded: int = 0
    cached: int = 0
    limits: list[int] = field(default_factory=list)
    spoken: list[SpokenToken] = field(default_factory=list)

    @property
    def start_s(self) -> float:
        return self.start * FRAME_S

    @property
    def committed_s(self) -> float:
        return (self.start + self.committed) * FRAME_S

    @property
    def said_until_s(self) -> float:
        """The end of the last committed token in the window, or the window's start."""
        return self.spoken[-1].end_s if self.spoken else self.start_s

    def commit(self, frames: int, tokens: list[SpokenToken], *, decoded: bool) -> None:
        """Frames up to `frames` and the tokens become part of the window for good.

        `decoded` where the decoder ran, so that the slot now holds the prefix as these frames left it.
        """
        self.committed = frames
        self.prefix += [spoken.token for spoken in tokens]
        self.spoken += tokens
        if decoded:
            self.cached = len(self.prefix)

    def must_leave(self, quiet: bool) -> bool:
        """Whether the next window should begin now; `quiet` where nobody speaks."""
        full = self.committed >= LEAVE_BY or len(self.prefix) >= LONGEST_TEXT
        return full or (quiet and self.committed >= LEAVE_FROM)


@dataclass(frozen=True)
class Rollover:
    """How one window follows another.

    Attributes:
        keep_from: position in the old window that becomes position 0.
        spoken: the tokens that lie in what is kept.
        hidden: frames at the new window's beginning that are to be silence (where features are read only).
    """

    keep_from: int
    spoken: list[SpokenToken]
    hidden: int = 0


def choose_rollover(window: Window, word_starts: list[int], quiet: bool) -> Rollover:
    """Where to cut.

    Args:
        window: the window that is left.
        word_starts: indices into `window.spoken` at which words begin.
        quiet: whether nobody speaks now: then what follows the last word is all that is kept.
    """
    end_s = window.committed_s
    earliest = max(window.start_s, end_s - KEEP_MOST_S)
    if quiet:
        return _cut(window, max(earliest, window.said_until_s + AFTER_WORD_S), len(window.spoken))
    cuts = [(_between(window, index), index) for index in word_starts]
    cuts = [cut for cut in cuts if earliest < cut[0] < end_s - KEEP_LEAST_S]
    if cuts:
        at_s, index = min(cuts, key=lambda cut: _cost(window, cut, end_s))
        return _cut(window, at_s, index)
    return _cut(window, max(earliest, window.said_until_s), len(window.spoken))


def _between(window: Window, index: int) -> float:
    """The middle of the gap before a token."""
    start_s = window.spoken[index].start_s
    return (start_s + (window.spoken[index - 1].end_s if index else window.start_s)) / 2


def _cost(window: Window, cut: tuple[float, int], end_s: float) -> float:
    """Seconds away from the length that is liked, less what a pause at the cut is worth."""
    at_s, index = cut
    gap_s = window.spoken[index].start_s - (window.spoken[index - 1].end_s if index else window.start_s)
    return abs(end_s - at_s - KEEP_S) - 10 * min(gap_s, 0.4)


def _cut(window: Window, at_s: float, index: int) -> Rollover:
    position = round((at_s - window.start_s) / FRAME_S)
    return Rollover(min(max(position, 0), window.available), window.spoken[index:])


def next_window(window: Window, rollover: Rollover, prompt: list[int]) -> Window:
    """The window that follows, its frames not yet encoded."""
    start = window.start + rollover.keep_from
    committed = max(0, window.committed - rollover.keep_from)  # the last word may lie in what is not settled
    ends = [round((spoken.end_s + DUE_S) / FRAME_S) - start for spoken in rollover.spoken]
    # A token's row predicts the token after it, so it sees as far as that one needs.
    limits = [*ends[:1] * len(prompt), *ends[1:]] if ends else []
    return Window(
        prefix=prompt + [spoken.token for spoken in rollover.spoken],
        prompt=len(prompt),
        start=start,
        available=window.available - rollover.keep_from,
        committed=committed,
        encoded=committed,
        limits=[min(max(limit, 1), committed) for limit in limits],
        spoken=list(rollover.spoken),
    )
