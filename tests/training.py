"""Prepared speech for the tests of training: clips whose words have times, as shards, made without a model."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.speech_tars import Clip, SpeechTar
from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.tokens import Vocabulary
from voicewire.asr.train import labels
from voicewire.asr.train.shards import Shard, ShardWriter

RATE = 16_000


def english(checkpoint: Checkpoint) -> Vocabulary:
    return Vocabulary.of(checkpoint.dims, "en", torch.device("cpu"))


def timed_clips(tar: Path, count: int) -> list[Clip]:
    """Clips of up to 12 s whose words have times, one for each word of the text."""
    tar_ = SpeechTar(tar)
    short = [clip for clip in tar_.clips(timed=True) if clip.duration < 12]
    fitting = [clip for clip in short if len(clip.words) == len(clip.text.split())]
    assert len(fitting) >= count
    return fitting[:count]


def shard_of(folder: Path, name: str, clips: list[Clip], vocabulary: Vocabulary, **facts: Any) -> Shard:
    """A shard with the clips' own times."""
    writer = ShardWriter(folder, name)
    for clip in clips:
        words = labels.tokenise(labels.tidy([word.text.lower() for word in clip.words]), vocabulary.tokenizer)
        times = [
            (timed.start_s, timed.end_s)
            for word, timed in zip(words, clip.words, strict=True)
            for _ in word.tokens
        ]
        tokens = [token for word in words for token in word.tokens]
        writer.add(
            clip.samples,
            clip.key,
            tokens=tokens,
            begins=labels.word_begins(words, times),
            due=labels.due_times(words, times),
            text=vocabulary.text(tokens).strip(),
            facts={"corpus": clip.corpus, "speaker": clip.speaker} | facts,
        )
    writer.close()
    return Shard.open(folder, name)


def noise_of(folder: Path, name: str = "noise", seconds: float = 3.0) -> Shard:
    writer = ShardWriter(folder, name)
    hiss = np.random.default_rng(5).standard_normal(int(seconds * RATE)).astype(np.float32) * 0.1
    writer.add(hiss, "hiss", facts={"corpus": "hisses"})
    writer.close()
    return Shard.open(folder, name)


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def pair(key: str, samples: np.ndarray, rate: int = RATE, **facts: Any) -> dict[str, bytes]:
    """The two members of a recording."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    return {f"{key}.flac": file.getvalue(), f"{key}.json": json.dumps(facts).encode()}
