"""Beam search over time: hypotheses of what follows the committed text are kept from commit to commit.

A hypothesis that waits competes with one that goes on by plain probability: the probability of waiting is
part of its score, so no length needs to be made up for. What all hypotheses agree on is committed; what they
do not agree on waits one commit more, and then the best one decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from voicewire.asr.decoder import Feed, TokenDecoder
from voicewire.asr.greedy import Decoded, Request

MARGIN = 6.0  # natural logarithm: a hypothesis this much less likely than the best one is given up


@dataclass(frozen=True)
class Hypothesis:
    """What may follow the prefix, and the logarithm of how likely it is."""

    tokens: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class Settled:
    """The outcome of a commit.

    Attributes:
        decoded: the best hypothesis, with how much of it is not committed yet.
        kept: hypotheses of what follows the committed part, best first.
    """

    decoded: Decoded
    kept: list[tuple[int, ...]]


class BeamDecoder:
    """Searches for one stream at a time, with `width` spare places for its hypotheses' keys and values."""

    def __init__(self, decoder: TokenDecoder, spare: int, width: int) -> None:
        self.decoder = decoder
        self.spare = range(spare, spare + width)

    @torch.inference_mode()
    def commit(self, request: Request, kept: Sequence[tuple[int, ...]], width: int, last: bool) -> Settled:
        """Looks at a committed block.

        Args:
            request: as for greedy decoding; its draft is not used.
            kept: the hypotheses that the commit before kept.
            width: how many hypotheses to keep.
            last: whether all must be settled now, at a flush or the end of an utterance.
        """
        found = self.search(request, kept or [()], width)
        best = found[0]
        agreed = len(best.tokens) if last else _agreed(found)
        if kept and not last:  # what was left open a commit ago is decided now
            agreed = max(agreed, min(len(kept[0]), len(best.tokens)))
        settled = best.tokens[:agreed]
        rest = [one.tokens[agreed:] for one in found if one.tokens[:agreed] == settled]
        decoded = self._write(request, best.tokens)
        return Settled(replace(decoded, unsettled=len(best.tokens) - agreed), [] if last else rest)

    def search(self, request: Request, kept: Sequence[tuple[int, ...]], width: int) -> list[Hypothesis]:
        """The `width` likeliest ways to go on until the next wait, best first; at least one."""
        active, logits = self._begin(request, kept[: len(self.spare)])
        waiting: list[Hypothesis] = []
        while active:
            grown = _grow(request, active, logits, width, waiting)
            waiting = sorted(waiting, key=_by_score)[:width]
            bar = waiting[-1].score if len(waiting) == width else waiting[0].score - MARGIN
            grown = [one for one in grown if one[0].score > bar and len(one[0].tokens) <= request.budget]
            if not grown:
                break
            active, parents = [one for one, _ in grown], [parent for _, parent in grown]
            logits = self._step(request, active, parents)
        return [one for one in waiting if one.score > waiting[0].score - MARGIN]

    def _begin(
        self, request: Request, kept: Sequence[tuple[int, ...]]
    ) -> tuple[list[Hypothesis], list[Tensor]]:
        """Scores the kept hypotheses anew, with what can be heard now."""
        self._copy(request.slot, self.spare, request.position)
        feeds = [
            request.feed(tokens)._replace(slot=place, audio=request.slot)
            for place, tokens in zip(self.spare, kept, strict=False)
        ]
        active, logits = [], []
        for tokens, rows in zip(kept, self.decoder.run(feeds).logits, strict=True):
            rows = _log_probabilities(request, rows, 0)
            score = sum(float(rows[index, token]) for index, token in enumerate(tokens))
            active.append(Hypothesis(tuple(tokens), score))
            logits.append(rows[-1])
        return active, logits

    def _step(self, request: Request, grown: list[Hypothesis], parents: list[int]) -> list[Tensor]:
        """Feeds each hypothesis' last token, after its parent's keys and values were put in its place."""
        start = request.position
        end = len(request.prefix) + max(len(one.tokens) for one in grown)
        keys = self.decoder.slots.self_keys[:, self.spare.start : self.spare.stop, :, :, start:end]
        values = self.decoder.slots.self_values[:, self.spare.start : self.spare.stop, :, start:end]
        keys[:, : len(parents)] = keys[:, parents]
        values[:, : len(parents)] = values[:, parents]
        feeds = [
            Feed(
                place,
                len(request.prefix) + len(one.tokens) - 1,
                [one.tokens[-1]],
                request.visible,
                1,
                request.slot,
            )
            for place, one in zip(self.spare, grown, strict=False)
        ]
        rows = self.decoder.run(feeds).logits
        return [
            _log_probabilities(request, row, len(one.tokens))[0] for row, one in zip(rows, grown, strict=True)
        ]

    def _copy(self, slot: int, places: Sequence[int], end: int) -> None:
        """What the stream's slot holds of the prefix, into every place."""
        slots = self.decoder.slots
        for place in places:
            slots.self_keys[:, place, :, :, :end] = slots.self_keys[:, slot, :, :, :end]
            slots.self_values[:, place, :, :end] = slots.self_values[:, slot, :, :end]

    def _write(self, request: Request, tokens: tuple[int, ...]) -> Decoded:
        """Runs the tokens through the stream's own slot, where those that are settled stay."""
        outcome = self.decoder.run([request.feed(tokens)])
        rows = _log_probabilities(request, outcome.logits[0], 0)
        probabilities = [float(rows[index, token].exp()) for index, token in enumerate(tokens)]
        return Decoded(list(tokens), probabilities, outcome.attention[0][-len(tokens) - 1 :], waiting=True)


def _grow(
    request: Request, active: list[Hypothesis], logits: list[Tensor], width: int, waiting: list[Hypothesis]
) -> list[tuple[Hypothesis, int]]:
    """Every hypothesis by one token: those that wait go to `waiting`, the `width` best others are returned
    with the index of the one that each came from."""
    grown: list[tuple[Hypothesis, int]] = []
    for parent, (one, row) in enumerate(zip(active, logits, strict=True)):
        scores, tokens = row.topk(width + 1)
        for score, token in zip(scores.tolist(), tokens.tolist(), strict=True):
            if token == request.vocabulary.wait:
                waiting.append(replace(one, score=one.score + score))
            else:
                grown.append((Hypothesis((*one.tokens, token), one.score + score), parent))
        if request.vocabulary.wait not in tokens:
            waiting.append(replace(one, score=one.score + float(row[request.vocabulary.wait])))
    unique = {one.tokens: (one, parent) for one, parent in sorted(grown, key=lambda each: each[0].score)}
    return sorted(unique.values(), key=lambda each: _by_score(each[0]))[:width]


def _log_probabilities(request: Request, logits: Tensor, said: int) -> Tensor:
    """Rows of logits -> rows of log probabilities after suppression; `said` tokens follow the prefix."""
    logits = logits + request.vocabulary.suppressed
    if request.text + said == 0:
        logits[0, request.vocabulary.blank] = float("-inf")
    return logits.log_softmax(-1)


def _agreed(found: list[Hypothesis]) -> int:
    """How many first tokens all hypotheses share."""
    count = 0
    for tokens in zip(*(one.tokens for one in found), strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return count


def _by_score(one: Hypothesis) -> tuple[float, tuple[int, ...]]:
    return -one.score, one.tokens
