"""What the adapter learns to write, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisper.tokenizer import Tokenizer, get_tokenizer

from voicewire.asr.train.labels import (
    PUNCTUATION_S,
    WordTokens,
    due_times,
    in_order,
    spell,
    tidy,
    tokenise,
    word_begins,
)

HEARD = "Mr. Quilter is the apostle of the middle classes, and we're glad to welcome his gospel."
CAPITALS = "MISTER QUILTER IS THE APOSTLE OF THE MIDDLE CLASSES AND WE'RE GLAD TO WELCOME I HIS GOSPEL"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return get_tokenizer(multilingual=True, language="en", task="transcribe")


def test_a_reference_in_capitals_is_written_as_whisper_writes() -> None:
    words, known = spell(CAPITALS.split(), HEARD.split())
    assert " ".join(words) == (
        "mister Quilter is the apostle of the middle classes, and we're glad to welcome I his gospel."
    )
    assert [word for word, one in zip(words, known, strict=True) if not one] == ["mister", "I"]


def test_the_words_are_the_reference_s_also_where_whisper_heard_others() -> None:
    words, known = spell(["THE", "CAT", "SAT"], ["A", "bat", "spat."])
    assert words == ["the", "cat", "sat"]
    assert known == [False, False, False]


def test_a_written_reference_stays_as_it_is() -> None:
    written = ["The", "Cat,", "it", "seems,", "sat."]
    assert spell(written, ["the", "cat", "it", "seems", "sat"]) == (written, [True] * 5)


def test_words_of_other_alphabets_are_told_apart() -> None:
    words, known = spell(["это", "не", "то"], ["Это", "совсем", "то."])
    assert known == [True, False, True]
    assert words == ["Это", "не", "то."]


def test_apostrophes_are_alike() -> None:
    assert spell(["DON'T"], ["Don’t"]) == (["Don’t"], [True])  # noqa: RUF001 - as Whisper may write it


def test_a_text_begins_with_a_capital_and_says_nothing_that_a_stream_may_not() -> None:
    words = ["“so", "it", "(is)", "–", "said:", "yes.", "and", "&", "5", "%", "-"]  # noqa: RUF001
    assert tidy(words) == ["So", "it", "is", "", "said:", "yes.", "And", "&", "5", "%", ""]
    assert tidy(["and"], begins=False) == ["and"]


def test_a_sentence_goes_on_behind_punctuation_that_stands_alone() -> None:
    assert tidy(["-", "well", "-", "then"]) == ["", "Well", "", "then"]


@given(
    words=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Z", "C")), min_size=1), max_size=8
    )
)
def test_tokens_give_the_words_back(tokenizer: Tokenizer, words: list[str]) -> None:
    tidied = [word for word in tidy(words) if word]
    tokens = [token for word in tokenise(tidied, tokenizer) for token in word.tokens]
    assert max(tokens, default=0) < tokenizer.eot
    assert tokenizer.decode(tokens) == "".join(f" {word}" for word in tidied)


def test_stops_are_told_from_words(tokenizer: Tokenizer) -> None:
    plain, stopped, both = tokenise(["yes", "yes.", "yes?!"], tokenizer)
    assert plain.closing == 0
    assert stopped.closing == 1
    assert both.closing == len(both.tokens) - 1
    (alone,) = tokenise(["."], tokenizer)
    assert alone.closing == 0  # something of a word must have its time


def test_a_word_is_due_at_its_end_and_its_stop_may_wait() -> None:
    words = [WordTokens([1, 2, 3], 1), WordTokens([4], 0)]
    times = [(0.0, 0.3), (0.3, 0.5), (0.5, 0.6), (2.0, 2.4)]
    assert due_times(words, times) == [0.5, 0.5, 0.5 + PUNCTUATION_S, 2.4]
    assert word_begins(words, times) == [0.0, 0.0, 0.0, 2.0]


def test_a_stop_is_due_with_the_next_word_at_the_latest() -> None:
    words = [WordTokens([1, 2], 1), WordTokens([3], 0)]
    assert due_times(words, [(0.0, 0.5), (0.5, 0.5), (0.5, 0.8)]) == [0.5, 0.8, 0.8]


@given(times=st.lists(st.floats(0, 30)))
def test_in_order_is_sorted_never_later_and_as_late_as_can_be(times: list[float]) -> None:
    ordered = in_order(times)
    assert ordered == sorted(ordered)
    assert all(new <= old for new, old in zip(ordered, times, strict=True))
    assert in_order(ordered) == ordered
    for place, time in enumerate(ordered):
        assert time == min(times[place:])
