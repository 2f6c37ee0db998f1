"""The model as it is trained: whole windows in batches, in the very layout that the recogniser runs, its weights
those of the frozen model plus a low-rank change.

The masked arithmetic is that of masked.py, batched; a test holds the two together.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from whisper.model import ModelDimensions

from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.errors import SettingsError
from voicewire.asr.low_rank import LowRank
from voicewire.asr.model import CausalWhisper, State, layout_sources, streaming_layout
from voicewire.asr.train.attention import BlockAttention, Group
from voicewire.asr.train.linear import Change, make_changeable


class Text(NamedTuple):
    """Rows for the decoder, padded to the longest window.

    Attributes:
        tokens, positions: shape = (windows, rows).
        seen: which rows of its own window a row sees, additive mask, shape = (windows, 1, rows, rows).
        heard: which frames it sees, additive mask, shape = (windows, 1, rows, frames).
    """

    tokens: Tensor
    positions: Tensor
    seen: Tensor
    heard: Tensor

    def to(self, device: torch.device) -> "Text":
        return Text(*(tensor.to(device) for tensor in self))


class WindowedWhisper(CausalWhisper):
    """CausalWhisper with a way through it, for whole windows."""

    def forward(self, mel: Tensor, groups: list[Group], text: Text | None) -> tuple[Tensor, Tensor | None]:
        """Mel, shape = (windows, 2 frames, n_mels) -> the encoder's output, shape = (windows, frames, n_state),
        and the decoder's rows, ready for the projection, shape = (windows, rows, n_state).
        """
        features = self._encode(mel, groups)
        return features, None if text is None else self._decode(features, text)

    def _encode(self, mel: Tensor, groups: list[Group]) -> Tensor:
        encoder = self.encoder
        with torch.no_grad():  # never adapted
            x = mel.to(encoder.positions.dtype).transpose(1, 2)
            for conv, stride in ((encoder.conv1, 1), (encoder.conv2, 2)):
                weight = conv.weight.view(conv.out_features, -1, 3)
                x = F.gelu(F.conv1d(x, weight, conv.bias, stride=stride, padding=1))
            x = x.transpose(1, 2) + encoder.positions[: x.shape[2]]
        for block in encoder.blocks:
            qkv = block.attention.qkv(block.attention.norm(x))
            q, k, v = (part.contiguous() for part in _heads(qkv, 3, self.dims.n_audio_head))
            mixed: Tensor = BlockAttention.apply(q, k, v, groups)
            x = x + block.attention.out(_joined(mixed))
            x = block.mlp(x)
        return encoder.norm(x)

    def _decode(self, features: Tensor, text: Text) -> Tensor:
        decoder, heads = self.decoder, self.dims.n_text_head
        kv = _heads(decoder.cross_kv(features), 2 * len(decoder.blocks), heads)
        x = decoder.embedding[text.tokens] + decoder.positions[text.positions]
        for layer, block in enumerate(decoder.blocks):
            q, k, v = _heads(block.attention.qkv(block.attention.norm(x)), 3, heads)
            x = x + block.attention.out(_mix(q, k, v, text.seen))
            (q,) = _heads(block.cross.query(block.cross.norm(x)), 1, heads)
            x = x + block.cross.out(_mix(q, kv[2 * layer], kv[2 * layer + 1], text.heard))
            x = block.mlp(x)
        return decoder.norm(x)


class AdaptedWhisper(nn.Module):
    """A frozen Whisper and its trainable change.

    Attributes:
        down, up: the two factors by the name of the weight that they change, dots written as slashes.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        targets: Iterable[str],
        rank: int,
        dtype: torch.dtype = torch.bfloat16,
        device: str | torch.device = "cpu",
    ) -> None:
        """Raises SettingsError where no weight is a target."""
        super().__init__()
        self.dims: ModelDimensions = checkpoint.dims
        self.dtype = dtype
        self._state = {name: tensor.float().to(device) for name, tensor in checkpoint.state.items()}
        with torch.device("meta"):
            shell = WindowedWhisper(checkpoint.dims)
        self._shell = (shell,)  # in a tuple, so that it is no submodule
        self._layers = make_changeable(shell)
        self._frozen = self._cast(streaming_layout(self.dims, self._state))
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        names = target_weights(checkpoint.state, targets)
        if not names:
            raise SettingsError("the settings' targets name no layer of the model: leave them out")
        for name in names:
            outputs, inputs = checkpoint.state[name].shape
            down = torch.empty(rank, inputs)
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))  # as PEFT begins
            self.down[_key(name)] = nn.Parameter(down.to(device))
            self.up[_key(name)] = nn.Parameter(torch.zeros(outputs, rank, device=device))
        self._sources = {
            name: sources
            for name, sources in layout_sources(self.dims).items()
            if any(_key(source) in self.up for source, _ in sources)
        }

    def _cast(self, layout: State) -> State:
        return {name: tensor.to(self.dtype) for name, tensor in layout.items()}

    @property
    def device(self) -> torch.device:
        return self._frozen["decoder.embedding"].device

    @property
    def embedding(self) -> Tensor:
        """(n_vocab, n_text_state), frozen."""
        return self._frozen["decoder.embedding"]

    @property
    def frozen(self) -> State:
        """The unmodified model, in the streaming layout."""
        return self._frozen

    @torch.no_grad()
    def adapted(self) -> State:
        """The model with its change, in the streaming layout; what is not changed is `frozen`'s own."""
        state = dict(self._state)
        for key, up in self.up.items():
            name = _name(key)
            state[name] = torch.addmm(state[name], up, self.down[key])
        layout = streaming_layout(self.dims, state)
        return self._frozen | {name: layout[name].to(self.dtype) for name in self._sources}

    def run(
        self, mel: Tensor, groups: list[Group], text: Text | None, *, frozen: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """As WindowedWhisper.forward; with the change, to which gradients flow, or without."""
        for name, sources in self._sources.items():
            self._layers[name.removesuffix(".weight")].changes = () if frozen else self._changes(sources)
        weights = self._frozen if frozen else self.adapted()
        return functional_call(self._shell[0], weights, (mel, groups, text), tie_weights=False, strict=True)

    def _changes(self, sources: list[tuple[str, float]]) -> list[Change]:
        """Of the weight that is put together from these."""
        changes, row = [], 0
        for name, scale in sources:
            rows = (row, row := row + self._state[name].shape[0])
            if _key(name) in self.up:
                changes.append(Change(rows, self.down[_key(name)], self.up[_key(name)], scale))
        return changes

    # ---- the change as others keep it

    def changes(self, state: State | None = None) -> dict[str, LowRank]:
        """By the name of the weight, as the adapter formats give them; on the CPU.

        Args:
            state: of what `state_dict` gives, if not of the factors as they are now.
        """
        factors = self.state_dict() if state is None else state
        return {
            _name(key): LowRank(factors[f"down.{key}"].cpu(), factors[f"up.{key}"].cpu(), 1.0)
            for key in self.up
        }

    @torch.no_grad()
    def begin_with(self, changes: dict[str, LowRank]) -> None:
        """Starts from an adapter of the same or a lower rank; what it does not change begins as new.

        Raises:
            SettingsError: it changes what is not a target, or has a higher rank.
        """
        for name, change in changes.items():
            key, rank = _key(name), change.down.shape[0]
            if key not in self.up:
                raise SettingsError(
                    f"the adapter to begin with changes {name}: add its layer to the settings' targets"
                )
            if rank > self.down[key].shape[0]:
                raise SettingsError(
                    f"the adapter to begin with has rank {rank}: raise the settings' rank to as much"
                )
            self.down[key][:rank] = change.down
            self.up[key][:, :rank] = change.up * change.scale


def target_weights(state: State, targets: Iterable[str]) -> list[str]:
    """Names of the weights whose module ends in one of the targets, in the model's order."""
    endings = tuple(f".{target}.weight" for target in targets)
    return [name for name, tensor in state.items() if name.endswith(endings) and tensor.ndim == 2]


def _key(name: str) -> str:
    return name.replace(".", "/")


def _name(key: str) -> str:
    return key.replace("/", ".")


def _heads(x: Tensor, parts: int, heads: int) -> Tensor:
    """(windows, rows, parts * heads * dim) -> (parts, windows, heads, rows, dim)"""
    return x.view(*x.shape[:2], parts, heads, -1).permute(2, 0, 3, 1, 4)


def _joined(x: Tensor) -> Tensor:
    """(windows, heads, rows, dim) -> (windows, rows, heads * dim)"""
    return x.transpose(1, 2).flatten(2)


def _mix(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return _joined(torch.softmax(q @ k.transpose(2, 3) + mask, -1) @ v)
