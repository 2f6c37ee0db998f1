"""Tokens on disk and in pipes: any cut of the bytes, any damage, any moment to begin at."""

import contextlib
import io
import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import fuzz_tokens
from tests import codecs_at_hand
from tests.mu_law import MuLaw
from voicewire.codecs import (
    Codec,
    DamagedTokensError,
    Hello,
    RecordWriter,
    TokenFile,
    TokenReader,
    Tokens,
    TokensError,
    TokenWriter,
    encoder_stream,
    read_tokens,
    sound,
)
from voicewire.codecs.framing import FOOTER_BYTES, MOST_ENTRIES, SIGNATURE, Places, framed
from voicewire.codecs.records import MAX_RECORD_BYTES, Index

HELLO = Hello("some_codec", "ab" * 32, 16_000, 320, 4, 5)


def tokens(frames: int, first_frame: int = 0, codebooks: int = 4, padding: int = 0, seed: int = 0) -> Tokens:
    codes = np.random.default_rng(seed).integers(0, 32, (frames, codebooks))
    return Tokens("some_codec", 16_000, 50.0, codebooks, 5, first_frame, frames * 320 - padding, codes)


def written(pieces: Iterable[Tokens], hello: Hello = HELLO, record_s: float = 5.0) -> bytes:
    writer = TokenWriter(hello, record_s)
    return b"".join([writer.begin(), *(writer.write(piece) for piece in pieces), writer.end()])


def joined(pieces: Iterable[Tokens]) -> np.ndarray:
    return np.concatenate([piece.codes for piece in pieces])


SMALL = written([tokens(3), tokens(2, 3, padding=7)], record_s=0.06)


# ---- there and back


@given(cuts=st.lists(st.integers(0, len(SMALL)), max_size=9).map(sorted))
def test_bytes_may_come_in_any_pieces(cuts: list[int]) -> None:
    reader = TokenReader()
    taken = []
    for start, end in zip([0, *cuts], [*cuts, len(SMALL)], strict=True):
        taken += reader.push(SMALL[start:end])
    reader.finish()
    assert reader.complete
    assert reader.hello == HELLO
    assert [record.tokens.first_frame for record in taken] == [0, 3]
    assert np.array_equal(taken[0].tokens.codes, tokens(3).codes)
    assert sum(record.tokens.samples for record in taken) == 5 * 320 - 7


@given(
    sizes=st.lists(st.integers(0, 40), max_size=9),
    record_s=st.sampled_from([0.0, 0.1, 5.0]),
    padding=st.integers(0, 319),
    data=st.data(),
)
def test_any_pieces_are_gathered_to_the_same_tokens(
    sizes: list[int], record_s: float, padding: int, data: st.DataObject
) -> None:
    pieces = [tokens(size, sum(sizes[:at]), seed=at) for at, size in enumerate(sizes)]
    fresh = data.draw(st.integers(0, max(0, len(sizes) - 1)))
    if pieces and pieces[-1].frames:
        pieces[-1] = replace(pieces[-1], samples=pieces[-1].samples - padding)
    writer = TokenWriter(HELLO, record_s)
    stream = writer.begin()
    for at, piece in enumerate(pieces):
        stream += writer.write(piece, fresh=at == fresh)
    records = list(read_tokens(io.BytesIO(stream + writer.end())))
    assert sum(record.tokens.samples for record in records) == sum(piece.samples for piece in pieces)
    if any(sizes):
        assert np.array_equal(joined(record.tokens for record in records), joined(pieces))
    begun = [record.tokens.first_frame for record in records if record.fresh]
    assert begun == ([pieces[fresh].first_frame] if pieces and pieces[fresh].frames else [])


def test_another_number_of_codebooks_is_a_record_of_its_own() -> None:
    pieces = [tokens(5), tokens(5, 5, codebooks=2), tokens(5, 10, codebooks=4)]
    records = list(read_tokens(io.BytesIO(written(pieces))))
    assert [record.tokens.codebooks for record in records] == [4, 2, 4]


def test_what_is_gathered_can_be_had_at_once() -> None:
    writer = TokenWriter(HELLO)
    reader = TokenReader()
    reader.push(writer.begin() + writer.write(tokens(5)))
    assert len(reader.push(writer.flush())) == 1
    assert writer.flush() == b""


def test_wire_and_disk_hold_the_same_records() -> None:
    wire = RecordWriter(HELLO)
    records = [wire.begin(), *wire.write(tokens(5)), wire.end()]
    assert written([tokens(5)]).startswith(SIGNATURE + b"".join(map(framed, records)))


