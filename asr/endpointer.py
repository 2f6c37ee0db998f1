"""When an utterance is over: a pause long enough after its last word.

Pure logic over the words that were committed and the speech gate, on the stream's clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from voicewire.asr.events import Word
from voicewire.asr.gate import SpeechGate

# Music and engines can hold the gate open, and an utterance that never ends is never sent. So a stretch without
# words ends it too, however loud, once it is this much longer than the pause that was asked for.
WORDLESS_S = 3.0


@dataclass(slots=True)
class Endpointer:
    """The utterance under way.

    Attributes:
        endpoint_ms: the pause that ends an utterance; may change at any time.
        start_s: where the utterance's first word begins; None while it has no word.
        end_s: where its last word ends.
    """

    endpoint_ms: int
    start_s: float | None = None
    end_s: float = 0.0

    def add(self, words: Iterable[Word]) -> None:
        """Take in newly committed words."""
        for word in words:
            if self.start_s is None:
                self.start_s = word.start_s
            self.end_s = max(self.end_s, word.end_s)

    def pause_s(self, gate: SpeechGate) -> float:
        """How long neither a word nor speech has been heard."""
        return min(gate.pause_s, max(gate.heard_s - self.end_s, 0.0))

    def is_over(self, gate: SpeechGate) -> bool:
        """Whether the utterance has words and a pause follows them.

        Words still to be committed are the caller's business: an endpoint says that there are none.
        """
        if self.start_s is None:
            return False
        wordless_s = gate.heard_s - self.end_s
        limit_s = self.endpoint_ms / 1000
        return self.pause_s(gate) >= limit_s or wordless_s >= limit_s + WORDLESS_S

    def close(self) -> tuple[float, float]:
        """End the utterance and begin the next; gives where the one that ended began and ended.

        Raises:
            ValueError: it has no words.
        """
        if self.start_s is None:
            raise ValueError("an utterance without words cannot be ended")
        span = self.start_s, self.end_s
        self.start_s = None
        return span
