"""Training of the quantisers: the decoder that gradients can pass is Whisper's, and a step is a step."""

from pathlib import Path

import numpy as np
import pytest
import torch

from voicewire.asr import masked
from voicewire.asr.features import FeatureSource
from voicewire.asr.model import CausalWhisper
from voicewire.asr.tokens import Vocabulary
from voicewire.asr.train.shards import ShardWriter, open_shards
from voicewire.codecs.train.beginning import begin, decoder_metric, k_means, nearest
from voicewire.codecs.train.fit import Codebooks, Learner, Trainer
from voicewire.codecs.train.material import Clip, collect_clips, load_clips, save_clips
from voicewire.codecs.train.reading import Text, keys_and_values, read


@pytest.fixture(scope="module")
def source() -> FeatureSource:
    return FeatureSource.load()


@pytest.fixture(scope="module")
def clips(model: CausalWhisper) -> list[Clip]:
    """Two with real tokens over features of chance."""
    torch.manual_seed(0)
    words = Vocabulary.of(model.dims, "en", model.device).tokenizer
    made = []
    for text in (" The art of printing.", " It has been said."):
        tokens = words.encode(text)
        due = [20 + 8 * index for index in range(len(tokens))]
        made.append(Clip(torch.randn(80, 512).half(), torch.ones(80).half(), tokens, due))
    return made


def test_reading_is_the_masked_decoder(model: CausalWhisper, clips: list[Clip]) -> None:
    texts = [
        Text([50258, *clip.tokens], [10 + 9 * at for at in range(len(clip.tokens) + 1)]) for clip in clips
    ]
    features = [clip.features.float() for clip in clips]
    together = read(model, keys_and_values(model.decoder, features), texts)
    alone = [
        masked.decode(model, text.tokens, f, text.visible) for text, f in zip(texts, features, strict=True)
    ]
    assert (together - torch.cat(alone)).abs().max() < 1e-3


def test_the_metric_is_the_error_of_keys_and_values(model: CausalWhisper) -> None:
    weight = model.decoder.cross_kv.weight
    error = torch.randn(512, generator=torch.Generator().manual_seed(1))
    worth = error @ decoder_metric(weight) @ error
    assert torch.allclose(worth, (weight @ error).square().sum(), rtol=1e-3)


def test_centres_are_in_the_middle_of_what_they_stand_for() -> None:
    torch.manual_seed(0)
    places = torch.randn(40, 64) * 10
    points = (places[:, None] + 0.1 * torch.randn(40, 60, 64)).flatten(0, 1)
    centres = k_means(points)
    assert (points - centres[nearest(points, centres)]).square().mean() < 0.01


def test_steps_bring_the_decoder_nearer(model: CausalWhisper, clips: list[Clip]) -> None:
    torch.manual_seed(0)
    quantiser = begin(clips * 30, decoder_metric(model.decoder.cross_kv.weight), 2, 4)
    learner = Learner(quantiser.requires_grad_(), (4,))
    vocabulary = Vocabulary.of(model.dims, "en", model.device)
    trainer = Trainer(model, torch.zeros(800, 512), vocabulary, learner, clips * 3)
    before = quantiser.from_hidden.weight.clone()
    losses = [trainer.step(0.0).squares for _ in range(2)]
    assert np.isfinite(losses).all()
    assert not torch.equal(before, quantiser.from_hidden.weight)
    assert all(torch.isfinite(tensor).all() for tensor in quantiser.state_dict().values())


def test_entries_follow_and_forgotten_ones_begin_anew(model: CausalWhisper, clips: list[Clip]) -> None:
    torch.manual_seed(0)
    quantiser = begin(clips * 30, torch.eye(512), 2, 4)
    codebooks = Codebooks(quantiser)
    latents = torch.randn(64, 64) + 3
    for _ in range(400):
        chosen = codebooks.quantise(latents, 4)
    assert (latents - chosen).square().mean() < 0.1
    assert codebooks.books is quantiser.books


def test_utterances_are_cut_off_where_the_window_ends(source: FeatureSource, tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "one")
    noise = np.random.default_rng(0).normal(0, 0.1, 14 * 16_000).astype(np.float32)
    writer.add(noise, "long", tokens=[1, 2, 3], begins=[1.0, 5.0, 12.0], due=[1.5, 6.0, 12.5])
    writer.add(noise[:24_000], "short", tokens=[4], begins=[0.2], due=[0.7])
    writer.close()
    long, short = sorted(
        collect_clips(open_shards([tmp_path]), source, 1.0), key=lambda clip: -len(clip.features)
    )
    assert (long.tokens, long.due, len(long.features)) == ([1, 2], [75, 300], 600)
    assert (short.tokens, short.due, len(short.features)) == ([4], [35], 104)


def test_clips_are_kept(clips: list[Clip], tmp_path: Path) -> None:
    save_clips(clips, tmp_path / "clips.safetensors")
    for one, other in zip(load_clips(tmp_path / "clips.safetensors"), clips, strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.voice, other.voice)
        assert (one.tokens, one.due) == (other.tokens, other.due)
