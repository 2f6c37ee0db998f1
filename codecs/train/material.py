"""What a quantiser is trained on: features of many utterances, what is said in them and when."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from voicewire.asr.features import FeatureSource, FeatureStreams
from voicewire.asr.places import estimate_places
from voicewire.asr.settings import FRAME_SAMPLES, SAMPLE_RATE
from voicewire.asr.train.shards import Shard, Utterance
from voicewire.asr.voice_activity import CHUNK_SAMPLES, VoiceActivity, VoiceState

SHORTEST_S = 1.5  # of an utterance
LONGEST_S = 11.9  # what follows is left away: it would be in the encoder's next window
AFTER_FRAMES = 30  # of silence that follow an utterance
ROUND = 2  # frames: whole frames of codes
WINDOW_S = 12.5  # of audio, for a window's places


@dataclass(frozen=True, eq=False)
class Clip:
    """One utterance.

    Attributes:
        features: without their place, float16, shape = (frames, n_state).
        voice: how likely somebody speaks, float16, shape = (frames,).
        tokens: what is said.
        due: for each token, by which frame it should be said.
    """

    features: Tensor
    voice: Tensor
    tokens: list[int]
    due: list[int]


def collect_clips(shards: Sequence[Shard], source: FeatureSource, hours: float, seed: int = 0) -> list[Clip]:
    """So many hours of the shards' utterances with words, in random order."""
    streams, activity = source.streams(1), VoiceActivity()
    slot = streams.open()
    clips: list[Clip] = []
    left_s = hours * 3600
    for shard, utterance in _shuffled(shards, seed):
        if left_s <= 0:
            break
        left_s -= min(utterance.duration_s, LONGEST_S)
        clips.append(_clip(shard.audio(utterance), utterance, streams, slot, activity))
    return clips


def _shuffled(shards: Sequence[Shard], seed: int) -> Iterator[tuple[Shard, Utterance]]:
    fitting = [
        (shard, utterance)
        for shard in shards
        for utterance in shard.utterances
        if utterance.tokens and utterance.duration_s >= SHORTEST_S
    ]
    random.Random(seed).shuffle(fitting)
    return iter(fitting)


def _clip(
    samples: np.ndarray, utterance: Utterance, streams: FeatureStreams, slot: int, activity: VoiceActivity
) -> Clip:
    samples = samples[: round(LONGEST_S * SAMPLE_RATE)]
    features = np.concatenate([streams.push(slot, samples), streams.flush(slot)])
    spoken = -(-len(samples) // FRAME_SAMPLES)
    count = min(len(features), spoken + AFTER_FRAMES) // ROUND * ROUND
    chunks = activity.push(VoiceState(), np.concatenate([samples, np.zeros(2 * CHUNK_SAMPLES, np.float32)]))
    at = ((np.arange(count) + 0.5) * FRAME_SAMPLES / CHUNK_SAMPLES).astype(int)
    voice = chunks[np.minimum(at, len(chunks) - 1)] * (np.arange(count) < spoken)
    due = [round(due_s * SAMPLE_RATE / FRAME_SAMPLES) for due_s in utterance.due if due_s <= LONGEST_S]
    tokens = utterance.tokens[: len(due)]
    return Clip(torch.from_numpy(features[:count]).half(), torch.from_numpy(voice).half(), tokens, due)


def save_clips(clips: Sequence[Clip], path: Path) -> None:
    """Keeps them for another run: taking the features of an hour takes minutes."""
    counts = torch.tensor([[len(clip.features), len(clip.tokens)] for clip in clips])
    said = torch.tensor([pair for clip in clips for pair in zip(clip.tokens, clip.due, strict=True)])
    features, voice = torch.cat([clip.features for clip in clips]), torch.cat([clip.voice for clip in clips])
    save_file({"features": features, "voice": voice, "said": said, "counts": counts}, path)


def load_clips(path: Path) -> list[Clip]:
    """What `save_clips` kept."""
    kept = load_file(path)
    frames, tokens = kept["counts"].unbind(1)
    parts = zip(
        kept["features"].split(frames.tolist()),
        kept["voice"].split(frames.tolist()),
        kept["said"].split(tokens.tolist()),
        strict=True,
    )
    return [
        Clip(features, voice, said[:, 0].tolist(), said[:, 1].tolist()) for features, voice, said in parts
    ]


def measure_places(shards: Sequence[Shard], source: FeatureSource, windows: int, seed: int = 0) -> Tensor:
    """The table of places.py, over so many windows that begin anywhere in the shards' speech. The places of
    `source`, which has none yet, are zeros.
    """
    rng = random.Random(seed)
    streams = source.streams(1)
    total: Tensor | None = None
    for _ in range(windows):
        shard = rng.choice(shards)
        count = round(WINDOW_S * SAMPLE_RATE)
        start = rng.randrange(max(1, len(shard.samples) - count))
        slot = streams.open()
        piece = shard.samples[start : start + count].astype(np.float32) / np.float32(32767)
        features = torch.from_numpy(streams.push(slot, piece)).double()
        streams.close(slot)
        if total is not None and len(features) != len(total):
            continue  # a shard shorter than a window
        total = features if total is None else total + features
    assert total is not None
    return estimate_places((total / windows).float())
