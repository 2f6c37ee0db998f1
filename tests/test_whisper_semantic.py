"""Tokens that keep the words: the quantiser, its files, and words read from tokens again.

What every codec promises is tested in test_codecs_interface.py.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.speech_tars import Clip
from benchmarks.word_errors import count_errors, total
from voicewire import codecs
from voicewire.asr.events import Transcript
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber
from voicewire.codecs import CodecWeightsError, Heard, SilentCodecError, Tokens, TokensError
from voicewire.codecs.quantiser import LATENT, SIZE, CausalConv, Quantiser, Shape
from voicewire.codecs.quantiser_file import read_quantiser, write_quantiser
from voicewire.codecs.whisper_semantic import WhisperSemantic, load

few_examples = settings(max_examples=5)
RATE = 16_000
TINY = Shape(width=16, stack=2, codebooks=4)


@pytest.fixture(scope="module")
def quantiser() -> Quantiser:
    """Of random weights."""
    torch.manual_seed(0)
    made = Quantiser(TINY)
    made.books.normal_()
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def transcriber() -> BatchTranscriber:
    return BatchTranscriber.load(slots=1)


@pytest.fixture(scope="module")
def codec(transcriber: BatchTranscriber) -> WhisperSemantic:
    return load(transcriber=transcriber)


# ---- the quantiser


@given(st.lists(st.integers(0, 20), max_size=5).map(sorted))
def test_a_convolution_does_not_see_the_cuts(places: list[int]) -> None:
    torch.manual_seed(1)
    conv, x = CausalConv(3, 5, 4), torch.randn(20, 3)
    whole, _ = conv(x, conv.start())
    kernel = conv.linear.weight.view(5, 3, 4)
    padded = torch.nn.functional.pad(x.T[None], (3, 0))
    assert torch.allclose(
        whole.T[None], torch.nn.functional.conv1d(padded, kernel, conv.linear.bias), atol=1e-5
    )
    past, made = conv.start(), []
    for piece in np.split(np.arange(20), places):
        out, past = conv(x[piece], past)
        made.append(out)
    assert torch.allclose(torch.cat(made), whole, atol=1e-5)


def test_codes_are_the_nearest_entries_in_turn(quantiser: Quantiser) -> None:
    latents = torch.randn(7, LATENT, generator=torch.Generator().manual_seed(2))
    codes = quantiser.choose(latents, 4)
    rest = latents
    for book, column in zip(quantiser.books, codes.T, strict=True):
        assert torch.equal(torch.cdist(rest, book).argmin(1), column)
        rest = rest - book[column]
    assert torch.allclose(quantiser.look_up(codes), latents - rest, atol=1e-5)
    assert torch.equal(quantiser.choose(latents, 2), codes[:, :2]), "a lower bitrate is a prefix"


@given(place=st.integers(0, 9))
def test_networks_in_pieces_are_the_networks_at_once(quantiser: Quantiser, place: int) -> None:
    features = torch.randn(20, TINY.width, generator=torch.Generator().manual_seed(3))
    whole, _ = quantiser.analyse(features, quantiser.context.start())
    first, past = quantiser.analyse(features[: 2 * place], quantiser.context.start())
    second, _ = quantiser.analyse(features[2 * place :], past)
    assert torch.allclose(torch.cat([first, second]), whole, atol=1e-5)
    made, voice, _ = quantiser.synthesise(whole, quantiser.start())
    assert made.shape == features.shape
    early, heard, memory = quantiser.synthesise(whole[:place], quantiser.start())
    late, more, _ = quantiser.synthesise(whole[place:], memory)
    assert torch.allclose(torch.cat([early, late]), made, atol=1e-5)
    assert torch.allclose(torch.cat([heard, more]), voice, atol=1e-5)


# ---- its files


def test_a_file_gives_back_what_was_written(quantiser: Quantiser, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "q.safetensors"
    write_quantiser(path, "mine", quantiser, "a" * 64, "b" * 64)
    found = read_quantiser(path)
    assert (found.codec, found.model_sha256, found.adapter_sha256) == ("mine", "a" * 64, "b" * 64)
    assert found.quantiser.shape == TINY
    for name, tensor in quantiser.state_dict().items():
        assert torch.equal(tensor.half().float(), found.quantiser.state_dict()[name])


def test_damaged_files_are_refused(quantiser: Quantiser, tmp_path: Path) -> None:
    path = tmp_path / "q.safetensors"
    write_quantiser(path, "mine", quantiser, "a" * 64, "b" * 64)
    data = path.read_bytes()
    for wrong in (b"", data[:-1], data[:100], b"\x08" + bytes(7) + b"{}      "):
        path.write_bytes(wrong)
        with pytest.raises(CodecWeightsError):
            read_quantiser(path)
    with pytest.raises(CodecWeightsError):
        read_quantiser(tmp_path / "none")


def test_the_quantiser_of_another_encoder_is_refused(
    quantiser: Quantiser, transcriber: BatchTranscriber, tmp_path: Path
) -> None:
    path = tmp_path / "q.safetensors"
    write_quantiser(path, "mine", quantiser, "a" * 64, "b" * 64)
    with pytest.raises(CodecWeightsError, match="another encoder"):
        load(path, transcriber)


# ---- the codec


def test_its_encoder_is_the_transcriber_s_or_one_of_its_own(
    codec: WhisperSemantic, transcriber: BatchTranscriber, spoken: np.ndarray
) -> None:
    """Which is loaded no sooner than it is needed."""
    assert codec.source is transcriber.feature_source
    alone = codecs.load("whisper_semantic")
    assert isinstance(alone, WhisperSemantic)
    assert "source" not in vars(alone)
    assert np.array_equal(alone.encode(spoken[:RATE]).codes, codec.encode(spoken[:RATE]).codes)


def read_words(transcriber: BatchTranscriber, heard: list[Heard]) -> str:
    slot = transcriber.open(StreamSettings(interim=False))
    for piece in heard:
        transcriber.push_features(slot, *piece)
    transcriber.flush(slot)
    text = ""
    while turn := transcriber.step():
        text += "".join(w.text for event in turn[slot] if isinstance(event, Transcript) for w in event.words)
    transcriber.close(slot)
    return text


def test_words_come_back_from_tokens(
    codec: WhisperSemantic, transcriber: BatchTranscriber, clips: Callable[[str, int], list[Clip]]
) -> None:
    errors = []
    for clip in clips("dev-00", 4):
        tokens = codec.encode(clip.samples)
        assert tokens.bits_per_second == 1000
        errors.append(count_errors(clip.text, read_words(transcriber, [codec.read(tokens)])))
    rate = total(errors).rate
    assert rate is not None
    assert rate < 0.3


@few_examples
@given(share=st.floats(0, 1))
def test_tokens_in_pieces_are_read_as_the_whole(
    codec: WhisperSemantic, spoken: np.ndarray, share: float
) -> None:
    """Also where the bitrate changes on the way."""
    tokens = codec.encode(spoken[: 3 * RATE + 77])
    place = round(share * tokens.frames)
    early, late = _part(tokens, 0, place), _part(tokens, place, tokens.frames)
    whole, reader = codec.read(tokens), codec.reader()
    pieces = [reader.push(early), reader.push(late)]
    assert len(whole.features) == len(whole.voice) == -(-tokens.samples // 320)
    np.testing.assert_allclose(np.concatenate([one.features for one in pieces]), whole.features, atol=1e-4)
    np.testing.assert_allclose(np.concatenate([one.voice for one in pieces]), whole.voice, atol=1e-5)
    lower = replace(late, codebooks=1, codes=late.codes[:, :1])
    assert len(codec.reader().push(replace(lower, first_frame=0)).features) == len(pieces[1].features)


def _part(tokens: Tokens, start: int, end: int) -> Tokens:
    size = tokens.frame_samples
    samples = max(0, min(tokens.samples, end * size) - start * size)
    return replace(
        tokens, first_frame=tokens.first_frame + start, samples=samples, codes=tokens.codes[start:end]
    )


def test_tokens_tell_who_speaks_when(codec: WhisperSemantic, spoken: np.ndarray) -> None:
    silence = np.zeros(3 * RATE, np.float32)
    heard = codec.read(codec.encode(np.concatenate([silence, spoken[: 3 * RATE], silence])))
    assert heard.voice[20:130].mean() < 0.15
    assert heard.voice[170:290].mean() > 0.6
    assert heard.voice[330:430].mean() < 0.15


def test_what_cannot_be_read_is_refused(codec: WhisperSemantic, spoken: np.ndarray) -> None:
    tokens = codec.encode(spoken[:RATE])
    reader = codec.reader()
    for wrong in (replace(tokens, codec="another"), replace(tokens, first_frame=1)):
        with pytest.raises(TokensError):
            reader.push(wrong)
    assert len(reader.push(tokens).features) == 50
    with pytest.raises(TokensError, match="due"):
        reader.push(tokens)
    with pytest.raises(TokensError):
        codec.decode(replace(tokens, codec="another"))
    with pytest.raises(SilentCodecError):
        codec.decode(tokens)


def test_every_code_can_be_read(codec: WhisperSemantic) -> None:
    """Tokens come from strangers: none may break the reader."""
    codes = np.random.default_rng(0).integers(0, SIZE, (100, codec.codebooks))
    samples = 100 * codec.frame_samples
    tokens = Tokens(codec.name, RATE, codec.frame_rate, codec.codebooks, codec.bits, 0, samples, codes)
    heard = codec.read(tokens)
    assert np.isfinite(heard.features).all()
    assert np.abs(heard.features).max() < 200
