"""Whisper's weights laid out for streaming: query, key and value in one product, the cross-attention keys and
values of all decoder layers in one product, and the attention scale folded into the queries.

The arithmetic is Whisper's own; what runs it over time lives in encoder.py and decoder.py, what runs it over a
whole window at once in masked.py.
"""

import os
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from whisper.model import ModelDimensions

from voicewire.asr.compiled import bound_compiled
from voicewire.asr.packed import can_pack, pack_linears

bound_compiled(os.environ)

State = dict[str, Tensor]


class GeluLinear(nn.Linear):
    """A linear layer and GELU, which a packed layer does in one go."""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(super().forward(x))


class Mlp(nn.Module):
    """The feed-forward half of a block with its norm and its residual."""

    def __init__(self, n_state: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_state)
        self.up = GeluLinear(n_state, 4 * n_state)
        self.down = nn.Linear(4 * n_state, n_state)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(self.norm(x)))


class SelfAttention(nn.Module):
    """Norm, joint query-key-value product and output product; who attends to what is the caller's business."""

    def __init__(self, n_state: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_state)
        self.qkv = nn.Linear(n_state, 3 * n_state)
        self.out = nn.Linear(n_state, n_state)


class CrossAttention(nn.Module):
    """Norm, query and output; keys and values come from Decoder.cross_kv."""

    def __init__(self, n_state: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_state)
        self.query = nn.Linear(n_state, n_state)
        self.out = nn.Linear(n_state, n_state)


class EncoderBlock(nn.Module):
    def __init__(self, n_state: int) -> None:
        super().__init__()
        self.attention = SelfAttention(n_state)
        self.mlp = Mlp(n_state)


class DecoderBlock(nn.Module):
    def __init__(self, n_state: int) -> None:
        super().__init__()
        self.attention = SelfAttention(n_state)
        self.cross = CrossAttention(n_state)
        self.mlp = Mlp(n_state)


class Encoder(nn.Module):
    """The two convolutions are kept as products over unfolded frames."""

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        n = dims.n_audio_state
        self.conv1 = GeluLinear(3 * dims.n_mels, n)
        self.conv2 = GeluLinear(3 * n, n)
        self.positions = nn.Parameter(torch.empty(dims.n_audio_ctx, n))
        self.blocks = cast(
            Sequence[EncoderBlock], nn.ModuleList(EncoderBlock(n) for _ in range(dims.n_audio_layer))
        )
        self.norm = nn.LayerNorm(n)


class Decoder(nn.Module):
    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        n = dims.n_text_state
        self.embedding = nn.Parameter(torch.empty(dims.n_vocab, n))
        self.positions = nn.Parameter(torch.empty(dims.n_text_ctx, n))
        self.blocks = cast(
            Sequence[DecoderBlock], nn.ModuleList(DecoderBlock(n) for _ in range(dims.n_text_layer))
        )
        self.norm = nn.LayerNorm(n)
        self.cross_kv = nn.Linear(dims.n_audio_state, 2 * n * dims.n_text_layer)
        self.projection = nn.Linear(n, dims.n_vocab, bias=False)  # the embedding again

    def logits(self, x: Tensor) -> Tensor:
        """Hidden rows, shape = (rows, n_text_state) -> float32 logits, shape = (rows, n_vocab)."""
        return self.projection(self.norm(x)).float()


class CausalWhisper(nn.Module):
    """Whisper's encoder and decoder without a way through them: see encoder.py, decoder.py and masked.py."""

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.dims = dims
        self.encoder = Encoder(dims)
        self.decoder = Decoder(dims)

    @classmethod
    def from_state(
        cls, dims: ModelDimensions, state: State, dtype: torch.dtype = torch.float32, device: str = "cpu"
    ) -> "CausalWhisper":
        """Builds the model from a state dict with openai-whisper's names (adapter already merged)."""
        with torch.device("meta"):
            model = cls(dims)
        model.load_state_dict(streaming_layout(dims, state), assign=True)
        model.decoder.projection.weight = model.decoder.embedding
        model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
        if can_pack(model.dtype, model.device):
            pack_linears(model, {GeluLinear: "gelu"})
        return model

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.embedding.dtype

    @property
    def device(self) -> torch.device:
        return self.decoder.embedding.device


