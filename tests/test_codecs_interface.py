"""The codecs' interface, tried with the plainest codec there is: mu-law in frames of 20 ms."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicewire import codecs
from voicewire.codecs import Codec, CodecStateError, CodecStream, Tokens, TokensError, UnknownCodecError

FRAME = 320


class MuLaw:
    """Frames of 320 samples; each sample is a codebook of its own."""

    name, sample_rate, frame_rate, codebooks, bits = "mu_law", 16_000, 50.0, FRAME, 8

    def tokens(self, samples: np.ndarray, first_frame: int) -> Tokens:
        padded = np.pad(samples, (0, -len(samples) % FRAME))
        curve = np.sign(padded) * np.log1p(255 * np.abs(padded)) / np.log(256)
        codes = np.round((curve + 1) * 127.5).astype(np.uint8).reshape(-1, FRAME)
        return Tokens(self.name, 16_000, 50.0, FRAME, 8, first_frame, len(samples), codes)

    def encode(self, samples: np.ndarray, codebooks: int | None = None) -> Tokens:
        return self.tokens(samples, 0)

    def decode(self, tokens: Tokens) -> np.ndarray:
        if tokens.codec != self.name:
            raise TokensError(f"tokens of {tokens.codec}, not {self.name}")
        curve = tokens.codes.reshape(-1) / 127.5 - 1
        return (np.sign(curve) * np.expm1(np.abs(curve) * np.log(256)) / 255).astype(np.float32)[
            : tokens.samples
        ]

    def encoder_stream(self, codebooks: int | None = None) -> CodecStream[np.ndarray, Tokens]:
        return MuLawEncoder()

    def decoder_stream(self) -> CodecStream[Tokens, np.ndarray]:
        raise NotImplementedError


class MuLawEncoder:
    def __init__(self) -> None:
        self.frame, self.rest = 0, np.zeros(0, np.float32)

    def push(self, piece: np.ndarray) -> Tokens:
        samples = np.concatenate([self.rest, piece])
        whole = len(samples) // FRAME
        self.rest = samples[whole * FRAME :]
        self.frame += whole
        return MuLaw().tokens(samples[: whole * FRAME], self.frame - whole)

    def flush(self) -> Tokens:
        tokens = MuLaw().tokens(self.rest, self.frame)
        self.__init__()  # type: ignore[misc]
        return tokens

    def snapshot(self) -> bytes:
        return struct.pack("<q", self.frame) + self.rest.tobytes()

    def restore(self, data: bytes) -> None:
        if len(data) < 8 or len(data) % 4:
            raise CodecStateError("no snapshot of mu_law")
        self.frame, self.rest = struct.unpack("<q", data[:8])[0], np.frombuffer(data[8:], np.float32)


def test_a_plain_class_is_a_codec() -> None:
    assert isinstance(MuLaw(), Codec)
    assert isinstance(MuLaw().encoder_stream(), CodecStream)


@given(cuts=st.lists(st.integers(0, 1000), max_size=8), seed=st.integers(0, 9))
def test_any_cutting_and_a_restored_stream_give_the_tokens_of_the_whole(cuts: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, 2345).astype(np.float32)
    stream, pieces = MuLawEncoder(), []
    for piece in np.split(samples, sorted(min(cut * 2, len(samples)) for cut in cuts)):
        resumed = MuLawEncoder()
        resumed.restore(stream.snapshot())
        pieces.append(resumed.push(piece))
        stream = resumed
    pieces.append(stream.flush())
    whole = MuLaw().encode(samples)
    assert np.array_equal(np.concatenate([piece.codes for piece in pieces]), whole.codes)
    assert sum(piece.samples for piece in pieces) == whole.samples == len(samples)
    assert [piece.first_frame for piece in pieces] == list(np.cumsum([0] + [p.frames for p in pieces[:-1]]))
    assert np.abs(MuLaw().decode(whole) - samples).max() < 0.03


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
    assert codecs.available() == []
    with pytest.raises(UnknownCodecError, match="no codec is called 'lyra_v2'; there are: none"):
        codecs.load("lyra_v2")
