"""Names and terms that a stream expects: while the decoder chooses, tokens that spell one of them get a bonus.

Shallow fusion with a trie of tokens (Zhao et al., "Shallow-Fusion End-to-End Contextual Biasing", Interspeech
2019). A term that was begun and is not finished gives its bonus back: greedy decoding takes its tokens back and
chooses again without it, beam search takes it from the score. The bonus never hurries: where waiting is the
likeliest, the decoder waits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from voicewire.asr.tokens import PREPENDED, Vocabulary

BONUS = 4.0  # natural logarithm, for each token; chosen on dev sets by `python -m benchmarks.keyterms`

# The nodes where no term is under way; the second one behind an opening quote or a hyphen.
_OUTSIDE, _OPENED = 0, 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text stands among the terms.

    Attributes:
        node: of the trie.
        unfinished: how many of the text's last tokens got their bonus for a term that is not finished.
    """

    node: int = _OUTSIDE
    unfinished: int = 0


@dataclass(slots=True)
class _Node:
    """Tokens of a term so far.

    Attributes:
        following: the node that each token leads to.
        ends: whether a whole term ends here.
    """

    following: dict[int, int] = field(default_factory=dict)
    ends: bool = False


class Keyterms:
    """A stream's terms as a trie of tokens.

    Args:
        terms: as StreamSettings holds them.
        vocabulary: of the stream's language.

    Attributes:
        bonus: added to the logit of each token.
    """

    def __init__(self, terms: Iterable[str], vocabulary: Vocabulary) -> None:
        self.bonus = BONUS
        self._vocabulary = vocabulary
        self._nodes = [_Node(), _Node()]
        self._deepest = 0
        for form in sorted({form for term in terms for form in _forms(term)}):
            self._add(_OUTSIDE, self._encoded(f" {form}"))
            self._add(_OPENED, self._encoded(form))
        self._nodes[_OPENED].following |= self._nodes[_OUTSIDE].following
        self._favoured: dict[int, Tensor] = {}

    @classmethod
    def of(cls, terms: Sequence[str], vocabulary: Vocabulary) -> "Keyterms | None":
        """None where there are no terms."""
        return cls(terms, vocabulary) if terms else None

    def place(self, text: Sequence[int]) -> Place:
        """Where a text of these tokens stands."""
        place = Place()
        for token in text[-self._deepest - 1 :]:
            place, _ = self.follow(place, token)
        return place

    def follow(self, place: Place, token: int) -> tuple[Place, int]:
        """Where the text stands with one more token, and how many before it have to give their bonus back."""
        node = self._nodes[place.node]
        if token in node.following:
            # What ends at a word's end is said, whether or not a longer term goes on from there.
            anew = node.ends and self._begins_word(token)
            return Place(node.following[token], 1 if anew else place.unfinished + 1), 0
        lost = 0 if node.ends and not self._continues_word(token) else place.unfinished
        start = self._nodes[_OUTSIDE].following.get(token)
        if start is not None:
            return Place(start, 1), lost
        return self.outside(token), lost

    def outside(self, token: int) -> Place:
        """Where the text stands after a token that is of no term."""
        return Place(_OPENED if self._opens(token) else _OUTSIDE)

    def given_up(self, place: Place) -> int:
        """How many tokens have to give their bonus back where the text ends here for now: those of half a word."""
        node = self._nodes[place.node]
        return 0 if self._may_end(node) else place.unfinished

    def favoured(self, place: Place) -> Tensor:
        """The tokens that get the bonus next, shape = (any number,)."""
        if place.node not in self._favoured:
            tokens = self._next_tokens(self._nodes[place.node])
            self._favoured[place.node] = torch.tensor(tokens, device=self._vocabulary.suppressed.device)
        return self._favoured[place.node]

    # ---- inside

    def _add(self, root: int, tokens: list[int]) -> None:
        at = root
        for token in tokens:
            following = self._nodes[at].following
            if token not in following:
                following[token] = len(self._nodes)
                self._nodes.append(_Node())
            at = following[token]
        self._nodes[at].ends = True
        self._deepest = max(self._deepest, len(tokens))

    def _next_tokens(self, node: _Node) -> list[int]:
        """What goes on from a node; where a word may end there, a term may begin too."""
        starts = self._nodes[_OUTSIDE].following if self._may_end(node) else {}
        return sorted({*node.following, *starts})

    def _may_end(self, node: _Node) -> bool:
        """Whether a word may end here: outside of terms, at the end of one, or between two words of one."""
        return node.ends or any(self._begins_word(token) for token in node.following)

    def _encoded(self, text: str) -> list[int]:
        return self._vocabulary.tokenizer.encode(text, disallowed_special=())

    def _begins_word(self, token: int) -> bool:
        return self._bytes(token).startswith(b" ")

    def _continues_word(self, token: int) -> bool:
        first = self._bytes(token)[:1]
        return first.isalnum() or first >= b"\x80"

    def _opens(self, token: int) -> bool:
        return self._bytes(token).decode(errors="ignore").endswith(tuple(PREPENDED))

    def _bytes(self, token: int) -> bytes:
        return self._vocabulary.tokenizer.encoding.decode_single_token_bytes(token)


def _forms(term: str) -> set[str]:
    """A term as it is given, and as it begins a sentence."""
    return {term, term[:1].upper() + term[1:]}