def test_a_stream_of_nothing_is_whole(tmp_path: Path) -> None:
    (tmp_path / "nothing.vwt").write_bytes(written([]))
    with TokenFile(tmp_path / "nothing.vwt") as file:
        assert list(file.tokens()) == []


# ---- damage


def test_every_bit_that_is_flipped_is_noticed() -> None:
    """And what was before it is given."""
    for place in range(len(SMALL)):
        for bit in range(8):
            damaged = bytearray(SMALL)
            damaged[place] ^= 1 << bit
            taken = []
            with pytest.raises(TokensError):  # noqa: PT012
                for record in read_tokens(io.BytesIO(damaged)):
                    taken.append(record)
            for record, original in zip(taken, read_tokens(io.BytesIO(SMALL)), strict=False):
                assert np.array_equal(record.tokens.codes, original.tokens.codes)


def test_every_length_that_is_cut_short_is_noticed() -> None:
    ends = [at for at in range(len(SMALL)) if at]
    counts = []
    for end in ends:
        taken = []
        with pytest.raises(TokensError):  # noqa: PT012
            for record in read_tokens(io.BytesIO(SMALL[:end])):
                taken.append(record)
        counts.append(len(taken))
    assert counts == sorted(counts)
    assert counts[-1] == 2


def test_what_was_good_is_given_before_the_damage() -> None:
    damaged = bytearray(SMALL)
    damaged[-FOOTER_BYTES - 60] ^= 1
    reader = TokenReader()
    assert len(reader.push(bytes(damaged))) >= 1
    with pytest.raises(DamagedTokensError):
        reader.push(b"")
    with pytest.raises(DamagedTokensError):
        reader.finish()


@pytest.mark.parametrize("more", [b"\0", framed(b"\x2a\x00")], ids=["a byte", "a record"])
def test_what_follows_the_last_record_is_damage(more: bytes) -> None:
    with pytest.raises(DamagedTokensError, match="follows the end"):
        list(read_tokens(io.BytesIO(SMALL + more)))


@pytest.mark.parametrize("data", [b"", b"RIFF....WAVE", SIGNATURE, SIGNATURE[:3]], ids=str)
def test_what_is_no_stream_of_tokens_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(TokensError):
        list(read_tokens(io.BytesIO(data)))
    (tmp_path / "x.vwt").write_bytes(data)
    with pytest.raises(TokensError):
        TokenFile(tmp_path / "x.vwt")


def test_a_length_beyond_all_bounds_is_refused_before_it_is_waited_for() -> None:
    with pytest.raises(DamagedTokensError, match="cannot have"):
        TokenReader().push(SIGNATURE + (MAX_RECORD_BYTES + 1).to_bytes(4, "little"))


changes = st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4)


@given(changed=changes)
def test_bad_intentions_with_right_checksums_are_tokens_or_a_tokens_error(
    changed: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(SMALL)
    for place, value in changed:
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "changed.vwt"
    fuzz_tokens.resealed(data)
    path.write_bytes(data)
    with contextlib.suppress(TokensError):
        list(read_tokens(io.BytesIO(path.read_bytes())))
    with contextlib.suppress(TokensError), TokenFile(path) as file:
        list(file.tokens(4))


@given(data=st.binary(max_size=200), head=st.integers(0, len(SMALL)))
def test_any_bytes_are_tokens_or_a_tokens_error(data: bytes, head: int) -> None:
    with contextlib.suppress(TokensError):
        list(read_tokens(io.BytesIO(SMALL[:head] + data)))


def test_the_fuzzer_finds_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["fuzz_tokens", "--inputs", "3000"])
    assert fuzz_tokens.main() == 0, capsys.readouterr().out
    assert capsys.readouterr().out.startswith("3000 inputs")


# ---- from any moment on


def test_an_index_stays_small_however_long_the_stream() -> None:
    places = Places()
    for number in range(5 * MOST_ENTRIES):
        places.add(number, 30 * number)
    entries = places.index().entries
    assert MOST_ENTRIES // 2 <= len(entries) <= MOST_ENTRIES
    assert entries[0] == (0, 0)
    assert len({later[0] - earlier[0] for earlier, later in itertools.pairwise(entries)}) == 1
    assert len(Index(entries).to_bytes()) <= MAX_RECORD_BYTES


