"""What the interface promises, asked of every codec: any cutting, any company, any moment of a snapshot."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import codecs_at_hand
from voicewire import codecs
from voicewire.codecs import (
    BitrateError,
    Codec,
    CodecBatch,
    CodecError,
    CodecStateError,
    SilentCodecError,
    Tokens,
    TokensError,
    UnknownCodecError,
    codebooks_at,
    decoder_stream,
    encoder_stream,
    kbps,
    rates,
)

# No whole number of frames of any codec.
LENGTH_S = 0.5234
few_examples = settings(max_examples=5)
places = st.lists(st.floats(0, 1), max_size=6).map(sorted)


@pytest.fixture(scope="module", params=codecs_at_hand.NAMES)
def codec(request: pytest.FixtureRequest) -> Codec:
    return codecs_at_hand.codec(request.param)


@pytest.fixture(scope="module")
def sounding(codec: Codec) -> Codec:
    if not codec.sounds:
        pytest.skip(f"{codec.name} makes no sound: its refusals are tested")
    return codec


def speech(codec: Codec, start_s: float = 0.0, length_s: float = LENGTH_S) -> np.ndarray:
    start = round(start_s * codec.sample_rate)
    return codecs_at_hand.speech(codec.sample_rate)[start : start + round(length_s * codec.sample_rate)]


def cut(samples: np.ndarray, shares: Sequence[float]) -> list[np.ndarray]:
    return np.split(samples, [round(share * len(samples)) for share in shares])


def cut_tokens(tokens: Tokens, shares: Sequence[float]) -> list[Tokens]:
    """The same frames in pieces; the last one has the rest of the samples."""
    edges = [0, *(round(share * tokens.frames) for share in shares), tokens.frames]
    return [part(tokens, start, end) for start, end in itertools.pairwise(edges)]


def part(tokens: Tokens, start: int, end: int) -> Tokens:
    size = tokens.frame_samples
    samples = max(0, min(tokens.samples, end * size) - start * size)
    first = tokens.first_frame + start
    return replace(tokens, first_frame=first, samples=samples, codes=tokens.codes[start:end])


def assert_joined(pieces: Iterable[Tokens], whole: Tokens) -> None:
    """The pieces are the whole, one behind the other, with its exact number of samples."""
    pieces = list(pieces)
    assert np.array_equal(np.concatenate([piece.codes for piece in pieces]), whole.codes)
    assert sum(piece.samples for piece in pieces) == whole.samples
    due = 0
    for piece in pieces:
        assert piece.first_frame == due
        due += piece.frames


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, other, atol=1e-4)


# ---- one stream


def test_what_is_loaded_is_a_codec(codec: Codec) -> None:
    assert isinstance(codec, Codec)
    assert isinstance(codec.encoders(1), CodecBatch)
    assert len(bytes.fromhex(codec.weights_sha256)) == 32
    assert codec.sample_rate % codec.frame_rate == 0
    assert list(codec.choices) == sorted(set(codec.choices))
    assert codec.choices[-1] == codec.codebooks
    assert list(rates(codec).values()) == list(codec.choices)
    assert codebooks_at(codec, kbps(codec, codec.choices[0])) == codec.choices[0]
    with pytest.raises(BitrateError, match=f"{kbps(codec, codec.choices[0]):g}"):
        codebooks_at(codec, 0.001)


@few_examples
@given(shares=places)
def test_any_cutting_gives_the_tokens_of_the_whole(codec: Codec, shares: list[float]) -> None:
    samples = speech(codec)
    whole = codec.encode(samples)
    assert (whole.codec, whole.codebooks, whole.bits) == (codec.name, codec.codebooks, codec.bits)
    assert whole.samples == len(samples)
    stream = encoder_stream(codec)
    assert_joined([*(stream.push(piece) for piece in cut(samples, shares)), stream.flush()], whole)
    assert_joined([stream.push(samples), stream.flush()], whole)


@few_examples
@given(shares=places)
def test_any_cutting_of_tokens_gives_the_sound_of_the_whole(sounding: Codec, shares: list[float]) -> None:
    tokens = sounding.encode(speech(sounding))
    whole = sounding.decode(tokens)
    assert len(whole) == tokens.samples
    stream = decoder_stream(sounding)
    heard = [*(stream.push(piece) for piece in cut_tokens(tokens, shares)), stream.flush()]
    assert_same(np.concatenate(heard), whole)


@few_examples
@given(samples=st.integers(0, 2_500))
def test_the_number_of_samples_is_exact(codec: Codec, samples: int) -> None:
    given_samples = codecs_at_hand.speech(codec.sample_rate)[:samples]
    tokens = codec.encode(given_samples, codec.choices[0])
    assert tokens.samples == samples
    assert tokens.codebooks == codec.choices[0]
    if codec.sounds:
        assert codec.decode(tokens).shape == (samples,)


def test_the_decoder_finds_in_mid_stream_by_its_preroll(sounding: Codec) -> None:
    start = sounding.preroll + 5
    tokens = sounding.encode(speech(sounding, length_s=(start + 5) / sounding.frame_rate))
    late = decoder_stream(sounding)
    heard = late.push(part(tokens, start - sounding.preroll, tokens.frames))
    heard = np.concatenate([heard, late.flush()])[sounding.preroll * tokens.frame_samples :]
    assert_same(heard, sounding.decode(tokens)[start * tokens.frame_samples :])


@few_examples
@given(share=st.floats(0, 1), data=st.data())
def test_another_bitrate_begins_with_the_next_frame(codec: Codec, share: float, data: st.DataObject) -> None:
    before, after = (data.draw(st.sampled_from(codec.choices)) for _ in range(2))
    samples = speech(codec)
    early, late = cut(samples, [share])
    stream = encoder_stream(codec, before)
    first = stream.push(early)
    stream.use(after)
    rest = [stream.push(late), stream.flush()]
    assert {first.codebooks} | {piece.codebooks for piece in rest} <= {before, after}
    assert np.array_equal(first.codes, codec.encode(samples, before).codes[: first.frames])
    wanted = codec.encode(samples, after).codes[first.frames :]
    assert np.array_equal(np.concatenate([piece.codes for piece in rest]), wanted)
    if codec.sounds:
        decoder = decoder_stream(codec)
        heard = [*(decoder.push(piece) for piece in [first, *rest]), decoder.flush()]
        assert sum(map(len, heard)) == len(samples)


# ---- streams in company


@few_examples
@given(delays=st.lists(st.integers(0, 3), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_a_stream_in_company_gives_what_it_gives_alone(codec: Codec, delays: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch = codec.encoders(len(delays))
    samples = {batch.open(): speech(codec, start_s=1.0 + place) for place in range(len(delays))}
    assert batch.free == 0
    with pytest.raises(CodecError):
        batch.open()
    waiting = {slot: cut(whole, sorted(rng.uniform(size=3))) for slot, whole in samples.items()}
    made: dict[int, list[Tokens]] = {slot: [] for slot in samples}
    for turn in range(max(delays) + 4):
        present = [
            slot for slot, delay in zip(samples, delays, strict=True) if turn >= delay and waiting[slot]
        ]
        for slot, tokens in batch.push({slot: waiting[slot].pop(0) for slot in present}).items():
            made[slot].append(tokens)
    for slot, tokens in batch.flush(list(samples)).items():
        assert_joined([*made[slot], tokens], codec.encode(samples[slot]))


@few_examples
@given(share=st.floats(0, 1))
def test_a_stream_restored_in_another_slot_goes_on_identically(codec: Codec, share: float) -> None:
    samples = speech(codec)
    early, late = cut(samples, [share])
    batch, other = codec.encoders(1), codec.encoders(2)
    slot = batch.open(codec.choices[0])
    first = batch.push({slot: early})[slot]
    other.open()
    there = other.open()
    other.push({there: speech(codec, start_s=5.0)})
    other.restore(there, batch.snapshot(slot))
    rest = [other.push({there: late})[there], other.flush([there])[there]]
    assert_joined([first, *rest], codec.encode(samples, codec.choices[0]))


@few_examples
@given(share=st.floats(0, 1))
def test_a_decoder_restored_in_another_slot_goes_on_identically(sounding: Codec, share: float) -> None:
    tokens = sounding.encode(speech(sounding))
    early, late = cut_tokens(tokens, [share])
    batch, other = sounding.decoders(1), sounding.decoders(2)
    slot, _, there = batch.open(), other.open(), other.open()
    batch.push({slot: early})
    other.restore(there, batch.snapshot(slot))
    expected = np.concatenate([batch.push({slot: late})[slot], batch.flush([slot])[slot]])
    found = np.concatenate([other.push({there: late})[there], other.flush([there])[there]])
    assert np.array_equal(found, expected)


def test_a_closed_slot_is_free_and_begins_anew(codec: Codec) -> None:
    batch = codec.encoders(1)
    slot = batch.open()
    batch.push({slot: speech(codec)})
    batch.close(slot)
    assert batch.free == 1
    slot = batch.open()
    pieces = [batch.push({slot: speech(codec)})[slot], batch.flush([slot])[slot]]
    assert_joined(pieces, codec.encode(speech(codec)))


# ---- refusals


def test_a_number_of_codebooks_that_there_is_not_is_refused(codec: Codec) -> None:
    batch = codec.encoders(1)
    with pytest.raises(CodecError):
        batch.open(codec.codebooks + 1)
    assert batch.free == 1


def test_wrong_tokens_are_refused_and_no_stream_has_moved(sounding: Codec) -> None:
    tokens = sounding.encode(speech(sounding))
    early, late = cut_tokens(tokens, [0.5])
    batch = sounding.decoders(2)
    good, bad = batch.open(), batch.open()
    batch.push({good: early, bad: early})
    before = [batch.snapshot(good), batch.snapshot(bad)]
    for wrong in (replace(late, codec="another"), replace(late, first_frame=late.first_frame + 1), early):
        with pytest.raises(TokensError):
            batch.push({good: late, bad: wrong})
        assert [batch.snapshot(good), batch.snapshot(bad)] == before
    with pytest.raises(TokensError):
        sounding.decode(replace(tokens, codec="another"))
    found = batch.push({good: late, bad: late})
    assert_same(found[good], found[bad])


@pytest.mark.parametrize("wrong", [b"", b"x", bytes(1000)], ids=["nothing", "a byte", "zeros"])
def test_what_is_no_snapshot_is_refused(codec: Codec, wrong: bytes) -> None:
    batch = codec.encoders(1)
    slot = batch.open()
    with pytest.raises(CodecStateError):
        batch.restore(slot, wrong)
    if codec.sounds:
        decoders = codec.decoders(1)
        with pytest.raises(CodecStateError):
            decoders.restore(decoders.open(), batch.snapshot(slot))


def test_a_codec_without_sound_says_so(codec: Codec) -> None:
    if codec.sounds:
        pytest.skip(f"{codec.name} makes sound")
    with pytest.raises(SilentCodecError):
        codec.decode(codec.encode(speech(codec)))
    with pytest.raises(SilentCodecError):
        codec.decoders(1)


# ---- tokens and the registry


def test_tokens_know_their_time_and_rate() -> None:
    tokens = Tokens("x", 16_000, 50.0, 8, 10, first_frame=25, samples=700, codes=np.zeros((3, 8), np.int16))
    assert (tokens.start_s, tokens.duration_s, tokens.frame_samples) == (0.5, 700 / 16_000, 320)
    assert tokens.bits_per_second == 4000


@pytest.mark.parametrize(
    "wrong",
    [
        {"codes": np.zeros((3, 7), np.int16)},
        {"codes": np.zeros(24, np.int16)},
        {"codes": np.zeros((3, 8))},
        {"codes": np.full((3, 8), 1024)},
        {"codes": np.full((3, 8), -1)},
        {"first_frame": -1},
        {"samples": 961},
        {"samples": 640},
        {"frame_rate": 75.0},
    ],
    ids=str,
)
def test_tokens_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    tokens = Tokens("x", 16_000, 50.0, 8, 10, 0, 960, np.zeros((3, 8), np.int16))
    with pytest.raises(TokensError):
        replace(tokens, **wrong)


def test_an_unknown_codec_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownCodecError, match="no codec is called 'opus'; there are: "):
        codecs.load("opus")
