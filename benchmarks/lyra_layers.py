"""Lyra's layers in PyTorch, to compare speeds with: the same shapes and states in float32, and random weights."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.3
# Channels, groups of the second convolution, and kernel and stride of what leads away from them.
ENCODER = ((64, 1, 10, 5), (128, 2, 4, 2), (256, 4, 4, 2))
BITS, CODEBOOKS, FEATURES = 4, 46, 64


class Convolution(nn.Module):
    """A causal convolution: what it remembers of its input stands before the next piece."""

    def __init__(
        self, given: int, made: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.layer = nn.Conv1d(given, made, kernel, stride, dilation=dilation, groups=groups)
        self.past: Tensor | None = None
        self.kept = (kernel - 1) * dilation - (stride - 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.kept:
            return self.layer(x)
        past = self.past if self.past is not None else x.new_zeros(*x.shape[:2], self.kept)
        x = torch.cat([past, x], 2)
        self.past = x[:, :, -self.kept :]
        return self.layer(x)


class Transposed(nn.Module):
    """A causal transposed convolution: what it adds to later samples waits for them."""

    def __init__(self, given: int, made: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.layer = nn.ConvTranspose1d(given, made, kernel, stride, groups=groups, bias=False)
        self.bias = nn.Parameter(torch.randn(made, 1))
        self.past: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        kept = self.layer.kernel_size[0] - self.layer.stride[0]
        if self.past is not None:
            x[:, :, :kept] += self.past
        self.past = x[:, :, -kept:]
        return x[:, :, :-kept] + self.bias


class Residual(nn.Module):
    """A depthwise convolution over time and two over channels, beside the input."""

    def __init__(self, channels: int, groups: int, dilation: int) -> None:
        super().__init__()
        self.time = Convolution(channels, channels, 3, dilation=dilation, groups=channels)
        self.first, self.second = (nn.Conv1d(channels, channels, 1, groups=count) for count in (1, groups))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.leaky_relu(self.first(self.time(F.leaky_relu(x, SLOPE))), SLOPE)
        return x + self.second(inner)


def residuals(channels: int, groups: int) -> list[nn.Module]:
    return [Residual(channels, groups, dilation) for dilation in (1, 3, 9)]


def activated(layers: Sequence[nn.Module]) -> list[nn.Module]:
    return [nn.LeakyReLU(SLOPE), *layers]


def encoder() -> nn.Module:
    """Samples (streams, 1, 320 frames) to features (streams, 64, frames)."""
    layers: list[nn.Module] = [Convolution(1, 64, 64, 16)]
    for channels, groups, kernel, stride in ENCODER:
        layers += residuals(channels, groups)
        layers += activated([Convolution(channels, 2 * channels, kernel, stride, groups=groups)])
    return nn.Sequential(*layers, *activated([Convolution(512, FEATURES, 3, groups=4)]))


def decoder() -> nn.Module:
    """Features to samples."""
    layers: list[nn.Module] = [Convolution(FEATURES, 512, 3, groups=4)]
    for channels, groups, kernel, stride in reversed(ENCODER):
        layers += activated([Transposed(2 * channels, channels, kernel, stride, groups=groups)])
        layers += residuals(channels, groups)
    return nn.Sequential(*layers, *activated([Transposed(64, 1, 64, 16)]))


class Layers:
    """Encoder, quantizer and decoder for a batch of streams."""

    def __init__(self) -> None:
        self.encoder, self.decoder = encoder().eval(), decoder().eval()
        self.codebooks = torch.randn(CODEBOOKS, 2**BITS, FEATURES)
        self.norms = self.codebooks.square().sum(2)

    @torch.inference_mode()
    def __call__(self, samples: Tensor) -> Tensor:
        """Samples (streams, 1, 320 frames) there and back."""
        features = self.encoder(samples)
        left = features.transpose(1, 2).reshape(-1, FEATURES)
        for book, norms in zip(self.codebooks, self.norms, strict=True):
            left = left - book[torch.argmin(norms - 2 * left @ book.T, 1)]
        return self.decoder(features - left.reshape(len(samples), -1, FEATURES).transpose(1, 2))
