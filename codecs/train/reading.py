"""What Whisper's decoder makes of features, in a form that gradients can pass: the measure that a quantiser is
trained by. Texts of a batch lie one behind the other in the rows of each product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from voicewire.asr.model import CausalWhisper, Decoder


@dataclass(frozen=True)
class Text:
    """Tokens to be fed, and for each how many frames it may see."""

    tokens: list[int]
    visible: list[int]


def keys_and_values(decoder: Decoder, features: Sequence[Tensor]) -> list[Tensor]:
    """What cross-attention looks at, for each of the features: (n, n_state) -> (n, layers * 2 * n_state)."""
    kv: Tensor = decoder.cross_kv(torch.cat(list(features)).to(decoder.embedding.dtype))
    return list(kv.split([len(each) for each in features]))


def read(model: CausalWhisper, kv: Sequence[Tensor], texts: Sequence[Text]) -> Tensor:
    """Float32 logits of what follows each token, shape = (tokens of all texts, n_vocab)."""
    decoder, heads = model.decoder, model.dims.n_text_head
    tokens = torch.tensor([token for text in texts for token in text.tokens])
    counts = [len(text.tokens) for text in texts]
    x = decoder.embedding[tokens] + torch.cat([decoder.positions[:count] for count in counts])
    later = [torch.full((count, count), float("-inf"), dtype=x.dtype).triu(1) for count in counts]
    unheard = [_unheard(text, len(each), x.dtype) for text, each in zip(texts, kv, strict=True)]
    for layer, block in enumerate(decoder.blocks):
        rows = block.attention.qkv(block.attention.norm(x)).split(counts)
        mixed = [_attend(each.chunk(3, 1), mask, heads) for each, mask in zip(rows, later, strict=True)]
        x = x + block.attention.out(torch.cat(mixed))
        queries = block.cross.query(block.cross.norm(x)).split(counts)
        width = x.shape[1]
        looks = [each[:, 2 * layer * width : 2 * (layer + 1) * width].chunk(2, 1) for each in kv]
        mixed = [
            _attend((q, *look), mask, heads) for q, look, mask in zip(queries, looks, unheard, strict=True)
        ]
        x = x + block.cross.out(torch.cat(mixed))
        x = block.mlp(x)
    return decoder.logits(x)


def _unheard(text: Text, frames: int, dtype: torch.dtype) -> Tensor:
    hidden = torch.arange(frames) >= torch.tensor(text.visible)[:, None]
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, float("-inf"))


def _attend(qkv: Sequence[Tensor], mask: Tensor, heads: int) -> Tensor:
    """(rows, n_state), (n, n_state), (n, n_state) and an additive mask, (rows, n) -> (rows, n_state)"""
    q, k, v = (each.view(len(each), heads, -1).transpose(0, 1) for each in qkv)
    return (torch.softmax(q @ k.transpose(1, 2) + mask, -1) @ v).transpose(0, 1).flatten(1)