def streaming_layout(dims: ModelDimensions, state: State) -> State:
    """openai-whisper's state dict in this module's layout, float32. Folding the scale is exact: it is 1/8."""
    state = {name: tensor.float() for name, tensor in state.items()}
    new: State = {
        "encoder.positions": state["encoder.positional_embedding"],
        "decoder.positions": state["decoder.positional_embedding"],
        "decoder.embedding": state["decoder.token_embedding.weight"],
        "decoder.projection.weight": state["decoder.token_embedding.weight"],
    }
    for conv in ("conv1", "conv2"):
        # (out, in, 3) -> (out, in * 3): the order in which Tensor.unfold lays out three neighbouring frames
        new[f"encoder.{conv}.weight"] = state[f"encoder.{conv}.weight"].flatten(1)
        new[f"encoder.{conv}.bias"] = state[f"encoder.{conv}.bias"]
    _norm(new, "encoder.norm", state, "encoder.ln_post")
    _norm(new, "decoder.norm", state, "decoder.ln")
    new |= {name: _stacked(state, sources) for name, sources in layout_sources(dims).items()}
    audio_scale = (dims.n_audio_state // dims.n_audio_head) ** -0.5
    text_scale = (dims.n_text_state // dims.n_text_head) ** -0.5
    for layer in range(dims.n_audio_layer):
        _block(new, state, f"encoder.blocks.{layer}", audio_scale, cross=False)
    for layer in range(dims.n_text_layer):
        _block(new, state, f"decoder.blocks.{layer}", text_scale, cross=True)
    values = [state[f"decoder.blocks.{layer}.cross_attn.value.bias"] for layer in range(dims.n_text_layer)]
    # in the order layer, key then value; Whisper's keys have no bias
    new["decoder.cross_kv.bias"] = torch.cat([torch.cat([torch.zeros_like(bias), bias]) for bias in values])
    return new


def layout_sources(dims: ModelDimensions) -> dict[str, list[tuple[str, float]]]:
    """Where each product's weight in the streaming layout comes from: openai-whisper's weights whose rows stand
    below each other in it, and what they are multiplied by.
    """
    audio_scale = (dims.n_audio_state // dims.n_audio_head) ** -0.5
    text_scale = (dims.n_text_state // dims.n_text_head) ** -0.5
    blocks = [(f"encoder.blocks.{layer}", audio_scale) for layer in range(dims.n_audio_layer)]
    blocks += [(f"decoder.blocks.{layer}", text_scale) for layer in range(dims.n_text_layer)]
    sources: dict[str, list[tuple[str, float]]] = {"decoder.cross_kv.weight": []}
    for block, scale in blocks:
        query, key, value = (f"{block}.attn.{part}.weight" for part in ("query", "key", "value"))
        sources[f"{block}.attention.qkv.weight"] = [(query, scale), (key, 1.0), (value, 1.0)]
        sources[f"{block}.attention.out.weight"] = [(f"{block}.attn.out.weight", 1.0)]
        sources[f"{block}.mlp.up.weight"] = [(f"{block}.mlp.0.weight", 1.0)]
        sources[f"{block}.mlp.down.weight"] = [(f"{block}.mlp.2.weight", 1.0)]
        if block.startswith("decoder."):
            cross = f"{block}.cross_attn"
            sources[f"{block}.cross.query.weight"] = [(f"{cross}.query.weight", scale)]
            sources[f"{block}.cross.out.weight"] = [(f"{cross}.out.weight", 1.0)]
            sources["decoder.cross_kv.weight"] += [
                (f"{cross}.{part}.weight", 1.0) for part in ("key", "value")
            ]
    return sources


def _stacked(state: State, sources: list[tuple[str, float]]) -> Tensor:
    """Weights below each other; what is one weight as it is, is not copied."""
    parts = [state[name] if scale == 1.0 else state[name] * scale for name, scale in sources]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _block(new: State, state: State, block: str, scale: float, *, cross: bool) -> None:
    """The biases and norms of a block; its weights are in `layout_sources`."""
    attention, source = f"{block}.attention", f"{block}.attn"
    query, value = state[f"{source}.query.bias"], state[f"{source}.value.bias"]
    new[f"{attention}.qkv.bias"] = torch.cat([query * scale, torch.zeros_like(query), value])
    new[f"{attention}.out.bias"] = state[f"{source}.out.bias"]
    _norm(new, f"{attention}.norm", state, f"{block}.attn_ln")
    if cross:
        new[f"{block}.cross.query.bias"] = state[f"{block}.cross_attn.query.bias"] * scale
        new[f"{block}.cross.out.bias"] = state[f"{block}.cross_attn.out.bias"]
        _norm(new, f"{block}.cross.norm", state, f"{block}.cross_attn_ln")
    _norm(new, f"{block}.mlp.norm", state, f"{block}.mlp_ln")
    new[f"{block}.mlp.up.bias"] = state[f"{block}.mlp.0.bias"]
    new[f"{block}.mlp.down.bias"] = state[f"{block}.mlp.2.bias"]


def _norm(new: State, target: str, state: State, source: str) -> None:
    for part in ("weight", "bias"):
        new[f"{target}.{part}"] = state[f"{source}.{part}"]
