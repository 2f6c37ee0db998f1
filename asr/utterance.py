"""An utterance, and when it is over: a pause long enough after its last word.

Pure logic over the words that were committed and the speech gate, on the stream's clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from voicewire.asr.events import Endpoint, Word
from voicewire.asr.gate import SpeechGate

# Music and engines can hold the gate open, and an utterance that never ends is never sent. So a stretch without
# words ends it too, however loud, once it is this much longer than the pause that was asked for.
WORDLESS_S = 3.0


@dataclass
class Utterance:
    """The utterance under way.

    Attributes:
        number: counted from 0.
        text: of its committed words; empty while there is none.
        start_s: where its first word begins.
        end_s: where its last word ends.
    """

    number: int = 0
    text: str = ""
    start_s: float = 0.0
    end_s: float = 0.0

    def add(self, words: Iterable[Word]) -> None:
        """Takes in newly committed words."""
        for word in words:
            if not self.text:
                self.start_s = word.start_s
            self.text += word.text
            self.end_s = max(self.end_s, word.end_s)

    def pause_s(self, gate: SpeechGate) -> float:
        """How long neither a word nor speech has been heard."""
        return min(gate.pause_s, max(gate.heard_s - self.end_s, 0.0)) if self.text else gate.pause_s

    def is_over(self, gate: SpeechGate, endpoint_ms: int) -> bool:
        """Whether the utterance has words and a pause follows them.

        Words still to be committed are the caller's business: an endpoint says that there are none.
        """
        if not self.text:
            return False
        limit_s = endpoint_ms / 1000
        return self.pause_s(gate) >= limit_s or gate.heard_s - self.end_s >= limit_s + WORDLESS_S

    def endpoint(self) -> Endpoint:
        return Endpoint(self.number, self.start_s, self.end_s, self.text.strip())
