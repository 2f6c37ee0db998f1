"""How often the tail takes back what it has shown."""

from dataclasses import dataclass
from difflib import SequenceMatcher

from benchmarks.trace import Trace
from benchmarks.word_match import plain


@dataclass(frozen=True, slots=True)
class Stability:
    """Words that a reader saw in the tail.

    Attributes:
        shown: how many appeared there; one that changes and comes back appears twice.
        revoked: how many of them changed or went away before they were committed.
    """

    shown: int = 0
    revoked: int = 0

    @property
    def share(self) -> float | None:
        """Of the words shown that were taken back."""
        return self.revoked / self.shown if self.shown else None

    def __add__(self, other: "Stability") -> "Stability":
        return Stability(self.shown + other.shown, self.revoked + other.revoked)


def stability(trace: Trace) -> Stability:
    """Follows each word of the tail from look to look; case and punctuation may change, places may shift."""
    shown = revoked = committed = 0
    before: list[str] = []
    for look in trace.looks:
        settled = [plain(word.text) for word in trace.words[committed : look.committed]]
        tail = [plain(word.text) for word in look.tail]
        now = [word for word in settled + tail if word]
        kept: set[int] = set()
        found: set[int] = set()
        for block in SequenceMatcher(None, before, now, autojunk=False).get_matching_blocks():
            kept.update(range(block.a, block.a + block.size))
            found.update(range(block.b, block.b + block.size))
        revoked += len(before) - len(kept)
        settled_count = sum(1 for word in settled if word)
        shown += sum(1 for at in range(settled_count, len(now)) if at not in found)
        before, committed = now[settled_count:], look.committed
    return Stability(shown, revoked + len(before))
