"""Features of speech to a few bits and back: residual vector quantisation between two small causal networks.

What is kept is what Whisper's decoder needs to read the words, since the networks are trained through that decoder
(train/quantise.py). A prefix of the codes of a frame is a lower bitrate. All convolutions look back only, and what
they still need is a tensor that the caller keeps, so blocks that follow one another give what the whole gives.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT = 64
HIDDEN = 384
INNER = 256
BITS = 10
SIZE = 2**BITS  # of a codebook


class CausalConv(nn.Module):
    """A convolution over time that remembers its last inputs; zeros before the first."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width * inputs, outputs)
        self.inputs, self.width = inputs, width

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """x, shape = (n, inputs), after `past`, shape = (width - 1, inputs) -> (n, outputs), and the next past."""
        if not len(x):
            return x.new_zeros(0, self.linear.out_features), past
        x = torch.cat([past, x])
        windows = x.unfold(0, self.width, 1).flatten(1)
        return self.linear(windows), x[len(x) - self.width + 1 :]

    def start(self) -> Tensor:
        return self.linear.weight.new_zeros(self.width - 1, self.inputs)


@dataclass(frozen=True)
class Shape:
    """How a quantiser is cut.

    Attributes:
        width: numbers in a feature.
        stack: features in a frame of codes.
        codebooks: codes per frame.
    """

    width: int
    stack: int
    codebooks: int


Past = tuple[Tensor, Tensor]


class Quantiser(nn.Module):
    """Features without their place, shape = (stack frames, width), to codes, (frames, codebooks), and back."""

    mean: Tensor
    books: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        wide = shape.stack * shape.width
        self.register_buffer("mean", torch.zeros(shape.width))
        self.project = nn.Linear(wide, INNER, bias=False)
        self.to_latent = nn.Linear(INNER, LATENT, bias=False)
        self.context = CausalConv(INNER, INNER, 3)
        self.to_latent_more = nn.Linear(INNER, LATENT, bias=False)
        self.register_buffer("books", torch.zeros(shape.codebooks, SIZE, LATENT))
        self.from_latent = nn.Linear(LATENT, wide, bias=False)
        self.recall = CausalConv(LATENT, HIDDEN, 5)
        self.refine = CausalConv(HIDDEN, HIDDEN, 3)
        self.from_hidden = nn.Linear(HIDDEN, wide)
        self.voice = nn.Linear(HIDDEN, shape.stack)

    @property
    def reach(self) -> int:
        """How many frames `synthesise` looks back."""
        return self.recall.width - 1 + self.refine.width - 1

    def start(self) -> Past:
        """What `synthesise` is given first."""
        return self.recall.start(), self.refine.start()

    def analyse(self, features: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Features -> latents, shape = (frames, LATENT), and the next past."""
        x = self.project((features - self.mean).reshape(-1, self.shape.stack * self.shape.width))
        context, past = self.context(x, past)
        return self.to_latent(x) + self.to_latent_more(F.gelu(context)), past

    def choose(self, latents: Tensor, codebooks: int) -> Tensor:
        """The nearest entry of each codebook in turn, shape = (frames, codebooks)."""
        rest, codes = latents, []
        for book in self.books[:codebooks]:
            nearest = (rest @ book.T - (book * book).sum(1) / 2).argmax(1)
            rest = rest - book[nearest]
            codes.append(nearest)
        return torch.stack(codes, 1)

    def look_up(self, codes: Tensor) -> Tensor:
        """Codes -> latents."""
        latents = torch.zeros(len(codes), LATENT, device=self.books.device)
        for book, column in zip(self.books, codes.unbind(1), strict=False):
            latents = latents + book[column]
        return latents

    def synthesise(self, latents: Tensor, past: Past) -> tuple[Tensor, Tensor, Past]:
        """Latents -> features, the logit of speech in each, shape = (stack frames,), and the next past."""
        recalled, first = self.recall(latents, past[0])
        hidden = F.gelu(recalled)
        refined, second = self.refine(hidden, past[1])
        hidden = hidden + F.gelu(refined)
        wide = self.from_latent(latents) + self.from_hidden(hidden)
        features = wide.reshape(-1, self.shape.width) + self.mean
        return features, self.voice(hidden).reshape(-1), (first, second)
