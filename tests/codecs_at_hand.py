"""Every codec that tests can have, with weights from wherever they lie: mu-law, and those that are registered."""

import importlib
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soxr

from tests.mu_law import MuLaw
from voicewire import codecs
from voicewire.client.audio_files import open_audio
from voicewire.codecs import Codec, CodecWeightsError

LYRA_VARIABLE = "VOICEWIRE_LYRA"
REPOSITORY = Path(__file__).resolve().parent.parent
CLIP = REPOSITORY / "client" / "clips" / "art-of-printing.opus"
NAMES = ("mu_law", *codecs.available())


@cache
def codec(name: str) -> Codec:
    """The codec of that name, loaded once. The test is skipped where its weights cannot be had."""
    if name == "mu_law":
        return MuLaw()
    try:
        return codecs.load(name, weights(name))
    except CodecWeightsError as error:
        pytest.skip(f"no weights for {name}: {error}")


def weights(name: str) -> Path | None:
    """Where they are, if not where the codec itself looks."""
    if name == "lyra_v2":
        folder = Path(os.environ.get(LYRA_VARIABLE, REPOSITORY.parent / "shared" / "lyra"))
        return folder if folder.is_dir() else None
    if name == "encodec_24khz":
        return Path(importlib.import_module("tests.encodec_weights").random_weights())
    return None


@cache
def speech(sample_rate: int) -> np.ndarray:
    """The clip that comes with the client, 23.6 s of speech, float32 at this rate."""
    with open_audio(CLIP) as audio:
        samples = np.concatenate(list(audio.blocks()))
        return soxr.resample(samples, audio.sample_rate, sample_rate).astype(np.float32)
