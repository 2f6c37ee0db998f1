"""Whisper's decoder over cached keys and values: in one pass, tokens of several streams, each at its place."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from voicewire.asr.attention import attend
from voicewire.asr.model import CausalWhisper
from voicewire.asr.slots import Slots


class Feed(NamedTuple):
    """Tokens to be run through the decoder for one stream.

    Attributes:
        slot: whose keys and values are read and, at the tokens' positions, written.
        position: of the first token; positions before it are taken from the slot.
        tokens: the tokens.
        visible: how many encoder frames each token may look at; one number for all, or one for each.
        wanted: for how many of the last tokens the prediction is wanted. The vocabulary's product is half of
            the decoder's bytes.
        audio: the slot whose audio is looked at, where it is another one.
    """

    slot: int
    position: int
    tokens: list[int]
    visible: int | list[int]
    wanted: int = 1
    audio: int | None = None


@dataclass(frozen=True)
class Pass:
    """What came of a pass.

    Attributes:
        logits: per feed, float32, shape = (wanted, n_vocab): a token's row predicts the token after it.
        attention: per feed, mean cross-attention of the alignment heads, shape = (tokens, visible); float32.
    """

    logits: list[Tensor]
    attention: list[Tensor]


class TokenDecoder:
    """Runs feeds through the decoder."""

    def __init__(self, model: CausalWhisper, slots: Slots, alignment_heads: list[tuple[int, int]]) -> None:
        self.model = model
        self.slots = slots
        self.passes = 0
        self._heads = len(alignment_heads)
        self._alignment: list[list[int]] = [[] for _ in range(model.dims.n_text_layer)]
        for layer, head in alignment_heads:
            self._alignment[layer].append(head)

    @torch.inference_mode()
    def run(self, feeds: list[Feed]) -> Pass:
        """One pass over all feeds; their keys and values are written into the slots."""
        self.passes += 1
        decoder = self.model.decoder
        device = self.model.device
        tokens = torch.tensor([token for feed in feeds for token in feed.tokens], device=device)
        positions = torch.cat(
            [decoder.positions[feed.position : feed.position + len(feed.tokens)] for feed in feeds]
        )
        x = decoder.embedding[tokens] + positions
        self_masks = [_causal(feed, x.dtype, device) for feed in feeds]
        cross_masks = [_limited(feed, x.dtype, device) for feed in feeds]
        attention = [
            torch.zeros(len(feed.tokens), _widest(feed), device=device, dtype=torch.float32) for feed in feeds
        ]
        for layer, block in enumerate(decoder.blocks):
            own = block.attention
            x = x + own.out(self._attend_self(layer, feeds, self_masks, own.qkv(own.norm(x))))
            cross = block.cross
            queries = cross.query(cross.norm(x))
            x = x + cross.out(self._attend_cross(layer, feeds, cross_masks, queries, attention))
            x = block.mlp(x)
        return Pass(self._predict(feeds, x), attention)

    def _predict(self, feeds: list[Feed], x: Tensor) -> list[Tensor]:
        rows: list[int] = []
        end = 0
        for feed in feeds:
            end += len(feed.tokens)
            rows += range(end - feed.wanted, end)
        wanted = x if len(rows) == len(x) else x[rows]
        return list(self.model.decoder.logits(wanted).split([feed.wanted for feed in feeds]))

    def _attend_self(self, layer: int, feeds: list[Feed], masks: list[Tensor | None], qkv: Tensor) -> Tensor:
        heads = self.model.dims.n_text_head
        mixed = qkv.new_empty(qkv.shape[0], qkv.shape[1] // 3)
        row = 0
        for feed, mask in zip(feeds, masks, strict=True):
            count = len(feed.tokens)
            rows = slice(row, row := row + count)
            start, end = feed.position, feed.position + count
            q, k, v = qkv[rows].view(count, 3, heads, -1).permute(1, 2, 0, 3)
            keys, values = self.slots.self_keys[layer, feed.slot], self.slots.self_values[layer, feed.slot]
            keys[:, :, start:end] = k.transpose(1, 2)
            values[:, start:end] = v
            mixed[rows], _ = attend(q, keys, values, end, mask)
        return mixed

    def _attend_cross(
        self,
        layer: int,
        feeds: list[Feed],
        masks: list[Tensor | None],
        queries: Tensor,
        attention: list[Tensor],
    ) -> Tensor:
        heads = self.model.dims.n_text_head
        chosen = self._alignment[layer]
        mixed = torch.empty_like(queries)
        row = 0
        for index, (feed, mask) in enumerate(zip(feeds, masks, strict=True)):
            count = len(feed.tokens)
            rows = slice(row, row := row + count)
            q = queries[rows].view(count, heads, -1).transpose(0, 1)
            audio = feed.slot if feed.audio is None else feed.audio
            keys, values = self.slots.cross_keys[layer, audio], self.slots.cross_values[layer, audio]
            mixed[rows], weights = attend(q, keys, values, _widest(feed), mask)
            if chosen:
                attention[index] += weights[chosen].float().sum(0) / self._heads
        return mixed


def _widest(feed: Feed) -> int:
    return feed.visible if isinstance(feed.visible, int) else max(feed.visible)


def _causal(feed: Feed, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Additive mask, shape = (tokens, position + tokens); None for a single token, which sees everything."""
    count = len(feed.tokens)
    if count == 1:
        return None
    mask = torch.full((count, feed.position + count), float("-inf"), dtype=dtype, device=device)
    return mask.triu(feed.position + 1)


def _limited(feed: Feed, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Additive mask, shape = (tokens, widest); None where all tokens see the same frames."""
    if isinstance(feed.visible, int):
        return None
    limits = torch.tensor(feed.visible, device=device)[:, None]
    frames = torch.arange(_widest(feed), device=device)
    return torch.zeros(len(feed.visible), len(frames), dtype=dtype, device=device).masked_fill(
        frames >= limits, float("-inf")
    )
