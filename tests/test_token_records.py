"""Tokens as bits and as records: there and back for any tokens, and nothing believed that a peer sends."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mu_law import MuLaw
from voicewire.codecs import Hello, RecordReader, RecordWriter, Tokens, TokensError
from voicewire.codecs.packing import pack, packed_bytes, unpack
from voicewire.codecs.records import MAX_FRAMES, MAX_RECORD_BYTES, End, RecordType, TokensRecord, most_frames

HELLO = Hello("some_codec", "ab" * 32, 16_000, 320, 16, 4)


def tokens(frames: int, first_frame: int = 0, codebooks: int = 16, padding: int = 0, seed: int = 0) -> Tokens:
    codes = np.random.default_rng(seed).integers(0, 16, (frames, codebooks))
    return Tokens("some_codec", 16_000, 50.0, codebooks, 4, first_frame, frames * 320 - padding, codes)


def assert_equal(one: Tokens, other: Tokens) -> None:
    assert np.array_equal(one.codes, other.codes)
    for name in ("codec", "sample_rate", "frame_rate", "codebooks", "bits", "first_frame", "samples"):
        assert getattr(one, name) == getattr(other, name)


# ---- bits


@given(
    bits=st.integers(1, 16), frames=st.integers(0, 9), codebooks=st.integers(1, 9), seed=st.integers(0, 99)
)
def test_codes_come_back_from_their_bits(bits: int, frames: int, codebooks: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**bits, (frames, codebooks))
    packed = pack(codes, bits)
    assert len(packed) == packed_bytes(codes.size, bits)
    # The same, in the plainest way there is.
    digits = "".join(f"{code:0{bits}b}" for code in codes.ravel())
    assert packed == bytes(int(digits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(digits), 8))
    assert np.array_equal(unpack(packed, frames, codebooks, bits), codes)


@pytest.mark.parametrize("data", [b"\0\0", b"\0\0\0\0", b"\xff\xff\xff"], ids=["short", "long", "filled"])
def test_bits_that_are_no_codes_are_refused(data: bytes) -> None:
    with pytest.raises(TokensError):
        unpack(data, 2, 2, 5)


# ---- records in their order


def test_what_was_written_is_read() -> None:
    writer, reader = RecordWriter(HELLO), RecordReader()
    assert reader.take(writer.begin()) is None
    assert reader.hello == HELLO
    pieces = [tokens(5, 100), tokens(0, 105), tokens(1, 105, codebooks=3), tokens(7, 106, padding=319)]
    for number, piece in enumerate(pieces):
        records = writer.write(piece, fresh=number == 2)
        assert len(records) == (piece.frames > 0)
        for record in records:
            taken = reader.take(record)
            assert taken is not None
            assert_equal(taken.tokens, piece)
            assert taken.fresh is (number == 2)
    assert not reader.ended
    assert reader.take(writer.end()) is None
    assert reader.ended


def test_very_many_frames_are_several_records() -> None:
    most = most_frames(1, 16)
    hello = replace(HELLO, bits=16)
    long = Tokens("some_codec", 16_000, 50.0, 1, 16, 0, (most + 1) * 320 - 7, np.zeros((most + 1, 1), int))
    first, second = RecordWriter(hello).write(long, fresh=True)
    assert len(first) <= MAX_RECORD_BYTES
    reader = RecordReader()
    reader.take(hello.to_bytes())
    one, two = reader.take(first), reader.take(second)
    assert one is not None
    assert two is not None
    assert (one.tokens.frames, two.tokens.frames, one.fresh, two.fresh) == (most, 1, True, False)
    assert one.tokens.samples + two.tokens.samples == long.samples


def test_records_of_types_to_come_are_passed_over() -> None:
    reader = RecordReader()
    reader.take(HELLO.to_bytes())
    assert reader.take(b"\x2a\xffwhatever comes") is None
    assert reader.take(TokensRecord(tokens(2)).to_bytes()) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        tokens(2, 4),
        tokens(2, 6),
        replace(tokens(2, 5), codec="another"),
        replace(tokens(2, 5), bits=5),
        replace(tokens(2, 5), sample_rate=8_000, frame_rate=25.0),
        replace(tokens(2, 5), sample_rate=8_000, samples=320),
        tokens(2, 5, codebooks=17),
    ],
    ids=["again", "gap", "codec", "bits", "rate", "frame", "codebooks"],
)
def test_tokens_that_cannot_come_next_are_not_written(wrong: Tokens) -> None:
    writer = RecordWriter(HELLO)
    writer.write(tokens(5))
    with pytest.raises(TokensError):
        writer.write(wrong)
    assert writer.write(tokens(2, 5))


def test_after_a_padded_frame_comes_no_other() -> None:
    writer = RecordWriter(HELLO)
    writer.write(tokens(5, padding=1))
    with pytest.raises(TokensError, match="always the last"):
        writer.write(tokens(1, 5))


def test_a_stream_that_runs_out_of_numbers_says_so() -> None:
    writer = RecordWriter(HELLO)
    writer.write(tokens(5, MAX_FRAMES - 5))
    with pytest.raises(TokensError, match="begin a new one"):
        writer.write(tokens(1, MAX_FRAMES))


def changed(record: bytes, place: int, value: bytes) -> bytes:
    return record[:place] + value + record[place + len(value) :]


RECORD = TokensRecord(tokens(5)).to_bytes()


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\x02",
        b"\x02\x00",
        RECORD[:-1],
        RECORD + b"\0",
        changed(RECORD, 1, b"\x02"),
        changed(RECORD, 2, b"\x00\x00"),
        changed(RECORD, 2, b"\x11\x00"),
        changed(RECORD, 4, b"\x00\x00"),
        changed(RECORD, 4, b"\xff\xff"),
        changed(RECORD, 6, b"\x40\x01"),
        changed(RECORD, 8, b"\xff\xff\xff\xff"),
        HELLO.to_bytes(),
        End(1, 320).to_bytes(),
        End(0, 0).to_bytes() + b"\0",
        b"\x02\x00" + bytes(MAX_RECORD_BYTES),
    ],
    ids=str(list(range(16)))[1:-1].split(", "),
)
def test_records_that_cannot_be_are_refused(wrong: bytes) -> None:
    reader = RecordReader()
    reader.take(HELLO.to_bytes())
    with pytest.raises(TokensError):
        reader.take(wrong)


def test_nothing_follows_the_end_but_what_is_not_known() -> None:
    reader = RecordReader()
    for record in (HELLO.to_bytes(), RECORD, End(5, 1600).to_bytes(), b"\x2a\x00"):
        reader.take(record)
    with pytest.raises(TokensError, match="after its end"):
        reader.take(TokensRecord(tokens(1, 5)).to_bytes())


# ---- the hello


def test_the_hello_is_that_of_the_codec() -> None:
    hello = Hello.of(MuLaw())
    hello.check(MuLaw())
    assert Hello.from_bytes(hello.to_bytes()) == hello
    assert hello.frame_rate == 50.0
    for wrong in (
        replace(hello, codec="another"),
        replace(hello, weights_sha256="00" * 32),
        replace(hello, codebooks=3),
    ):
        with pytest.raises(TokensError):
            wrong.check(MuLaw())


@pytest.mark.parametrize(
    "change",
    [
        {"codec": ""},
        {"codec": "x" * 65},
        {"codec": "Über"},
        {"weights_sha256": "no digits"},
        {"weights_sha256": "ab"},
        {"sample_rate": 0},
        {"sample_rate": 1_000_001},
        {"frame_samples": 0},
        {"frame_samples": 65_536},
        {"codebooks": 0},
        {"codebooks": 1_025},
        {"bits": 0},
        {"bits": 17},
    ],
    ids=str,
)
def test_a_hello_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(TokensError):
        replace(HELLO, **change)


@pytest.mark.parametrize("place", [0, 2, 3, 4, 5, 47])
def test_a_hello_of_something_else_is_refused(place: int) -> None:
    data = HELLO.to_bytes()
    with pytest.raises(TokensError):
        RecordReader().take(changed(data, place, bytes([data[place] ^ 0x55])))


# ---- anything at all


@given(
    records=st.lists(
        st.binary(max_size=60) | st.binary(max_size=40).map(lambda end: RECORD[:12] + end), max_size=5
    )
)
def test_any_bytes_are_tokens_or_a_tokens_error(records: list[bytes]) -> None:
    reader = RecordReader()
    reader.take(HELLO.to_bytes())
    with contextlib.suppress(TokensError):
        for record in records:
            reader.take(record)


@given(
    record=st.binary(max_size=120), head=st.sampled_from([b"", HELLO.to_bytes()[:6], HELLO.to_bytes()[:47]])
)
def test_any_bytes_are_a_hello_or_a_tokens_error(record: bytes, head: bytes) -> None:
    try:
        hello = Hello.from_bytes(head + record)
    except TokensError:
        return
    assert Hello.from_bytes(hello.to_bytes()) == hello


def test_the_types_are_what_the_page_says() -> None:
    assert [kind.value for kind in RecordType] == [1, 2, 3, 4, 5]
