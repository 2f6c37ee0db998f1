"""Layers whose weights carry low-rank changes: the values and gradients of the plain product."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from whisper.model import ModelDimensions, Whisper

from voicewire.asr import masked
from voicewire.asr.model import CausalWhisper, layout_sources, streaming_layout
from voicewire.asr.train.linear import Change, changed_linear

ROWS = [(0, 4), (6, 9)]  # rows 4 and 5 of the weight are not changed
SCALES = [0.5, 1.0]


def factors(rank: int) -> list[Tensor]:
    return [
        factor
        for first, last in ROWS
        for factor in (
            torch.randn(rank, 8, dtype=torch.float64, requires_grad=True),
            torch.randn(last - first, rank, dtype=torch.float64, requires_grad=True),
        )
    ]


def changed(weight: Tensor, factors: list[Tensor]) -> Tensor:
    """The weight with its changes, as autograd understands it."""
    delta = torch.zeros_like(weight)
    for (first, last), scale, down, up in zip(ROWS, SCALES, factors[0::2], factors[1::2], strict=True):
        delta = delta + F.pad(scale * up @ down, (0, 0, first, len(weight) - last))
    return weight + delta


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("shape", [(5, 8), (2, 5, 8)])
def test_gradients_are_those_of_the_plain_product(rank: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(rank)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(9, 8, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    parts = factors(rank)
    changes = [Change(rows, parts[2 * i], parts[2 * i + 1], SCALES[i]) for i, rows in enumerate(ROWS)]
    plain = F.linear(x, changed(weight, parts), bias)
    ours = changed_linear(x, changed(weight, parts).detach(), bias, changes)
    torch.testing.assert_close(ours, plain)
    upper = torch.randn_like(plain)
    wanted = torch.autograd.grad(plain, [x, *parts], upper)
    for one, other in zip(torch.autograd.grad(ours, [x, *parts], upper), wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_the_layout_computes_what_whisper_computes() -> None:
    dims = ModelDimensions(8, 10, 16, 2, 2, 50, 12, 16, 2, 3)
    torch.manual_seed(2)
    whisper = Whisper(dims).eval()
    state = {name: 0.3 * torch.randn_like(tensor) for name, tensor in whisper.state_dict().items()}
    whisper.load_state_dict(state)
    model = CausalWhisper.from_state(dims, state)
    mel, tokens = torch.randn(20, 8), [3, 1, 4, 1, 5]
    with torch.no_grad():
        heard = whisper.encoder(mel.T[None])
        features = masked.encode(model, masked.convolve(model, mel), [10])
        torch.testing.assert_close(features, heard[0], atol=1e-4, rtol=1e-4)
        logits = masked.decode(model, tokens, features, [10] * 5)
        wanted = whisper.decoder(torch.tensor([tokens]), heard)[0]
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)


def test_the_layouts_sources_are_what_it_is_put_together_from() -> None:
    dims = ModelDimensions(8, 10, 16, 2, 2, 50, 12, 16, 2, 3)
    torch.manual_seed(1)
    state = {name: torch.randn_like(tensor) for name, tensor in Whisper(dims).state_dict().items()}
    layout = streaming_layout(dims, state)
    for name, sources in layout_sources(dims).items():
        rows = torch.cat([state[source] * scale for source, scale in sources])
        torch.testing.assert_close(layout[name], rows, rtol=0, atol=0)