@pytest.fixture(params=["whole", "no index", "index astray"])
def indexed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    data = written([tokens(10, 100 + 10 * at, seed=at) for at in range(20)], record_s=0.2)
    path = tmp_path / "indexed.vwt"
    if request.param == "no index":
        data = data[:-1]
    if request.param == "index astray":
        # Every entry one byte further; the checksums are right.
        start = int.from_bytes(data[-12:-4], "little")
        index = Index(tuple((frame, place + 1) for frame, place in _entries(data[start:])))
        data = data[:start] + framed(index.to_bytes()) + data[-FOOTER_BYTES:]
    path.write_bytes(data)
    return path


def _entries(data: bytes) -> tuple[tuple[int, int], ...]:
    return Index.from_bytes(data[4 : 4 + int.from_bytes(data[:4], "little")]).entries


@pytest.mark.parametrize("frame", [0, 100, 105, 217, 299, 300])
def test_reading_begins_with_the_record_of_any_frame(indexed: Path, frame: int) -> None:
    with TokenFile(indexed) as file:
        taken = []
        try:
            for piece in file.tokens(frame):
                taken.append(piece)
        except DamagedTokensError:
            assert indexed.stat().st_size < len(
                written([tokens(10, 100 + 10 * at) for at in range(20)], record_s=0.2)
            )
    first = max(100, frame // 10 * 10)
    assert [piece.first_frame for piece in taken] == list(range(first, 300, 10))


@pytest.fixture(scope="module", params=codecs_at_hand.NAMES)
def sounding(request: pytest.FixtureRequest) -> Codec:
    codec = codecs_at_hand.codec(request.param)
    if not codec.sounds:
        pytest.skip(f"{codec.name} makes no sound")
    return codec


def encoded(codec: Codec, samples: np.ndarray, path: Path) -> np.ndarray:
    """Writes a file whose bitrate changes in the middle; gives what the whole sounds like."""
    stream = encoder_stream(codec)
    writer = TokenWriter(Hello.of(codec), record_s=0.25)
    half = len(samples) // 2
    data = writer.begin() + writer.write(stream.push(samples[:half]))
    stream.use(codec.choices[0])
    data += writer.write(stream.push(samples[half:])) + writer.write(stream.flush()) + writer.end()
    path.write_bytes(data)
    with TokenFile(path) as file:
        return np.concatenate(list(file.sound(codec)))


def test_a_stretch_sounds_as_it_does_in_the_whole(sounding: Codec, tmp_path: Path) -> None:
    rate, path = sounding.sample_rate, tmp_path / "speech.vwt"
    samples = codecs_at_hand.speech(rate)[: 3 * rate + 77]
    whole = encoded(sounding, samples, path)
    assert len(whole) == len(samples)
    for start_s, duration_s in ((0.0, 0.5), (1.3, 0.4), (2.9, None), (2.9, 9.0), (3.5, 1.0)):
        with TokenFile(path) as file:
            part = np.concatenate(list(file.sound(sounding, start_s, duration_s)))
        start = round(start_s * rate)
        end = None if duration_s is None else start + round(duration_s * rate)
        assert len(part) == len(whole[start:end])
        np.testing.assert_allclose(part, whole[start:end], atol=1e-4)


def test_a_damaged_file_sounds_up_to_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "speech.vwt"
    whole = encoded(MuLaw(), codecs_at_hand.speech(16_000)[:32_000], path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    heard = []
    with TokenFile(path) as file, pytest.raises(DamagedTokensError, match="cut short"):  # noqa: PT012
        for samples in sound(file.tokens(), MuLaw()):
            heard.append(samples)
    found = np.concatenate(heard)
    assert 6_000 < len(found) < 32_000
    assert np.array_equal(found, whole[: len(found)])


def test_a_pipe_sounds_from_a_moment_on_as_a_file_does(tmp_path: Path) -> None:
    path = tmp_path / "speech.vwt"
    whole = encoded(MuLaw(), codecs_at_hand.speech(16_000)[:32_000], path)
    pieces = (record.tokens for record in read_tokens(io.BytesIO(path.read_bytes())))
    assert np.array_equal(np.concatenate(list(sound(pieces, MuLaw(), 1.5))), whole[24_000:])


def test_another_codec_or_other_weights_do_not_read_it(tmp_path: Path) -> None:
    (tmp_path / "x.vwt").write_bytes(written([tokens(3)]))
    with (
        TokenFile(tmp_path / "x.vwt") as file,
        pytest.raises(TokensError, match="of some_codec, not of mu_law"),
    ):
        file.sound(MuLaw())
