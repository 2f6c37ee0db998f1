"""Beam search at a commit: the likeliest ways to go on from the committed text, each until it would wait.

A hypothesis ends where waiting is its likeliest token, as greedy decoding does, and waiting is no part of its
score. Were it a choice like any other, hypotheses that wait early would win, since every further token makes
a text less probable, and words would be lost. Texts of different lengths are compared by the mean over their
tokens.
"""

from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor

from voicewire.asr.decoder import Feed, TokenDecoder
from voicewire.asr.greedy import Decoded, Request
from voicewire.asr.keyterms import Place

MARGIN = 6.0  # natural logarithm: a hypothesis this much less likely than the best that ended is given up


@dataclass(frozen=True)
class Hypothesis:
    """What may follow the prefix.

    Attributes:
        tokens: without the wait that ends it.
        score: natural logarithm of how likely they are, given that at none of them the decoder waits, and the
            bonus for keyterms.
        place: where the text with them stands among the keyterms.
    """

    tokens: tuple[int, ...]
    score: float
    place: Place = field(default_factory=Place)

    @property
    def mean(self) -> float:
        """The score per token; the wait counts as one, so that saying nothing has a mean too."""
        return self.score / (len(self.tokens) + 1)


class BeamDecoder:
    """Searches for one stream at a time, with `width` spare places for its hypotheses' keys and values."""

    def __init__(self, decoder: TokenDecoder, spare: int, width: int) -> None:
        self.decoder = decoder
        self.spare = range(spare, spare + width)

    @torch.inference_mode()
    def decode(self, request: Request, width: int) -> Decoded:
        """The best that `search` finds, as greedy decoding would give it; the request's draft is not used."""
        best = self.search(request, width)[0]
        outcome = self.decoder.run([request.feed(best.tokens)])
        rows = _log_probabilities(request, outcome.logits[0], 0)
        probabilities = [float(rows[index, token].exp()) for index, token in enumerate(best.tokens)]
        attention = outcome.attention[0][-len(best.tokens) - 1 :]
        return Decoded(list(best.tokens), probabilities, attention, waiting=len(best.tokens) < request.budget)

    @torch.inference_mode()
    def search(self, request: Request, width: int) -> list[Hypothesis]:
        """Ways to go on until the next wait, the one with the best mean first; at least one, at most
        2 * width - 1.
        """
        self._copy_prefix(request)
        feed = request.feed(())._replace(slot=self.spare.start, audio=request.slot)
        rows = self.decoder.run([feed]).logits
        active, ended = [Hypothesis((), 0.0, _place(request))], list[Hypothesis]()
        logits = [_log_probabilities(request, rows[0], 0)[-1]]
        while True:
            over = [_ends(request, one, row) for one, row in zip(active, logits, strict=True)]
            ended += [_ended(request, one) for one, end in zip(active, over, strict=True) if end]
            grown = _grow(request, active, logits, over, width)
            if ended:
                bar = max(one.score for one in ended) - MARGIN
                grown = [(one, parent) for one, parent in grown if one.score > bar]
            if not grown or len(ended) >= width:
                return sorted(ended, key=lambda one: (-one.mean, one.tokens))
            active = [one for one, _ in grown]
            logits = self._step(request, active, [parent for _, parent in grown])

    def _step(self, request: Request, grown: list[Hypothesis], parents: list[int]) -> list[Tensor]:
        """Feeds each hypothesis' last token, after its parent's keys and values were put in its place."""
        start = request.position
        end = len(request.prefix) + len(grown[0].tokens)
        keys = self.decoder.slots.self_keys[:, self.spare.start : self.spare.stop, :, :, start:end]
        values = self.decoder.slots.self_values[:, self.spare.start : self.spare.stop, :, start:end]
        keys[:, : len(parents)] = keys[:, parents]
        values[:, : len(parents)] = values[:, parents]
        feeds = [
            Feed(place, end - 1, [one.tokens[-1]], request.visible, 1, request.slot)
            for place, one in zip(self.spare, grown, strict=False)
        ]
        said = len(grown[0].tokens)
        return [_log_probabilities(request, row, said)[0] for row in self.decoder.run(feeds).logits]

    def _copy_prefix(self, request: Request) -> None:
        """What the stream's slot holds of the prefix, into every spare place."""
        slots, end = self.decoder.slots, request.position
        for place in self.spare:
            slots.self_keys[:, place, :, :, :end] = slots.self_keys[:, request.slot, :, :, :end]
            # all of them: see Slots.clear
            slots.self_values[:, place] = slots.self_values[:, request.slot]


def _ends(request: Request, one: Hypothesis, row: Tensor) -> bool:
    return int(row.argmax()) == request.vocabulary.wait or len(one.tokens) >= request.budget


def _grow(
    request: Request, active: list[Hypothesis], logits: list[Tensor], over: list[bool], width: int
) -> list[tuple[Hypothesis, int]]:
    """Those that go on, by one token each: the `width` best, with the index of the one that each came from."""
    grown: list[tuple[Hypothesis, int]] = []
    for parent, (one, row, end) in enumerate(zip(active, logits, over, strict=True)):
        if end:
            continue
        going_on = float(torch.log1p(-row[request.vocabulary.wait].exp()))
        scores, tokens = _favouring(request, one, row).topk(width + 1)
        pairs = zip(scores.tolist(), tokens.tolist(), strict=True)
        choices = islice(((s, t) for s, t in pairs if t != request.vocabulary.wait), width)
        grown += [(_longer(request, one, token, score - going_on), parent) for score, token in choices]
    return sorted(grown, key=lambda each: (-each[0].score, each[0].tokens))[:width]


def _place(request: Request) -> Place:
    """Where the prefix stands among the keyterms."""
    text = request.prefix[len(request.prefix) - request.text :]
    return request.keyterms.place(text) if request.keyterms else Place()


def _favouring(request: Request, one: Hypothesis, row: Tensor) -> Tensor:
    """Log probabilities of what may follow, with the bonus for keyterms."""
    if request.keyterms is None:
        return row
    favoured = request.keyterms.favoured(one.place)
    return row.index_add(0, favoured, row.new_full(favoured.shape, request.keyterms.bonus))


def _longer(request: Request, one: Hypothesis, token: int, gain: float) -> Hypothesis:
    if request.keyterms is None:
        return Hypothesis((*one.tokens, token), one.score + gain)
    place, lost = request.keyterms.follow(one.place, token)
    gain -= min(lost, len(one.tokens)) * request.keyterms.bonus
    return Hypothesis((*one.tokens, token), one.score + gain, place)


def _ended(request: Request, one: Hypothesis) -> Hypothesis:
    """A hypothesis that waits: half a word of a keyterm is none."""
    if request.keyterms is None:
        return one
    lost = min(request.keyterms.given_up(one.place), len(one.tokens))
    return replace(one, score=one.score - lost * request.keyterms.bonus)


def _log_probabilities(request: Request, logits: Tensor, said: int) -> Tensor:
    """Rows of logits -> rows of log probabilities after suppression; `said` tokens follow the prefix."""
    logits = logits + request.vocabulary.suppressed
    if request.text + said == 0:
        logits[0, request.vocabulary.blank] = float("-inf")
    return logits.log_softmax(-1)
