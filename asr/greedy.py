"""Greedy decoding by draft and verify: what was said of the tail a moment ago is fed as a draft in one pass,
and the longest part that greedy decoding would have chosen anyway is kept.

The result is that of plain greedy decoding, token for token, in fewer passes (compare SpecDec++, arXiv
2405.19715, with the stream's own past in the place of a draft model).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from voicewire.asr.decoder import Feed, TokenDecoder
from voicewire.asr.keyterms import Keyterms, Place
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
        passes: passes that may be made; None: as many as it takes. A tail can do with what a few passes give,
            since the next tick goes on from there.
        keyterms: names and terms that are expected, or None.
        haste: taken from the logit of waiting, besides what the vocabulary takes.
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
    keyterms: Keyterms | None = None
    haste: float = 0.0

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
        self.draft = request.draft[: request.budget]
        self.feed = request.feed(self.draft)
        # With keyterms: where the text stood before each token and stands now, at which positions their bonus
        # made the choice, and where it may not because a term was begun there that was not said.
        text = request.prefix[len(request.prefix) - request.text :]
        self.places = [request.keyterms.place(text) if request.keyterms else Place()]
        self.swayed: set[int] = set()
        self.barred: set[int] = set()

    @property
    def done(self) -> bool:
        spent = self.request.passes is not None and self.passes >= self.request.passes
        return self.waiting or spent or len(self.tokens) >= self.request.budget

    def take(self, choices: Iterable[tuple[int, float]], attention: Tensor) -> None:
        """Keeps of the pass what greedy decoding would have chosen, and says what to feed next.

        `choices` gives each row's token and its probability, and is asked for one at a time: with keyterms it
        depends on the tokens before.
        """
        self.passes += 1
        drafted = self.feed.tokens[len(self.feed.tokens) - self.feed.wanted + 1 :]
        rows = attention[-self.feed.wanted :]
        for index, (token, probability) in enumerate(choices):
            self.attention.append(rows[index : index + 1])
            waits = token == self.request.vocabulary.wait
            if self.request.keyterms and self._gives_back(self.request.keyterms, token, waits=waits):
                return
            if waits:
                self.waiting = True
                return
            if len(self.tokens) == self.request.budget:
                return
            self.tokens.append(token)
            self.probabilities.append(probability)
            if index < len(drafted) and drafted[index] != token:
                break
        self._feed_from(len(self.tokens), [])

    def _gives_back(self, keyterms: Keyterms, token: int, *, waits: bool) -> bool:
        """Goes on among the keyterms. True where one was begun that is not what was said, and its bonus made a
        choice: from there on the tokens are taken back and chosen again.
        """
        place = self.places[-1]
        if waits:
            lost = keyterms.given_up(place)
        elif len(self.tokens) in self.barred:
            lost = 0
            self.places.append(keyterms.outside(token))
        else:
            place, lost = keyterms.follow(place, token)
            self.places.append(place)
        swayed = [at for at in range(len(self.tokens) - lost, len(self.tokens)) if at in self.swayed]
        if swayed:
            self._take_back(swayed[0])
        return bool(swayed)

    def _take_back(self, kept: int) -> None:
        """Keeps so many tokens, and bars the terms from where the next one is chosen."""
        del self.tokens[kept:], self.probabilities[kept:], self.attention[kept:], self.places[kept + 1 :]
        self.swayed = {at for at in self.swayed if at < kept}
        self.barred.add(kept)
        self.passes -= 1  # it gave nothing that lasts
        self._feed_from(kept, self.draft[kept:] if self.draft[:kept] == self.tokens else [])

    def _feed_from(self, count: int, following: Sequence[int]) -> None:
        """Feeds the last of the first `count` tokens behind the prefix next, and a draft of what follows."""
        last = self.tokens[count - 1] if count else self.request.prefix[-1]
        tokens = [last, *following]
        position = len(self.request.prefix) + count - 1
        self.feed = Feed(self.request.slot, position, tokens, self.request.visible, wanted=len(tokens))

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
            choices = _choose_with_terms(one, logits) if one.request.keyterms else _choose(one, logits)
            one.take(choices, attention)
        active = [one for one in active if not one.done]
    return [one.result() for one in running]


def _choose(one: _Running, logits: Tensor) -> Iterable[tuple[int, float]]:
    """Best token and its probability for each row, shape = (rows, n_vocab)."""
    logits = _allowed(one, logits)
    best, index = logits.max(-1)
    return zip(index.tolist(), (best - logits.logsumexp(-1)).exp().tolist(), strict=True)


def _choose_with_terms(one: _Running, logits: Tensor) -> Iterator[tuple[int, float]]:
    """As `_choose`, with keyterms favoured, and probabilities without that."""
    keyterms = one.request.keyterms
    assert keyterms is not None
    logits = _allowed(one, logits)
    for row, total in zip(logits, logits.logsumexp(-1), strict=True):
        token = plain = int(row.argmax())
        if plain != one.request.vocabulary.wait and len(one.tokens) not in one.barred:
            favoured = keyterms.favoured(one.places[-1])
            token = int(row.index_add(0, favoured, row.new_full(favoured.shape, keyterms.bonus)).argmax())
        if token != plain:
            one.swayed.add(len(one.tokens))
        yield token, float((row[token] - total).exp())


def _allowed(one: _Running, logits: Tensor) -> Tensor:
    """Logits of what may be said."""
    request = one.request
    logits = logits + request.vocabulary.suppressed
    if request.haste:
        logits[:, request.vocabulary.wait] -= request.haste
    if request.text + len(one.tokens) == 0:
        logits[0, request.vocabulary.blank] = float("-inf")
    return logits
