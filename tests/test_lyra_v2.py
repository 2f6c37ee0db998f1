"""Lyra v2 against its published files as LiteRT runs them: an interpreter per stream, one frame at a time."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.speech_tars import Clip
from tests import codecs_at_hand
from voicewire.codecs import (
    Codec,
    CodecError,
    CodecStateError,
    CodecWeightsError,
    Tokens,
    TokensError,
    codec_weights,
    decoder_stream,
    encoder_stream,
    load,
)
from voicewire.codecs.lyra_v2 import FILES

# Far below the 3e-5 of one step of 16-bit audio.
ROUNDING = 2e-6
FRAME = 320


class Published:
    """The three files, in LiteRT's hands."""

    def __init__(self, folder: Path) -> None:
        self.encoder, self.quantizer, self.decoder = (
            Interpreter(str(folder / file.name), num_threads=1) for file in FILES
        )
        self.into_codes = self.quantizer.get_signature_runner("encode")
        self.from_codes = self.quantizer.get_signature_runner("decode")
        self.encoder.allocate_tensors()
        self.decoder.allocate_tensors()

    def encode(self, samples: np.ndarray, codebooks: int = 46) -> np.ndarray:
        """Codes of shape (frames, 46), -1 for those that are not wanted."""
        padded = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, 1, FRAME)
        features = [run(self.encoder, frame) for frame in padded]
        codes = [self.into_codes(input_frames=row, num_quantizers=np.int32(codebooks)) for row in features]
        return np.stack([row["output_0"].reshape(46) for row in codes])

    def decode(self, codes: np.ndarray) -> np.ndarray:
        rows = np.full((len(codes), 46), -1, np.int32)
        rows[:, : codes.shape[1]] = codes
        features = [self.from_codes(encoding_indices=row.reshape(46, 1, 1))["output_0"] for row in rows]
        return np.concatenate([run(self.decoder, row).reshape(FRAME) for row in features])


def run(interpreter: Interpreter, given: np.ndarray) -> np.ndarray:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.fixture(scope="module")
def lyra() -> Codec:
    return codecs_at_hand.codec("lyra_v2")


@pytest.fixture(scope="module")
def published(lyra: Codec) -> Callable[[], Published]:
    folder = codecs_at_hand.weights("lyra_v2") or codec_weights.cache_folder() / "lyra_v2"
    return lambda: Published(folder)


@pytest.fixture(scope="module")
def speech(clips: Callable[[str, int], list[Clip]]) -> list[np.ndarray]:
    """Twelve people: read speech, and their own microphones; also silence, noise and a clipped voice."""
    spoken = [
        clip.samples[: 4 * 16_000 + 77] for tar in ("dev-00", "common-voice-00") for clip in clips(tar, 6)
    ]
    noise = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)
    return [*spoken, np.zeros(8_000, np.float32), noise, np.clip(20 * spoken[0][:32_000], -1, 1)]


def test_codes_and_sound_are_the_published_files(
    lyra: Codec, published: Callable[[], Published], speech: list[np.ndarray]
) -> None:
    frames = 0
    for samples in speech:
        reference = published()
        tokens = lyra.encode(samples)
        assert np.array_equal(tokens.codes, reference.encode(samples))
        expected = reference.decode(tokens.codes)[: len(samples)]
        np.testing.assert_allclose(lyra.decode(tokens), expected, rtol=0, atol=ROUNDING)
        frames += tokens.frames
    assert frames > 2_000


@pytest.mark.parametrize("codebooks", [16, 30])
def test_a_lower_rate_is_the_first_codes(
    lyra: Codec, published: Callable[[], Published], speech: list[np.ndarray], codebooks: int
) -> None:
    samples, reference = speech[0], published()
    tokens = lyra.encode(samples, codebooks)
    wanted = reference.encode(samples, codebooks)
    assert np.array_equal(tokens.codes, wanted[:, :codebooks])
    assert (wanted[:, codebooks:] == -1).all()
    expected = reference.decode(tokens.codes)[: len(samples)]
    np.testing.assert_allclose(lyra.decode(tokens), expected, rtol=0, atol=ROUNDING)


@settings(max_examples=10)
@given(edges=st.lists(st.integers(0, 32_000), max_size=12).map(sorted))
def test_sound_is_the_same_bit_for_bit_however_tokens_are_cut(lyra: Codec, edges: list[int]) -> None:
    whole = lyra.encode(codecs_at_hand.speech(16_000)[:32_000])
    stream, heard = decoder_stream(lyra), []
    for start, end in zip([0, *edges], [*edges, 32_000], strict=True):
        first, last = start // FRAME, end // FRAME
        piece = replace(
            whole, first_frame=first, samples=(last - first) * FRAME, codes=whole.codes[first:last]
        )
        heard.append(stream.push(piece))
    assert np.array_equal(np.concatenate(heard), lyra.decode(whole))


