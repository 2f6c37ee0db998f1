"""Greedy decoding by draft and verify: what was said of the tail a moment ago is fed as a draft in one pass,
and the longest part that greedy decoding would have chosen anyway is kept.

The result is that of plain greedy decoding, token for token, in fewer passes (compare SpecDec++, arXiv
2405.19715, with the stream's own past in the place of a draft model).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from voicewire.asr.decoder import Feed, TokenDecoder
from voicewire.asr.tokens import Vocabulary


@dataclass(frozen=True)
class Request:
    """What is to be decoded for one stream.

    Attributes:
        slot: the stream's slot.
        vocabulary: of the stream's language.
        prefix: prompt and committed tokens of the window.
        cached: how many positions of the prefix the slot holds; the last one is looked at again in any case.
        limits: frames that each position before the last may look at where it must be fed again; empty: all.
        text: how many tokens of the prefix are text.
        draft: a guess of what follows.
        visible: encoder frames that may be looked at.
        budget: tokens that may be added.
        passes: passes that may be made; None: as many as it takes. A tail can do with what two passes give,
            since the next tick goes on from there.
    """

    slot: int
    vocabulary: Vocabulary
    prefix: list[int]
    cached: int
    limits: list[int]
    text: int
    draft: list[int]
    visible: int
    budget: int
    passes: int | None = None

    @property
    def position(self) -> int:
        """Of the first token that must be fed."""
        return min(self.cached, len(self.prefix) - 1)

    def feed(self, following: Sequence[int]) -> Feed:
        """What is not cached of the prefix, and what may follow it; predicts after the prefix and after each."""
        tokens = [*self.prefix[self.position :], *following]
        feed = Feed(self.slot, self.position, tokens, self.visible, wanted=len(following) + 1)
        earlier = self.limits[self.position :]
        if not earlier:
            return feed
        return feed._replace(visible=earlier + [self.visible] * (len(tokens) - len(earlier)))


@dataclass(frozen=True)
class Decoded:
    """What follows the prefix.

    Attributes:
        tokens: chosen tokens, without the final wait.
        probabilities: of each of them, 0 to 1, after suppression.
        attention: row i is the alignment heads' look at the audio while token i was predicted; one more row for
            what was predicted after the last. Shape = (tokens + 1, visible), float32.
        waiting: whether it ended because there is nothing more to say yet, not because the budget was spent.
    """

    tokens: list[int]
    probabilities: list[float]
    attention: Tensor
    waiting: bool


class _Running:
    """A request under way."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.tokens: list[int] = []
        self.probabilities: list[float] = []
        self.attention: list[Tensor] = []
        self.waiting = False
        self.passes = 0
        draft = request.draft[: request.budget]
        self.feed = request.feed(draft)

    @property
    def done(self) -> bool:
        spent = self.request.passes is not None and self.passes >= self.request.passes
        return self.waiting or spent or len(self.tokens) >= self.request.budget

    def take(self, best: list[int], probabilities: list[float], attention: Tensor) -> None:
        """Keeps of the pass what greedy decoding would have chosen, and says what to feed next."""
        self.passes += 1
        drafted = self.feed.tokens[len(self.feed.tokens) - self.feed.wanted + 1 :]
        rows = attention[-self.feed.wanted :]
        for index, token in enumerate(best):
            self.attention.append(rows[index : index + 1])
            if token == self.request.vocabulary.wait:
                self.waiting = True
                return
            if len(self.tokens) == self.request.budget:
                return
            self.tokens.append(token)
            self.probabilities.append(probabilities[index])
            if index < len(drafted) and drafted[index] != token:
                break
        position = len(self.request.prefix) + len(self.tokens) - 1
        self.feed = Feed(self.request.slot, position, self.tokens[-1:], self.request.visible)

    def result(self) -> Decoded:
        attention = torch.cat(self.attention)
        if not self.waiting:  # the row after the last token was not computed
            attention = torch.cat([attention[: len(self.tokens)], attention[-1:]])
        return Decoded(self.tokens, self.probabilities, attention, self.waiting)


@torch.inference_mode()
def decode_greedily(decoder: TokenDecoder, requests: list[Request]) -> list[Decoded]:
    """Decodes for every request until it waits or its budget is spent; all of them share each pass."""
    running = [_Running(request) for request in requests]
    active = running
    while active:
        outcome = decoder.run([one.feed for one in active])
        for one, logits, attention in zip(active, outcome.logits, outcome.attention, strict=True):
            best, probabilities = _choose(one, logits)
            one.take(best, probabilities, attention)
        active = [one for one in active if not one.done]
    return [one.result() for one in running]


def _choose(one: _Running, logits: Tensor) -> tuple[list[int], list[float]]:
    """Best token and its probability for each row, shape = (rows, n_vocab)."""
    request = one.request
    logits = logits + request.vocabulary.suppressed
    if request.text + len(one.tokens) == 0:
        logits[0, request.vocabulary.blank] = float("-inf")
    best, index = logits.max(-1)
    return index.tolist(), (best - logits.logsumexp(-1)).exp().tolist()
