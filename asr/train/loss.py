"""What a batch of windows costs: tokens at their due moments, waiting, missed tokens, and how far the encoder's
output is from the unmodified model's.
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from voicewire.asr.tokens import Vocabulary
from voicewire.asr.train.attention import block_groups, whole_groups
from voicewire.asr.train.network import AdaptedWhisper
from voicewire.asr.train.positions import Kind, Row, draw_blocks, draw_rows, stack
from voicewire.asr.train.settings import FitSettings
from voicewire.asr.train.windows import MELS, Window

FRAMES = MELS // 2
BEST = 24  # of the unmodified model's tokens, which stand for all of its opinion
_MISTAKES = 5  # of which one may be put in a token's place


@dataclass(frozen=True)
class Loss:
    """A batch's.

    Attributes:
        total: to be minimised; a scalar.
        parts: what it is made of, and the shares of right tokens, by name.
    """

    total: Tensor
    parts: dict[str, float]


@dataclass(frozen=True)
class _Opinion:
    """The unmodified model's, of each token of the batch: probabilities and ids, shape = (tokens, BEST)."""

    probabilities: Tensor
    ids: Tensor


def batch_loss(
    model: AdaptedWhisper,
    windows: list[Window],
    vocabulary: Vocabulary,
    settings: FitSettings,
    chance: random.Random,
) -> Loss:
    """The loss of some windows under blocks drawn by `chance`."""
    ends = draw_blocks(FRAMES, chance)
    known = [[*vocabulary.prompt(window.history), *window.tokens] for window in windows]
    rows = [
        draw_rows(
            len(tokens) - len(window.tokens),
            window.tokens,
            window.due,
            ends,
            vocabulary.wait,
            chance,
            slack_s=settings.slack_s,
            late=settings.late,
        )
        for window, tokens in zip(windows, known, strict=True)
    ]
    wanted, opinion = _ask_unmodified(model, windows, known, rows)
    spoiled = _spoil(known, windows, opinion, settings.spoiled, chance)
    groups = block_groups(ends, model.dtype, model.device)
    text = stack(rows, spoiled, FRAMES, model.dtype).to(model.device)
    mel = torch.stack([window.mel for window in windows]).to(model.device)
    features, hidden = model.run(mel, groups, text)
    assert hidden is not None
    far = F.mse_loss(features.float(), wanted) / wanted.square().mean()
    return _total(_predictions(model, hidden, rows), rows, opinion, far, settings)


@torch.no_grad()
def _ask_unmodified(
    model: AdaptedWhisper, windows: list[Window], known: list[list[int]], rows: list[list[Row]]
) -> tuple[Tensor, _Opinion]:
    """What the unmodified model, which hears all of the clean window at once, encodes and would say."""
    whole = [
        [
            Row(row.position, FRAMES, row.label, row.kind)
            for row in window
            if row.kind in (Kind.NONE, Kind.EMIT)
        ]
        for window in rows
    ]
    text = stack(whole, known, FRAMES, model.dtype).to(model.device)
    mel = torch.stack([window.clean for window in windows]).to(model.device)
    features, hidden = model.run(mel, whole_groups(FRAMES), text, frozen=True)
    assert hidden is not None
    emit = _places(whole, Kind.EMIT, hidden.shape[1]).to(model.device)
    best = F.linear(hidden.flatten(0, 1)[emit], model.embedding).float().log_softmax(-1).topk(BEST)
    return features.float(), _Opinion(best.values.exp(), best.indices)


def _spoil(
    known: list[list[int]], windows: list[Window], opinion: _Opinion, share: float, chance: random.Random
) -> list[list[int]]:
    """Prompts and texts with some tokens replaced by what the unmodified model might have said instead: a stream
    has its own mistakes behind it, and must go on from them.
    """
    spoiled = []
    ids = opinion.ids.cpu()
    row = 0
    for tokens, window in zip(known, windows, strict=True):
        first = len(tokens) - len(window.tokens)
        changed = list(tokens)
        careless = chance.random() < 0.5
        for place in range(first, len(tokens)):
            if careless and chance.random() < 2 * share:
                changed[place] = int(ids[row, chance.randrange(_MISTAKES)])
            row += 1
        spoiled.append(changed)
    return spoiled


def _predictions(model: AdaptedWhisper, hidden: Tensor, rows: list[list[Row]]) -> Tensor:
    """Log probabilities of the rows that have a label: emit, then wait, then late; shape = (rows, n_vocab)."""
    flat = hidden.flatten(0, 1)
    places = torch.cat([_places(rows, kind, hidden.shape[1]) for kind in (Kind.EMIT, Kind.WAIT, Kind.LATE)])
    return F.linear(flat[places.to(flat.device)], model.embedding).float().log_softmax(-1)


def _places(rows: list[list[Row]], kind: Kind, width: int) -> Tensor:
    """Where the rows of a kind stand among all windows' rows."""
    return torch.tensor(
        [
            window * width + place
            for window, own in enumerate(rows)
            for place, row in enumerate(own)
            if row.kind == kind
        ],
        dtype=torch.long,
    )


def _total(
    logarithms: Tensor, rows: list[list[Row]], opinion: _Opinion, far: Tensor, settings: FitSettings
) -> Loss:
    kinds = (Kind.EMIT, Kind.WAIT, Kind.LATE)
    labels = [[row.label for own in rows for row in own if row.kind == kind] for kind in kinds]
    split = logarithms.split([len(some) for some in labels])
    label = torch.tensor([one for some in labels for one in some], device=logarithms.device)
    right = (logarithms.detach().argmax(-1) == label).float().split([len(some) for some in labels])
    emit, wait, late = (_negative(part, some) for part, some in zip(split, labels, strict=True))
    taught = -(opinion.probabilities * split[0].gather(1, opinion.ids)).sum(1)
    taught = taught.mean() if len(taught) else far.new_zeros(())
    total = (
        settings.hard * emit
        + (1 - settings.hard) * taught
        + settings.wait_loss * wait
        + settings.late_loss * late
        + settings.feature_loss * far
    )
    parts = {"emit": emit, "taught": taught, "wait": wait, "late": late, "features": far, "total": total}
    shares = {
        f"{kind.name.lower()}_right": one.mean() for kind, one in zip(kinds, right, strict=True) if len(one)
    }
    return Loss(total, {name: float(value.detach()) for name, value in (parts | shares).items()})


def _negative(logarithms: Tensor, labels: list[int]) -> Tensor:
    """Mean cross-entropy; 0 where there is nothing."""
    if not labels:
        return logarithms.new_zeros(())
    return F.nll_loss(logarithms, torch.tensor(labels, device=logarithms.device))
