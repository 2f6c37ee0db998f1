"""Beam search equals the same search without caches, and with a beam of one it is greedy decoding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decoder_bench import Bench
from voicewire.asr import masked
from voicewire.asr.beam import MARGIN, BeamDecoder
from voicewire.asr.greedy import decode_greedily
from voicewire.asr.model import CausalWhisper

Found = list[tuple[tuple[int, ...], float]]


@pytest.fixture(scope="module")
def bench(model: CausalWhisper, spoken: np.ndarray) -> Bench:
    return Bench(model, spoken, spare=4)


@pytest.fixture(scope="module")
def beam(bench: Bench) -> BeamDecoder:
    return BeamDecoder(bench.decoder, 3, 4)


def plain_search(bench: Bench, slot: int, prefix: list[int], width: int, visible: int, budget: int) -> Found:
    """Beam search in a few obvious lines: every hypothesis is run from its first token, every time."""

    def row(said: tuple[int, ...]) -> torch.Tensor:
        tokens = [*bench.vocabulary.start, *prefix, *said]
        logits = masked.decode(bench.model, tokens, bench.features[slot][:visible], [visible] * len(tokens))
        last = logits[-1] + bench.vocabulary.suppressed
        if not prefix and not said:
            last[bench.vocabulary.blank] = float("-inf")
        return last.log_softmax(-1)

    wait = bench.vocabulary.wait
    active: dict[tuple[int, ...], float] = {(): 0.0}
    ended: dict[tuple[int, ...], float] = {}
    while active and len(ended) < width:
        grown = {}
        for said, score in active.items():
            last = row(said)
            if int(last.argmax()) == wait or len(said) == budget:
                ended[said] = score
                continue
            last = last.index_fill(0, torch.tensor([wait]), float("-inf")).log_softmax(-1)
            for value, token in zip(*(each.tolist() for each in last.topk(width)), strict=True):
                grown[*said, token] = score + value
        bar = max(ended.values(), default=float("inf")) - MARGIN if ended else float("-inf")
        best = sorted(grown.items(), key=lambda one: -one[1])[:width]
        active = {said: score for said, score in best if score > bar}
    return sorted(ended.items(), key=lambda one: -one[1] / (len(one[0]) + 1))


@given(
    slot=st.integers(0, 2),
    width=st.integers(1, 4),
    visible=st.sampled_from([60, 120, 180]),
    committed=st.integers(0, 2),
)
@settings(max_examples=8, deadline=None)
def test_search_equals_plain_search(
    bench: Bench, beam: BeamDecoder, slot: int, width: int, visible: int, committed: int
) -> None:
    prefix = list(plain_search(bench, slot, [], 1, visible, 20)[0][0][:committed])
    expected = plain_search(bench, slot, prefix, width, visible, 20)
    found = beam.search(bench.request(slot, prefix, [], visible, 20), width)
    assert [one.tokens for one in found] == [tokens for tokens, _ in expected]
    assert [one.score for one in found] == pytest.approx([score for _, score in expected], abs=1e-2)


@pytest.mark.parametrize("visible", [60, 180, 400])
@pytest.mark.parametrize("budget", [3, 40])
def test_a_beam_of_one_is_greedy_decoding(bench: Bench, beam: BeamDecoder, visible: int, budget: int) -> None:
    for slot in range(3):
        request = bench.request(slot, [], [], visible, budget)
        alone = beam.decode(request, 1)
        greedy = decode_greedily(bench.decoder, [request])[0]
        assert (alone.tokens, alone.waiting) == (greedy.tokens, greedy.waiting)
        assert alone.probabilities == pytest.approx(greedy.probabilities, abs=1e-3)
        rows = len(greedy.tokens) + int(greedy.waiting)  # greedy computes no row behind a spent budget
        assert torch.allclose(alone.attention[:rows], greedy.attention[:rows], atol=1e-3)


def test_a_wider_beam_loses_no_words(bench: Bench, beam: BeamDecoder) -> None:
    for slot in range(3):
        request = bench.request(slot, [], [], 400, 60)
        words = [len(bench.vocabulary.groups(beam.decode(request, width).tokens)) for width in (1, 4)]
        assert words[0] > 5
        assert abs(words[1] - words[0]) <= 2
