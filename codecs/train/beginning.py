"""Where training begins: principal components by the measure of Whisper's decoder, and k-means of residuals."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from voicewire.codecs.quantiser import INNER, LATENT, SIZE, Quantiser, Shape
from voicewire.codecs.train.material import Clip

MOST_FRAMES = 20_000
ROUNDS = 8


def decoder_metric(cross_kv: Tensor) -> Tensor:
    """What an error of a feature is worth: the sum of squares that it becomes in the keys and values of all of the
    decoder's layers. cross_kv, shape = (layers * 2 * n_state, n_state) -> (n_state, n_state)
    """
    return cross_kv.T @ cross_kv


@torch.no_grad()
def begin(clips: Sequence[Clip], metric: Tensor, stack: int, codebooks: int) -> Quantiser:
    """A quantiser whose networks are linear still."""
    width = len(metric)
    quantiser = Quantiser(Shape(width, stack, codebooks))
    features = torch.cat([clip.features for clip in clips])
    count = len(features) // stack
    frames = features[: count * stack].view(count, stack, width)[torch.randperm(count)[:MOST_FRAMES]].float()
    quantiser.mean.copy_(frames.mean((0, 1)))
    frames -= quantiser.mean
    strength, directions = torch.linalg.eigh(metric)
    root = directions * strength.clamp(min=0).sqrt()  # |x root|^2 is x's worth
    inverse = torch.linalg.pinv(root)
    weighed = (frames @ root).flatten(1)
    energy, components = torch.linalg.eigh(weighed.T @ weighed / len(weighed))
    components = components[:, -INNER:].flip(1).view(stack, width, INNER)
    scale = math.sqrt(float(energy.sum()) / LATENT)
    quantiser.project.weight.copy_((root @ components).flatten(0, 1).T / scale)
    quantiser.to_latent.weight.copy_(torch.eye(LATENT, INNER))
    back = (components.transpose(1, 2) @ inverse).transpose(0, 1).flatten(1) * scale
    quantiser.from_latent.weight.copy_(back[:LATENT].T)
    for silent in (quantiser.to_latent_more.weight, quantiser.from_hidden.weight, quantiser.from_hidden.bias):
        silent.zero_()
    rest = quantiser.to_latent(quantiser.project(frames.flatten(1)))
    for book in quantiser.books:
        book.copy_(k_means(rest))
        rest = rest - book[nearest(rest, book)]
    return quantiser


def k_means(points: Tensor) -> Tensor:
    """SIZE centres, shape = (SIZE, LATENT), of points, shape = (n, LATENT)."""
    centres = points[torch.randperm(len(points))[:SIZE]].clone()
    for _ in range(ROUNDS):
        members = nearest(points, centres)
        counts = torch.bincount(members, minlength=SIZE)
        sums = torch.zeros_like(centres).index_add_(0, members, points)
        alone = counts < 2
        centres = sums / counts.clamp(min=1)[:, None]
        centres[alone] = points[torch.randperm(len(points))[: int(alone.sum())]]
    return centres


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Which centre is nearest to each point."""
    return (points @ centres.T - centres.square().sum(1) / 2).argmax(1)
