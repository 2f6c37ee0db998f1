"""Keyterms: found where they are said, nowhere else; exact for any draft, in any company, and over a snapshot."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper.model import ModelDimensions

from benchmarks.keyterms import TermErrors, count_term_errors
from tests.decoder_bench import SLOTS, Bench
from voicewire.asr import masked
from voicewire.asr.beam import BeamDecoder
from voicewire.asr.errors import SettingsError
from voicewire.asr.events import Event, Transcript
from voicewire.asr.greedy import decode_greedily
from voicewire.asr.keyterms import Keyterms, Place
from voicewire.asr.model import CausalWhisper
from voicewire.asr.settings import LONGEST_KEYTERM, MOST_KEYTERMS, StreamSettings
from voicewire.asr.tokens import Vocabulary
from voicewire.asr.transcriber import BatchTranscriber
from voicewire.client.commands.options import keyterms_of
from voicewire.client.commands.transcribe import transcribe
from voicewire.client.errors import CommandError

TERMS = ("New York", "New York City", "York", "Ann", "Gutenburg", "Kirkland's mill", "Łódź", "orchard")
# What the bench's speakers say and plain decoding gets wrong, and what sounds a little like what they say.
HEARD = ("travelled abroad", "Grey", "Wildman", "certified", "preserved", "embarrassed", "worldly", "passage")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    dims = ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6)
    return Vocabulary.of(dims, "en", torch.device("cpu"))


@pytest.fixture(scope="module")
def bench(model: CausalWhisper, spoken: np.ndarray) -> Bench:
    return Bench(model, spoken, spare=3)


def walk(keyterms: Keyterms, tokens: list[int]) -> tuple[Place, int]:
    """Where the text stands, and how many tokens have kept a bonus that the terms gave."""
    place, kept = Place(), 0
    for token in tokens:
        following, lost = keyterms.follow(place, token)
        kept += bool(following.unfinished) - lost
        place = following
    return place, kept - keyterms.given_up(place)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" We saw New York.", " New York"),
        (" New York City hall", " New York City"),
        (" New York Citysome", " New York"),
        (" new Yorkers came", ""),
        (" Ann and Anna", " Ann"),
        (" Annette", ""),
        (' "Ann said', "Ann"),
        (" Johann said", ""),
        (" Kirkland's millstone", ""),
        (" in Łódź.", " Łódź"),
        (" ann", ""),
        (" orchard", " orchard"),
        (" Orchard", " Orchard"),
    ],
)
def test_what_is_finished_keeps_its_bonus_and_nothing_else(
    vocabulary: Vocabulary, text: str, kept: str
) -> None:
    keyterms = Keyterms(TERMS, vocabulary)
    tokens = vocabulary.tokenizer.encode(text)
    assert walk(keyterms, tokens)[1] == len(vocabulary.tokenizer.encode(kept))


@given(data=st.data())
@settings(max_examples=100)
def test_a_place_is_that_of_the_whole_text(vocabulary: Vocabulary, data: st.DataObject) -> None:
    """However long the text, its last tokens are enough."""
    keyterms = Keyterms(TERMS, vocabulary)
    words = st.sampled_from([" New", " York", " City", " Ann", "ette", " and", ' "', " Kirk", "land", "'s"])
    text = "".join(data.draw(st.lists(words, max_size=30)))
    tokens = vocabulary.tokenizer.encode(text)
    assert (
        keyterms.favoured(keyterms.place(tokens)).tolist()
        == keyterms.favoured(walk(keyterms, tokens)[0]).tolist()
    )


def plain_greedy(bench: Bench, keyterms: Keyterms, slot: int, visible: int, budget: int) -> list[int]:
    """Greedy decoding with keyterms, with nothing cached and nothing drafted."""
    said: list[int] = []
    swayed: set[int] = set()
    barred: set[int] = set()
    places = [Place()]
    while len(said) < budget:
        tokens = [*bench.vocabulary.start, *said]
        logits = masked.decode(bench.model, tokens, bench.features[slot][:visible], [visible] * len(tokens))
        row = logits[-1] + bench.vocabulary.suppressed
        if not said:
            row[bench.vocabulary.blank] = float("-inf")
        token = plain = int(row.argmax())
        waits, free = plain == bench.vocabulary.wait, len(said) not in barred
        if free and not waits:
            row[keyterms.favoured(places[-1])] += keyterms.bonus
            token = int(row.argmax())
        if token != plain:
            swayed.add(len(said))
        place, lost = keyterms.follow(places[-1], token) if free else (keyterms.outside(token), 0)
        lost = keyterms.given_up(places[-1]) if waits else lost
        wrong = [at for at in range(len(said) - lost, len(said)) if at in swayed]
        if wrong:
            kept = wrong[0]
            barred.add(kept)
            swayed = {at for at in swayed if at < kept}
            said, places = said[:kept], places[: kept + 1]
            continue
        if waits:
            break
        said.append(token)
        places.append(place)
    return said


@pytest.fixture(scope="module")
def keyterms(bench: Bench) -> Keyterms:
    """With a bonus that sways often, and wrongly."""
    keyterms = Keyterms(HEARD, bench.vocabulary)
    keyterms.bonus = 7.0
    return keyterms


@pytest.fixture(scope="module")
def biased(bench: Bench, keyterms: Keyterms) -> list[list[int]]:
    return [plain_greedy(bench, keyterms, slot, 400, 24) for slot in range(SLOTS)]


@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_any_draft_and_any_company_give_the_same_words(
    bench: Bench, keyterms: Keyterms, biased: list[list[int]], data: st.DataObject
) -> None:
    """Streams with terms and without in one batch: each is decoded as by itself."""
    plain = [decode_greedily(bench.decoder, [bench.request(slot, [], [], 400)])[0] for slot in range(SLOTS)]
    requests, expected = [], []
    for slot in range(SLOTS):
        truth = data.draw(st.sampled_from([biased[slot], plain[slot].tokens]))
        draft = truth[: data.draw(st.integers(0, len(truth)))]
        draft = draft + data.draw(st.lists(st.integers(0, 50_000), max_size=3))
        told = data.draw(st.booleans())
        request = bench.request(slot, [], draft, 400)
        requests.append(request if not told else type(request)(**vars(request) | {"keyterms": keyterms}))
        expected.append(biased[slot] if told else plain[slot].tokens)
    decoded = decode_greedily(bench.decoder, requests)
    assert [one.tokens for one in decoded] == expected
    for one in decoded:
        assert one.attention.shape == (len(one.tokens) + 1, 400)
        assert len(one.probabilities) == len(one.tokens)


def test_the_terms_of_this_test_do_sway(bench: Bench, biased: list[list[int]]) -> None:
    plain = decode_greedily(bench.decoder, [bench.request(slot, [], [], 400) for slot in range(SLOTS)])
    assert [one.tokens for one in plain] != biased
    texts = [bench.vocabulary.text(tokens) for tokens in biased]
    assert "travelled abroad" in texts[0], texts
    assert "when Grey" in texts[2], texts


def test_a_beam_of_one_is_greedy_where_nothing_is_given_back(bench: Bench) -> None:
    keyterms = Keyterms(("Nothing like this",), bench.vocabulary)
    searched = BeamDecoder(bench.decoder, SLOTS, 3)
    for slot in range(SLOTS):
        request = bench.request(slot, [], [], 400)
        told = type(request)(**vars(request) | {"keyterms": keyterms})
        (greedy,) = decode_greedily(bench.decoder, [told])
        assert searched.decode(told, 1).tokens == greedy.tokens


def test_the_search_finds_terms_and_gives_back_what_came_to_nothing(
    bench: Bench, keyterms: Keyterms, biased: list[list[int]]
) -> None:
    searched = BeamDecoder(bench.decoder, SLOTS, 3)
    for slot in range(SLOTS):
        request = bench.request(slot, [], [], 400)
        told = type(request)(**vars(request) | {"keyterms": keyterms})
        best, plain = searched.search(told, 3)[0], searched.search(request, 3)
        _, kept = walk(keyterms, list(best.tokens))
        own = {one.tokens: one.score for one in plain}
        if best.tokens in own:  # the same words score the same, but for the bonus of finished terms
            assert best.score == pytest.approx(own[best.tokens] + kept * keyterms.bonus, abs=1e-3)


# ---- streams


@pytest.fixture(scope="module")
def batch() -> BatchTranscriber:
    return BatchTranscriber.load("base", slots=3, precision="float32")


def text_of(events: list[Event]) -> str:
    return "".join(word.text for event in events if isinstance(event, Transcript) for word in event.words)


def run(batch: BatchTranscriber, slot: int) -> list[Event]:
    events: list[Event] = []
    while news := batch.step():
        events += news.get(slot, [])
    return events


def test_a_stream_with_terms_goes_on_from_a_snapshot_in_any_company(
    batch: BatchTranscriber, spoken: np.ndarray
) -> None:
    told = StreamSettings(keyterms=HEARD)
    speech = spoken[: 12 * 16_000]
    alone = batch.open(told)
    batch.push(alone, speech)
    batch.flush(alone)
    whole = run(batch, alone)
    batch.close(alone)

    first, company = batch.open(told), batch.open(StreamSettings())
    batch.push(company, spoken[16_000 : 9 * 16_000])
    batch.push(first, speech[: 5 * 16_000])
    events = run(batch, first)
    data = batch.snapshot(first)
    batch.close(first)
    second = batch.restore(data)
    batch.push(second, speech[5 * 16_000 :])
    batch.flush(second)
    events += run(batch, second)
    assert text_of(events) == text_of(whole) != ""
    for slot in (company, second):
        batch.close(slot)


@pytest.mark.parametrize(
    "terms",
    [["x"] * (MOST_KEYTERMS + 1), ["x" * (LONGEST_KEYTERM + 1)], [""], ["..."], ["a\x00b"]],
)
def test_terms_that_cannot_be_are_refused(terms: list[str]) -> None:
    with pytest.raises(SettingsError, match="keyterms"):
        StreamSettings(keyterms=tuple(terms))


def test_what_looks_like_a_special_token_is_text(vocabulary: Vocabulary) -> None:
    keyterms = Keyterms(("<|endoftext|>",), vocabulary)
    assert vocabulary.wait not in keyterms.favoured(Place())
    assert StreamSettings(keyterms=(" Ada   Lovelace ",)).keyterms == ("Ada Lovelace",)


def test_terms_are_named_one_by_one_and_in_a_file(tmp_path: Path) -> None:
    listed = tmp_path / "names.txt"
    listed.write_text("Kirkland\n\n Ada  Lovelace \nŁódź\n", encoding="utf-8")
    assert keyterms_of(["Ada Lovelace", "Gutenberg"], listed) == (
        "Ada Lovelace",
        "Gutenberg",
        "Kirkland",
        "Łódź",
    )
    assert keyterms_of(None, None) == ()
    listed.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CommandError, match=r"names\.txt"):
        keyterms_of(None, listed)


def test_whisper_as_it_is_knows_no_terms(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--streaming"):
        transcribe([str(tmp_path)], keyterm=["Ada"])


@pytest.mark.parametrize(
    ("written", "found", "false", "errors", "elsewhere"),
    [
        ("we saw kirkland today", 1, 0, 0, 0),
        ("we saw kirk land today", 0, 0, 2, 1),
        ("we met kirkland today", 1, 0, 1, 1),
        ("kirkland saw kirkland today", 1, 1, 1, 1),
        ("we saw kirkland gutenberg today", 1, 1, 1, 0),
        ("", 0, 0, 4, 3),
    ],
)
def test_errors_at_terms_are_counted_apart(
    written: str, found: int, false: int, errors: int, elsewhere: int
) -> None:
    counted = count_term_errors("WE SAW KIRKLAND TODAY", written, {"kirkland", "gutenberg"})
    assert counted == TermErrors(1, found, false, 4, errors, elsewhere)
