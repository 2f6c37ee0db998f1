"""A whole window at once, with masks: what the streaming encoder and decoder must equal, and what training
runs.

Written to be obviously right, not to be fast.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from voicewire.asr.model import CausalWhisper


def convolve(model: CausalWhisper, mel: Tensor) -> Tensor:
    """Log-mel of a window, shape = (2 n, n_mels) -> encoder frames without positions, shape = (n, n_state)."""
    encoder = model.encoder
    channels = encoder.conv1.out_features
    x = mel.to(model.device, model.dtype).T[None]
    x = F.gelu(F.conv1d(x, encoder.conv1.weight.view(channels, -1, 3), encoder.conv1.bias, padding=1))
    x = F.gelu(
        F.conv1d(x, encoder.conv2.weight.view(channels, -1, 3), encoder.conv2.bias, stride=2, padding=1)
    )
    return x[0].T


def encode(model: CausalWhisper, frames: Tensor, ends: list[int]) -> Tensor:
    """The encoder under a block-causal mask.

    Args:
        frames: the convolutions' output, shape = (n, n_state).
        ends: where each block ends; the last is n. A frame sees all earlier blocks and its own block to the
            end.
    Returns:
        shape = (n, n_state)
    """
    encoder = model.encoder
    count = len(frames)
    limits = torch.tensor([next(end for end in ends if end > frame) for frame in range(count)])
    hidden = (torch.arange(count) >= limits[:, None]).to(model.device)
    x = frames + encoder.positions[:count]
    for block in encoder.blocks:
        q, k, v = _heads(block.attention.qkv(block.attention.norm(x)), 3, model.dims.n_audio_head)
        x = x + block.attention.out(_attend(q, k, v, hidden))
        x = block.mlp(x)
    return encoder.norm(x)


def decode(model: CausalWhisper, tokens: list[int], features: Tensor, visible: list[int]) -> Tensor:
    """The decoder over a whole transcript, its cross-attention limited token by token.

    Args:
        tokens: prompt and text.
        features: the encoder's output, shape = (frames, n_state).
        visible: how many frames each token may look at.
    Returns:
        float32 logits, shape = (tokens, n_vocab); row i predicts token i + 1.
    """
    decoder = model.decoder
    count, heads = len(tokens), model.dims.n_text_head
    later = torch.ones(count, count, dtype=torch.bool, device=model.device).triu(1)
    unheard = (torch.arange(len(features)) >= torch.tensor(visible)[:, None]).to(model.device)
    cross_kv = decoder.cross_kv(features).view(len(features), len(decoder.blocks), -1)
    x = decoder.embedding[torch.tensor(tokens, device=model.device)] + decoder.positions[:count]
    for layer, block in enumerate(decoder.blocks):
        q, k, v = _heads(block.attention.qkv(block.attention.norm(x)), 3, heads)
        x = x + block.attention.out(_attend(q, k, v, later))
        (q,) = _heads(block.cross.query(block.cross.norm(x)), 1, heads)
        k, v = _heads(cross_kv[:, layer], 2, heads)
        x = x + block.cross.out(_attend(q, k, v, unheard))
        x = block.mlp(x)
    return decoder.logits(x)


def _heads(x: Tensor, parts: int, heads: int) -> Tensor:
    """(rows, parts * heads * dim) -> (parts, heads, rows, dim)"""
    return x.view(len(x), parts, heads, -1).permute(1, 2, 0, 3)


def _attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor) -> Tensor:
    """(heads, rows, dim) each -> (rows, heads * dim); `hidden` says which key a row must not see."""
    scores = (q @ k.transpose(1, 2)).masked_fill(hidden, float("-inf"))
    return (torch.softmax(scores, -1) @ v).transpose(0, 1).flatten(1)
