"""EnCodec as a stream, against Meta's own EnCodec, which hears the whole; and against itself in company."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests import codecs_at_hand, encodec_oracles
from tests.encodec_weights import random_state, random_weights
from voicewire import codecs
from voicewire.codecs import (
    CodecError,
    CodecStateError,
    CodecWeightsError,
    Tokens,
    TokensError,
    decoder_stream,
    encodec_checkpoint,
    encodec_layers,
    encoder_stream,
    rates,
)
from voicewire.codecs.encodec_24khz import Encodec24khz, load
from voicewire.codecs.encodec_checkpoint import expected_shapes
from voicewire.codecs.encodec_layers import Product

FRAME = 320
few_examples = settings(max_examples=10)
places = st.lists(st.floats(0, 1), max_size=6).map(sorted)
# Shorter than what is mirrored, about the beginning, and longer; hardly ever whole frames.
lengths = st.one_of(st.integers(1, 400), st.integers(2_100, 2_400), st.integers(2_400, 20_000))


@pytest.fixture(scope="module")
def codec() -> Encodec24khz:
    return load(random_weights())


@pytest.fixture(scope="module")
def precise() -> Encodec24khz:
    return load(random_weights(), dtype=torch.float64)


def speech(samples: int, start: int = 24_000) -> np.ndarray:
    return codecs_at_hand.speech(24_000)[start : start + samples]


def cut(samples: np.ndarray, shares: Sequence[float]) -> list[np.ndarray]:
    return np.split(samples, [round(share * len(samples)) for share in shares])


def cut_tokens(tokens: Tokens, shares: Sequence[float]) -> list[Tokens]:
    edges = [0, *(round(share * tokens.frames) for share in shares), tokens.frames]
    return [part(tokens, start, end) for start, end in itertools.pairwise(edges)]


def part(tokens: Tokens, start: int, end: int) -> Tokens:
    samples = max(0, min(tokens.samples, end * FRAME) - start * FRAME)
    return replace(tokens, first_frame=start, samples=samples, codes=tokens.codes[start:end])


def streamed(codec: Encodec24khz, pieces: Sequence[np.ndarray]) -> np.ndarray:
    """The codes of a stream of these pieces."""
    stream = encoder_stream(codec)
    return np.concatenate([*(stream.push(piece).codes for piece in pieces), stream.flush().codes])


# ---- against those who hear the whole


@few_examples
@given(length=lengths, shares=places)
def test_codes_are_those_of_the_whole(precise: Encodec24khz, length: int, shares: list[float]) -> None:
    samples = speech(length)
    found = streamed(precise, cut(samples, shares))
    assert np.array_equal(found, encodec_oracles.encoded(samples, dtype=torch.float64))


@pytest.mark.parametrize("length", [1, 2, 5, 6, 7, 8, 319, 320, 321, 641, 2239, 2240, 2241, 2560])
def test_codes_of_short_clips_are_those_of_the_whole(precise: Encodec24khz, length: int) -> None:
    samples = speech(length, start=30_000)
    found = streamed(precise, cut(samples, [0.3]))
    assert np.array_equal(found, encodec_oracles.encoded(samples, dtype=torch.float64))


@few_examples
@given(frames=st.integers(1, 60), short=st.integers(0, FRAME - 1), shares=places, data=st.data())
def test_sound_is_that_of_the_whole(
    codec: Encodec24khz, frames: int, short: int, shares: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.sampled_from([1, 2, 7, 8, 32]))
    codes = np.random.default_rng(frames).integers(0, 1024, (frames, count))
    tokens = Tokens(codec.name, 24_000, 75.0, count, 10, 0, frames * FRAME - short, codes)
    stream = decoder_stream(codec)
    heard = [*(stream.push(piece) for piece in cut_tokens(tokens, shares)), stream.flush()]
    np.testing.assert_allclose(np.concatenate(heard), encodec_oracles.decoded(tokens), rtol=0, atol=1e-5)


def test_float32_differs_in_one_code_of_a_thousand_at_most(codec: Encodec24khz) -> None:
    samples = codecs_at_hand.speech(24_000)[: 20 * 24_000 + 77]
    found = streamed(codec, cut(samples, [0.1, 0.11, 0.4]))
    assert (found == encodec_oracles.encoded(samples)).mean() >= 0.999
    assert len(np.unique(found[:, 0])) > 100  # else it would be no wonder


def test_every_bitrate_is_that_of_the_whole(precise: Encodec24khz) -> None:
    samples = speech(5_000)
    assert rates(precise) == {1.5: 2, 3: 4, 6: 8, 12: 16, 24: 32}
    for kbps, codebooks in rates(precise).items():
        expected = encodec_oracles.encoded(samples, kbps, torch.float64)
        assert np.array_equal(precise.encode(samples, codebooks).codes, expected)


def test_transformers_names_are_read_and_its_model_agrees(tmp_path: Path) -> None:
    import transformers  # takes seconds

    torch.manual_seed(0)
    model = transformers.EncodecModel(transformers.EncodecConfig()).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("codebook.embed"):
            buffer.normal_(0, 0.05)
    model.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    samples = speech(10_001)
    model = model.double()
    with torch.no_grad():
        wave = torch.from_numpy(samples).double()[None, None]
        codes = model.encode(wave, bandwidth=24.0).audio_codes
        sound = model.decode(codes, [None]).audio_values[0, 0, : len(samples)]
    tokens = ours.encode(samples)
    assert np.array_equal(tokens.codes, codes[0, 0].T.numpy())
    np.testing.assert_allclose(ours.decode(tokens), sound.float().numpy(), rtol=0, atol=1e-6)


# ---- a stream alone and in company


@few_examples
@given(delays=st.lists(st.integers(0, 3), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_company_changes_no_bit(codec: Encodec24khz, delays: list[int], seed: int) -> None:
    dice = np.random.default_rng(seed)
    encoders, decoders = codec.encoders(len(delays)), codec.decoders(len(delays))
    choices = [int(dice.choice(codec.choices)) for _ in delays]
    waiting, codes, heard = {}, {}, {}
    for place, count in enumerate(choices):
        slot = encoders.open(count)
        assert decoders.open() == slot
        samples = speech(int(dice.integers(1, 12_000)), start=40_000 * place)
        waiting[slot] = cut(samples, sorted(dice.uniform(size=4)))
        codes[slot], heard[slot] = [], []
    clips = {slot: np.concatenate(pieces) for slot, pieces in waiting.items()}
    for turn in range(max(delays) + 5):
        due = {slot: waiting[slot].pop(0) for slot in waiting if turn >= delays[slot] and waiting[slot]}
        tokens = encoders.push(due)
        for slot, sound in decoders.push(tokens).items():
            codes[slot].append(tokens[slot].codes)
            heard[slot].append(sound)
    last = encoders.flush(list(waiting))
    for slot, sound in decoders.push(last).items():
        heard[slot] += [sound, decoders.flush([slot])[slot]]
        alone = codec.encode(clips[slot], choices[slot])
        assert np.array_equal(np.concatenate([*codes[slot], last[slot].codes]), alone.codes)
        assert np.array_equal(np.concatenate(heard[slot]), codec.decode(alone))


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_row_of_a_product_has_the_same_bits_in_any_company(
    threads: int, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packed:  # as where there is no oneDNN
        monkeypatch.setattr(encodec_layers, "_can_pack", lambda weight: False)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for inputs, outputs in [(32, 64), (96, 16), (448, 8), (512, 2048), (1280, 256), (4096, 512)]:
            product = Product(torch.randn(outputs, inputs), torch.randn(outputs))
            rows = torch.randn(700, inputs)
            other = torch.randn(700, outputs)
            whole, both = product(rows), product.plus(rows, other)
            for count in [*range(1, 20), 31, 32, 33, 64, 100, 192, 333]:
                some = slice(7, 7 + count)
                assert torch.equal(product(rows[some]), whole[some])
                assert torch.equal(product.plus(rows[some], other[some]), both[some])
    finally:
        torch.set_num_threads(before)


@few_examples
@given(share=st.floats(0, 1), length=st.integers(1, 9_000))
def test_a_restored_stream_goes_on_to_the_last_bit(codec: Encodec24khz, share: float, length: int) -> None:
    early, late = cut(speech(length), [share])
    stream, sound = encoder_stream(codec), decoder_stream(codec)
    sound.push(stream.push(early))
    again, sound_again = encoder_stream(codec), decoder_stream(codec)
    again.push(speech(5_000))
    again.restore(stream.snapshot())
    sound_again.restore(sound.snapshot())
    for tokens, copied in [(stream.push(late), again.push(late)), (stream.flush(), again.flush())]:
        assert np.array_equal(tokens.codes, copied.codes)
        assert (tokens.first_frame, tokens.samples) == (copied.first_frame, copied.samples)
        assert np.array_equal(sound.push(tokens), sound_again.push(copied))
    assert np.array_equal(sound.flush(), sound_again.flush())


def test_the_preroll_is_enough(codec: Encodec24khz) -> None:
    tokens = codec.encode(speech(200 * FRAME), 8)
    whole = codec.decode(tokens)
    for start in (90, 130, 170):
        late = decoder_stream(codec).push(part(tokens, start - codec.preroll, 200))[codec.preroll * FRAME :]
        assert np.abs(late - whole[start * FRAME :]).max() < 1e-4


def test_a_stream_that_is_not_mirrored_begins_at_once() -> None:
    codec = load(random_weights(), mirrors=False)
    samples = speech(24_000)
    stream = encoder_stream(codec)
    pieces = [stream.push(piece) for piece in np.split(samples, 75)]
    assert all(piece.frames == 1 for piece in pieces)
    assert len(decoder_stream(codec).push(pieces[0])) == FRAME
    found = np.concatenate([piece.codes for piece in pieces])
    assert np.array_equal(found, codec.encode(samples).codes)
    same = (found == load(random_weights()).encode(samples).codes).all(axis=1)
    assert not same[:7].any()
    assert same[40:].all()


# ---- weights


def test_the_published_checkpoint_is_known_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: Encodec24khz
) -> None:
    file = tmp_path / encodec_checkpoint.PUBLISHED.name
    torch.save(random_state(), file)
    with pytest.raises(CodecWeightsError, match=r"encodec_24khz-d7cc33bc\.th"):
        load(file)
    any_hash = replace(encodec_checkpoint.PUBLISHED, sha256="")
    monkeypatch.setattr(encodec_checkpoint, "PUBLISHED", any_hash)
    for where in (file, tmp_path):
        assert codecs.load("encodec_24khz", where).weights_sha256 == codec.weights_sha256
    file.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(CodecWeightsError, match="cannot be read as a checkpoint"):
        load(file)


def test_without_weights_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEWIRE_CACHE", str(tmp_path))
    nowhere = replace(encodec_checkpoint.PUBLISHED, url=(tmp_path / "absent").as_uri())
    monkeypatch.setattr(encodec_checkpoint, "PUBLISHED", nowhere)
    with pytest.raises(CodecWeightsError, match="put it at"):
        load()


def test_weights_that_are_not_encodec_s_are_refused(tmp_path: Path) -> None:
    state = load_file(random_weights())
    bias = "encoder.model.0.conv.conv.bias"
    wrong = {
        "1 tensors missing": {name: tensor for name, tensor in state.items() if name != bias},
        "1 unexpected": state | {"more": torch.zeros(1)},
        "has the shape": state | {bias: torch.zeros(33)},
        "is not finite": state | {bias: torch.full((32,), torch.nan)},
        "no length": {name: tensor for name, tensor in state.items() if name != bias[:-4] + "weight_g"},
    }
    file = tmp_path / "wrong.safetensors"
    for message, tensors in wrong.items():
        save_file(tensors, file)
        with pytest.raises(CodecWeightsError, match=message):
            load(file)
    file.write_bytes(random_weights().read_bytes()[:-100])
    with pytest.raises(CodecWeightsError, match="cannot be read"):
        load(file)


def test_the_layers_are_those_of_the_published_model() -> None:
    model = encodec_oracles.meta()
    assert sum(np.prod(shape) for shape in expected_shapes().values()) == sum(
        parameter.numel() for name, parameter in model.named_parameters() if not name.endswith("weight_g")
    ) + sum(buffer.numel() for name, buffer in model.named_buffers() if name.endswith(".embed"))


# ---- refusals


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 320), np.float32), np.zeros(320, np.int16), np.full(320, np.nan, np.float32)],
    ids=["stereo", "integers", "not a number"],
)
def test_audio_that_is_none_is_refused_and_no_stream_has_moved(
    codec: Encodec24khz, wrong: np.ndarray
) -> None:
    batch = codec.encoders(2)
    good, bad = batch.open(), batch.open()
    before = batch.snapshot(good)
    with pytest.raises(CodecError, match="audio must be"):
        batch.push({good: speech(3_000), bad: wrong})
    assert batch.snapshot(good) == before


def test_tokens_after_an_end_in_mid_frame_are_refused(codec: Encodec24khz) -> None:
    tokens = codec.encode(speech(10 * FRAME - 5))
    stream = decoder_stream(codec)
    heard = stream.push(tokens)
    with pytest.raises(TokensError, match="flush first"):
        stream.push(replace(tokens, first_frame=10))
    assert len(heard) + len(stream.flush()) == tokens.samples
    assert len(stream.push(tokens)) == tokens.samples


def test_a_slot_that_is_not_open_is_refused(codec: Encodec24khz) -> None:
    batch = codec.encoders(1)
    for call in (batch.close, batch.snapshot, lambda slot: batch.flush([slot])):
        with pytest.raises(CodecError, match="slot 0 is not open"):
            call(0)


@settings(max_examples=60)
@given(place=st.floats(0, 1), value=st.integers(0, 255), header=st.booleans())
def test_a_damaged_snapshot_is_refused_or_harmless(
    codec: Encodec24khz, place: float, value: int, header: bool
) -> None:
    stream = decoder_stream(codec)
    stream.push(replace(codec.encode(speech(3 * FRAME), 2), samples=3 * FRAME))
    data = bytearray(stream.snapshot())
    most = 8 + int.from_bytes(data[:8], "little") if header else len(data) - 1
    data[round(place * most)] = value
    try:
        stream.restore(bytes(data))
    except CodecStateError:
        return
    stream.flush()
