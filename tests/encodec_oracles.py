"""EnCodec as others compute it, offline and whole: Meta's package, and transformers' port of it."""

import importlib.machinery
import sys
import types
import warnings
from functools import cache
from unittest import mock

import numpy as np
import torch

from tests.encodec_weights import random_state
from voicewire.codecs import Tokens


@cache
def meta(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """Meta's model with the random weights. Its package wants torchaudio, of which this model uses nothing."""
    stub = types.ModuleType("torchaudio")
    stub.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    with mock.patch.dict(sys.modules, torchaudio=stub), warnings.catch_warnings(action="ignore"):
        from encodec import EncodecModel

        model = EncodecModel.encodec_model_24khz(pretrained=False)
    model.load_state_dict(random_state())
    return model.eval().to(dtype)


@torch.no_grad()
def encoded(samples: np.ndarray, kbps: float = 24.0, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """Codes of shape (frames, codebooks)."""
    model = meta(dtype)
    model.set_target_bandwidth(kbps)
    [(codes, _)] = model.encode(torch.from_numpy(samples).to(dtype)[None, None])
    return codes[0].T.numpy()


@torch.no_grad()
def decoded(tokens: Tokens, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """Samples."""
    codes = torch.from_numpy(tokens.codes.T.copy())[None]
    return meta(dtype).decode([(codes, None)])[0, 0, : tokens.samples].float().numpy()