def test_thirty_two_streams_in_a_batch_are_what_each_is_alone(lyra: Codec, speech: list[np.ndarray]) -> None:
    given_samples = [speech[place % 12][100 * place :][:9_000] for place in range(32)]
    batch, decoders = lyra.encoders(32), lyra.decoders(32)
    slots = [(batch.open(), decoders.open()) for _ in range(32)]
    made = batch.push({slot: samples for (slot, _), samples in zip(slots, given_samples, strict=True)})
    heard = decoders.push({other: made[slot] for slot, other in slots})
    for (slot, other), samples in zip(slots, given_samples, strict=True):
        alone = lyra.encode(samples[: made[slot].samples])
        assert np.array_equal(made[slot].codes, alone.codes)
        assert np.array_equal(heard[other], lyra.decode(alone))


def test_threads_may_share_the_codec(lyra: Codec, speech: list[np.ndarray]) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lyra.encode, speech[:8]))
    for tokens, samples in zip(made, speech, strict=False):
        assert np.array_equal(tokens.codes, lyra.encode(samples).codes)


def test_the_preroll_is_as_long_as_it_must_be_and_no_longer(lyra: Codec, speech: list[np.ndarray]) -> None:
    tokens = lyra.encode(speech[0])
    whole = lyra.decode(tokens)

    def differs(preroll: int) -> bool:
        late = replace(
            tokens,
            first_frame=100 - preroll,
            codes=tokens.codes[100 - preroll :],
            samples=tokens.samples - (100 - preroll) * FRAME,
        )
        return not np.array_equal(lyra.decode(late)[preroll * FRAME :], whole[100 * FRAME :])

    assert not differs(lyra.preroll)
    assert differs(lyra.preroll - 1)


def test_it_sounds_like_what_was_said(lyra: Codec, speech: list[np.ndarray]) -> None:
    """The energy in every 20 ms follows that of the original, the better the more bits there are."""

    def envelope(samples: np.ndarray) -> np.ndarray:
        return np.log(1e-3 + np.abs(samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)).mean(1))

    def likeness(codebooks: int) -> float:
        pairs = [
            np.corrcoef(envelope(samples), envelope(lyra.decode(lyra.encode(samples, codebooks))))[0, 1]
            for samples in speech[:6]
        ]
        return float(np.mean(pairs))

    low, high = likeness(16), likeness(46)
    assert 0.9 < low < high


def test_a_stream_keeps_little(lyra: Codec) -> None:
    stream, back = encoder_stream(lyra), decoder_stream(lyra)
    back.push(stream.push(codecs_at_hand.speech(16_000)))
    assert len(stream.snapshot()) < 64_000
    assert len(back.snapshot()) < 64_000


def test_what_came_that_is_no_number_is_forgotten(lyra: Codec, speech: list[np.ndarray]) -> None:
    stream = encoder_stream(lyra)
    stream.push(np.full(FRAME, np.nan, np.float32))
    found = stream.push(speech[0])
    assert np.array_equal(found.codes[26:], lyra.encode(speech[0]).codes[26 : found.frames])


def test_a_damaged_snapshot_is_refused_and_the_stream_goes_on(lyra: Codec, speech: list[np.ndarray]) -> None:
    stream = encoder_stream(lyra)
    stream.push(speech[0][:1_000])
    data = stream.snapshot()
    for wrong in (data[:-1], data + b"x", data[:60], data[:41] + b"\xff" + data[42:]):
        with pytest.raises(CodecStateError):
            stream.restore(wrong)
    assert stream.snapshot() == data


def test_wrong_audio_and_closed_slots_are_refused(lyra: Codec) -> None:
    stream = encoder_stream(lyra)
    for wrong in (np.zeros((2, 320), np.float32), np.zeros(320), np.zeros(320, np.int16)):
        with pytest.raises(CodecError, match=re.escape("float32 of shape (samples,)")):
            stream.push(wrong)
    batch = lyra.encoders(2)
    for slot in (-1, 0, 2):
        with pytest.raises(CodecError, match="is not open"):
            batch.push({slot: np.zeros(320, np.float32)})
    with pytest.raises(TokensError, match="encodec_24khz"):
        lyra.decode(Tokens("encodec_24khz", 16_000, 50.0, 2, 4, 0, 0, np.zeros((0, 2), np.int32)))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / FILES[0].name).write_bytes(b"another model")
    with pytest.raises(CodecWeightsError, match=r"soundstream_encoder\.tflite that lyra_v2 was built for"):
        load("lyra_v2", tmp_path)
