"""The cached decoder equals the masked one; draft and verify equals plain greedy decoding, token for token."""

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decoder_bench import FRAMES, SLOTS, Bench
from voicewire.asr import masked
from voicewire.asr.decoder import Feed
from voicewire.asr.greedy import decode_greedily
from voicewire.asr.model import CausalWhisper
from voicewire.asr.tokens import RELUCTANCE


@pytest.fixture(scope="module")
def bench(model: CausalWhisper, spoken: np.ndarray) -> Bench:
    return Bench(model, spoken)


@pytest.fixture(scope="module")
def exact(model: CausalWhisper, spoken: np.ndarray) -> Bench:
    return Bench(copy.deepcopy(model).double(), spoken)


@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_feeding_in_pieces_equals_the_masked_decoder(exact: Bench, data: st.DataObject) -> None:
    """Any tokens, in pieces of any length, each token seeing any number of frames, three streams at once."""
    texts = [data.draw(st.lists(st.integers(0, 50_000), min_size=2, max_size=10)) for _ in range(SLOTS)]
    limits = [[data.draw(st.integers(1, FRAMES)) for _ in text] for text in texts]
    rows: list[list[torch.Tensor]] = [[] for _ in texts]
    fed = [0] * SLOTS
    while any(at < len(text) for at, text in zip(fed, texts, strict=True)):
        feeds = []
        for slot, text in enumerate(texts):
            if fed[slot] < len(text):
                end = data.draw(st.integers(fed[slot] + 1, len(text)))
                piece = slice(fed[slot], end)
                feeds.append(Feed(slot, fed[slot], text[piece], limits[slot][piece], wanted=end - fed[slot]))
                fed[slot] = end
        for feed, logits in zip(feeds, exact.decoder.run(feeds).logits, strict=True):
            rows[feed.slot].append(logits)
    for slot, text in enumerate(texts):
        offline = masked.decode(exact.model, text, exact.features[slot], limits[slot])
        torch.testing.assert_close(torch.cat(rows[slot]), offline, rtol=1e-6, atol=1e-5)


def plain_greedy(bench: Bench, slot: int, visible: int, budget: int) -> list[int]:
    """Whisper's greedy decoding with nothing cached and nothing drafted."""
    tokens = list(bench.vocabulary.start)
    said: list[int] = []
    while len(said) < budget:
        features = bench.features[slot][:visible]
        logits = masked.decode(bench.model, tokens + said, features, [visible] * (len(tokens) + len(said)))[
            -1
        ]
        logits = logits + bench.vocabulary.suppressed
        if not said:
            logits[bench.vocabulary.blank] = float("-inf")
        token = int(logits.argmax())
        if token == bench.vocabulary.wait:
            break
        said.append(token)
    return said


@pytest.fixture(scope="module")
def plain(bench: Bench) -> dict[tuple[int, int], list[int]]:
    return {
        (slot, visible): plain_greedy(bench, slot, visible, 24)
        for slot in range(SLOTS)
        for visible in (90, 400)
    }


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_draft_and_verify_equals_plain_greedy(
    bench: Bench, plain: dict[tuple[int, int], list[int]], data: st.DataObject
) -> None:
    """For a draft that is right, wrong from some token on, too long, or nonsense, and with any budget."""
    requests, expected = [], []
    for slot in range(SLOTS):
        visible = data.draw(st.sampled_from([90, 400]))
        truth = plain[slot, visible]
        right = truth[: data.draw(st.integers(0, len(truth)))]
        draft = right + data.draw(st.lists(st.integers(0, 50_000), max_size=4))
        budget = data.draw(st.integers(1, 24))
        requests.append(bench.request(slot, [], draft, visible, budget))
        expected.append(truth[:budget])
    decoded = decode_greedily(bench.decoder, requests)
    assert [one.tokens for one in decoded] == expected
    for one, request in zip(decoded, requests, strict=True):
        assert one.attention.shape == (len(one.tokens) + 1, request.visible)
        assert len(one.probabilities) == len(one.tokens)
        assert all(0 < probability <= 1 for probability in one.probabilities)


def test_a_right_draft_saves_passes(bench: Bench, plain: dict[tuple[int, int], list[int]]) -> None:
    truth = plain[0, 400]
    assert len(truth) > 8
    before = bench.decoder.passes
    decode_greedily(bench.decoder, [bench.request(0, [], [], 400)])
    undrafted = bench.decoder.passes - before
    decode_greedily(bench.decoder, [bench.request(0, [], truth, 400)])
    assert bench.decoder.passes - before - undrafted == 1
    assert undrafted == len(truth) + 1


def test_haste_says_more_and_nothing_else(bench: Bench, plain: dict[tuple[int, int], list[int]]) -> None:
    truth = plain[0, 90]
    request = bench.request(0, [], [], 90, len(truth) + 3)
    (hasty,) = decode_greedily(bench.decoder, [replace(request, haste=1e9)])
    assert hasty.tokens[:-3] == truth
    assert not hasty.waiting
    assert decode_greedily(bench.decoder, [request])[0].tokens == truth


def test_the_attention_of_each_token_follows_the_speech(bench: Bench) -> None:
    (decoded,) = decode_greedily(bench.decoder, [bench.request(0, [], [], 400)])
    peaks = decoded.attention[: len(decoded.tokens)].argmax(1).tolist()
    inversions = sum(later < earlier - 10 for earlier, later in itertools.pairwise(peaks))
    assert inversions <= len(peaks) // 5
    assert max(peaks) - min(peaks) > 200


def test_a_suppressed_token_is_never_said(bench: Bench) -> None:
    logits = torch.zeros(1, bench.model.dims.n_vocab) + bench.vocabulary.suppressed
    tokenizer = bench.vocabulary.tokenizer
    for token in (
        *tokenizer.non_speech_tokens,
        tokenizer.sot,
        tokenizer.timestamp_begin,
        tokenizer.no_speech,
    ):
        assert logits[0, token] == float("-inf")
    assert logits[0, tokenizer.eot] == -RELUCTANCE
    assert logits[0, tokenizer.encode(" hello")[0]] == 0
