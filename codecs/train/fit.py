"""Training of a quantiser through Whisper's decoder: with its features it should expect what it expects with the
encoder's own, wherever in the text it is and however much it has heard.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from voicewire.asr.model import CausalWhisper
from voicewire.asr.tokens import Vocabulary
from voicewire.codecs.quantiser import SIZE, Quantiser
from voicewire.codecs.train.beginning import nearest
from voicewire.codecs.train.material import Clip
from voicewire.codecs.train.reading import Text, keys_and_values, read

BATCH = 6
RATE = 1e-3
LEAST_RATE = 3e-5
WARM_STEPS = 50
LARGEST_GRADIENT = 1.0
# A token is asked for when so many frames before to so many behind the moment it is due have been heard.
EARLIEST, LATEST = -10, 60
# What the parts of the loss weigh beside the decoder's predictions: keys and values, voice, nearness to the codes.
SQUARES, VOICE, COMMITMENT = 0.1, 0.3, 0.25
MEMORY = 0.99  # of a codebook's running means
FORGOTTEN = 0.02  # uses a step, below which an entry begins anew


@dataclass(frozen=True)
class Progress:
    """One step of one quantiser.

    Attributes:
        codebooks: how many it used.
        divergence: of the decoder's predictions, in nats per token.
        squares: error of keys and values, as a share of their variance.
        agreement: share of the tokens that the decoder finds likeliest with both.
    """

    codebooks: int
    divergence: float
    squares: float
    agreement: float


class Codebooks:
    """Entries as running means of what they stood for (A. van den Oord et al., "Neural discrete representation
    learning", 2017, appendix A.1)."""

    def __init__(self, quantiser: Quantiser) -> None:
        self.books = quantiser.books
        self.uses = torch.full(self.books.shape[:2], 0.2)
        self.sums = self.books * self.uses[..., None]

    @torch.no_grad()
    def quantise(self, latents: Tensor, codebooks: int) -> Tensor:
        """The entries' sum nearest to each latent; the entries follow what they stood for."""
        rest = latents
        for index in range(codebooks):
            members = nearest(rest, self.books[index])
            left = rest - self.books[index][members]
            self._follow(index, members, rest)
            rest = left
        return latents - rest

    def _follow(self, index: int, members: Tensor, points: Tensor) -> None:
        uses, sums = self.uses[index], self.sums[index]
        uses.mul_(MEMORY).add_(torch.bincount(members, minlength=SIZE), alpha=1 - MEMORY)
        sums.mul_(MEMORY).index_add_(0, members, points, alpha=1 - MEMORY)
        self.books[index] = sums / uses.clamp(min=1e-3)[:, None]
        gone = (uses < FORGOTTEN).nonzero()[:, 0]
        chosen = points[torch.randint(len(points), (len(gone),))]
        self.books[index, gone] = chosen
        uses[gone], sums[gone] = 0.1, chosen * 0.1


class Learner:
    """One quantiser and its optimiser."""

    def __init__(self, quantiser: Quantiser, choices: Sequence[int]) -> None:
        self.quantiser = quantiser
        self.choices = choices
        self.codebooks = Codebooks(quantiser)
        self.optimiser = torch.optim.AdamW(quantiser.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01)

    def through(self, clips: Sequence[Clip], codebooks: int) -> tuple[list[Tensor], Tensor, Tensor]:
        """Features that were codes, logits of voice, and how far latents are from their codes."""
        quantiser = self.quantiser
        analysed = [quantiser.analyse(clip.features.float(), quantiser.context.start())[0] for clip in clips]
        latents = torch.cat(analysed)
        chosen = self.codebooks.quantise(latents.detach(), codebooks)
        passed = latents + (chosen - latents).detach()  # the gradient goes straight through
        made = [
            quantiser.synthesise(each, quantiser.start())[:2]
            for each in passed.split([len(each) for each in analysed])
        ]
        voice = torch.cat([logits for _, logits in made])
        return [features for features, _ in made], voice, F.mse_loss(latents, chosen)

    def step(self, loss: Tensor, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.quantiser.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()


class Trainer:
    """Trains a quantiser.

    Args:
        model: with weights that torch can differentiate through, not packed; bfloat16 is well enough.
        places: see places.py.
        vocabulary: of the texts' language.
        learner: the quantiser.
        clips: see material.py.
    """

    def __init__(
        self,
        model: CausalWhisper,
        places: Tensor,
        vocabulary: Vocabulary,
        learner: Learner,
        clips: Sequence[Clip],
        seed: int = 0,
    ) -> None:
        self.model, self.places, self.vocabulary = model, places, vocabulary
        self.learner, self.clips = learner, clips
        self.steps = 0
        self._rng = random.Random(seed)
        self._order = self._endlessly()

    def step(self, share: float) -> Progress:
        """One step; `share` is how much of the training is over, 0 to 1."""
        clips = [next(self._order) for _ in range(BATCH)]
        texts = [self._text(clip) for clip in clips]
        places = [self.places[: len(clip.features)] for clip in clips]
        with torch.no_grad():
            own = [clip.features.float() + place for clip, place in zip(clips, places, strict=True)]
            kv = keys_and_values(self.model.decoder, own)
            expected = read(self.model, kv, texts).log_softmax(-1)
        self.steps += 1
        rate = LEAST_RATE + (RATE - LEAST_RATE) * (1 + math.cos(math.pi * share)) / 2
        rate *= min(1.0, self.steps / WARM_STEPS)
        return self._teach(clips, texts, places, kv, expected, rate)

    def _teach(
        self,
        clips: list[Clip],
        texts: list[Text],
        places: list[Tensor],
        kv: list[Tensor],
        expected: Tensor,
        rate: float,
    ) -> Progress:
        learner = self.learner
        codebooks = self._rng.choice(learner.choices)
        features, voice, distance = learner.through(clips, codebooks)
        placed = [each + place for each, place in zip(features, places, strict=True)]
        found = keys_and_values(self.model.decoder, placed)
        predicted = read(self.model, found, texts).log_softmax(-1)
        divergence = (expected.exp() * (expected - predicted)).sum(1).mean()
        wanted = torch.cat(kv).float()
        squares = F.mse_loss(torch.cat(found).float(), wanted) / (wanted - wanted.mean(0)).square().mean()
        heard = torch.cat([clip.voice for clip in clips]).float()
        speech = F.binary_cross_entropy_with_logits(voice, heard)
        learner.step(divergence + SQUARES * squares + VOICE * speech + COMMITMENT * distance, rate)
        agreement = (predicted.argmax(1) == expected.argmax(1)).float().mean()
        return Progress(codebooks, divergence.item(), squares.item(), agreement.item())

    def _endlessly(self) -> Iterator[Clip]:
        while True:
            yield from self._rng.sample(list(self.clips), len(self.clips))

    def _text(self, clip: Clip) -> Text:
        """A clip's tokens, each to be predicted with a little more or less heard than it takes; then the wait."""
        count = len(clip.features)
        limits, latest = [], 1
        for due in clip.due:
            latest = max(latest, min(count, due + self._rng.randint(EARLIEST, LATEST)))
            limits.append(latest)
        limits.append(count)
        start = list(self.vocabulary.start)
        return Text(start + clip.tokens, limits[:1] * (len(start) - 1) + limits)
