"""Beam search with kept hypotheses equals the same search without caches, and never commits what is still open."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decoder_bench import Bench
from voicewire.asr import masked
from voicewire.asr.beam import MARGIN, BeamDecoder, Hypothesis
from voicewire.asr.model import CausalWhisper


@pytest.fixture(scope="module")
def bench(model: CausalWhisper, spoken: np.ndarray) -> Bench:
    return Bench(model, spoken, spare=4)


@pytest.fixture(scope="module")
def beam(bench: Bench) -> BeamDecoder:
    return BeamDecoder(bench.decoder, 3, 4)


def plain_search(
    bench: Bench, slot: int, kept: list[tuple[int, ...]], width: int, visible: int, budget: int
) -> list[Hypothesis]:
    """Beam search in a few obvious lines: every hypothesis is run from its first token, every time."""

    def rows(said: tuple[int, ...]) -> torch.Tensor:
        tokens = [*bench.vocabulary.start, *said]
        logits = masked.decode(bench.model, tokens, bench.features[slot][:visible], [visible] * len(tokens))
        logits = logits[len(bench.vocabulary.start) - 1 :] + bench.vocabulary.suppressed
        logits[0, bench.vocabulary.blank] = float("-inf")
        return logits.log_softmax(-1)

    active = [(sum(float(rows(said)[i, t]) for i, t in enumerate(said)), said) for said in kept]
    waiting: list[tuple[float, tuple[int, ...]]] = []
    while active:
        grown = {}
        for score, said in active:
            last = rows(said)[-1]
            waiting.append((score + float(last[bench.vocabulary.wait]), said))
            for value, token in zip(*(each.tolist() for each in last.topk(width + 1)), strict=True):
                if token != bench.vocabulary.wait and len(said) < budget:
                    grown[*said, token] = max(score + value, grown.get((*said, token), -1e9))
        waiting = sorted(waiting, reverse=True)[:width]
        bar = waiting[-1][0] if len(waiting) == width else waiting[0][0] - MARGIN
        active = sorted(((s, said) for said, s in grown.items() if s > bar), reverse=True)[:width]
    return [Hypothesis(said, score) for score, said in waiting if score > waiting[0][0] - MARGIN]


@given(
    slot=st.integers(0, 2),
    width=st.integers(1, 4),
    visible=st.sampled_from([60, 120, 180]),
    kept=st.sampled_from([0, 1, 3]),
)
@settings(max_examples=8, deadline=None)
def test_search_equals_plain_search(
    bench: Bench, beam: BeamDecoder, slot: int, width: int, visible: int, kept: int
) -> None:
    earlier = [one.tokens for one in plain_search(bench, slot, [()], 3, visible // 2, 20)][:kept] or [()]
    expected = plain_search(bench, slot, earlier[:width], width, visible, 20)
    found = beam.search(bench.request(slot, [], [], visible, 20), earlier[:width], width)
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-2)


def test_a_wider_beam_finds_nothing_less_likely(bench: Bench, beam: BeamDecoder) -> None:
    for slot in range(3):
        scores = [beam.search(bench.request(slot, [], [], 180, 30), [()], width)[0].score for width in (1, 4)]
        assert scores[1] >= scores[0] - 1e-3


def test_commits_join_to_a_text_and_leave_nothing_open_at_the_end(bench: Bench, beam: BeamDecoder) -> None:
    prefix: list[int] = []
    kept: list[tuple[int, ...]] = []
    for visible in (60, 120, 180, 240, 300, 360, 400):
        before = [list(tokens) for tokens in kept]
        request = bench.request(0, prefix, [], visible, 30)
        settled = beam.commit(request, kept, 4, last=visible == 400)
        new = settled.decoded.tokens[: len(settled.decoded.tokens) - settled.decoded.unsettled]
        if before:  # what was open a commit ago is decided
            assert len(new) >= min(len(before[0]), len(settled.decoded.tokens))
        prefix, kept = prefix + new, settled.kept
    assert kept == []
    text = bench.vocabulary.text(prefix)
    assert len(text.split()) > 10
