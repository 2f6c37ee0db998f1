"""Every moment of a stream in one pass: which tokens a window's decoder is asked for, having heard how much.

The rows of a window are its prompt and tokens in order, each of which has heard as much as it will have heard in
a stream when the token after it is due (*emit*), and copies of some of them that have heard less, where the
stream must still wait (*wait*), or more, where a token was missed and is said all the same (*late*). A row sees
the emit rows before it and itself. That is what the recogniser does over time, so nothing differs between
training and running.

Without late rows a decoder that missed one token at its due moment never says anything again.
"""

import random
from bisect import bisect_left
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from voicewire.asr.settings import FRAME_S
from voicewire.asr.train.network import Text

BLOCKS = {5: 0.05, 10: 0.1, 15: 0.35, 30: 0.1, 60: 0.2, 80: 0.2}  # frames of a block, where all are alike
MIXED_BLOCKS = {15: 0.3, 35: 0.15, 50: 0.1, 65: 0.15, 80: 0.3}  # a tail behind committed blocks
UNIFORM = 0.45  # of batches
LATE_S = 1.5  # how long after its due moment a missed token is still asked for
LATE_SHARE = 0.45  # of tokens


class Kind(IntEnum):
    """What a row is there for."""

    NONE = -1  # prompt, or padding
    EMIT = 0
    WAIT = 1
    LATE = 2


@dataclass(frozen=True)
class Row:
    """A row of the decoder.

    Attributes:
        position: of its token in prompt and text.
        visible: frames that it has heard.
        label: what it should predict; -1 for nothing.
    """

    position: int
    visible: int
    label: int
    kind: Kind


def draw_blocks(frames: int, chance: random.Random) -> list[int]:
    """Where the blocks of a batch end: all of one length, or mixed, as a tail behind committed blocks is."""
    kinds = BLOCKS if chance.random() < UNIFORM else MIXED_BLOCKS
    lengths = list(kinds)
    chances = list(kinds.values())
    if kinds is BLOCKS:
        length = chance.choices(lengths, chances)[0]
        return [*range(length, frames, length), frames]
    ends = [0]
    while ends[-1] < frames:
        ends.append(min(frames, ends[-1] + chance.choices(lengths, chances)[0]))
    return ends[1:]


def draw_rows(
    prompt: int,
    tokens: list[int],
    due: list[float],
    ends: list[int],
    wait: int,
    chance: random.Random,
    *,
    slack_s: float,
    late: float,
) -> list[Row]:
    """The rows of one window: prompt and emit rows first, in order.

    Args:
        prompt: how many tokens it has, at least 1.
        tokens: of the text.
        due: seconds from the window's start when each of them should be said.
        ends: the blocks' ends in frames.
        wait: the token that means waiting.
        chance: where chance comes from.
        slack_s: how much audio after its due moment a token may wait for.
        late: share of tokens that are due one block later.
    """
    blocks = _due_blocks(due, ends, chance, slack_s, late)
    rows = [Row(position, ends[0], -1, Kind.NONE) for position in range(prompt - 1)]
    base = prompt - 1
    rows += [
        Row(base + place, ends[block], token, Kind.EMIT)
        for place, (token, block) in enumerate(zip(tokens, blocks, strict=True))
    ]
    for place in range(len(tokens) + 1):
        first = blocks[place - 1] if place else 0
        last = blocks[place] - 1 if place < len(tokens) else len(ends) - 1
        if first <= last:
            waits = _wait_blocks(first, last, place < len(tokens), chance)
            rows += [Row(base + place, ends[block], wait, Kind.WAIT) for block in waits]
    reach = max(2, round(LATE_S / FRAME_S / max(5, ends[0])))
    rows += [
        Row(base + place, ends[min(len(ends) - 1, block + chance.randint(1, reach))], token, Kind.LATE)
        for place, (token, block) in enumerate(zip(tokens, blocks, strict=True))
        if chance.random() < LATE_SHARE
    ]
    return rows


def _due_blocks(
    due: list[float], ends: list[int], chance: random.Random, slack_s: float, late: float
) -> list[int]:
    """The block at whose end each token is said."""
    blocks: list[int] = []
    for time in due:
        block = bisect_left(ends, (time + slack_s) / FRAME_S) + (chance.random() < late)
        blocks.append(min(max(block, blocks[-1] if blocks else 0), len(ends) - 1))
    return blocks


def _wait_blocks(first: int, last: int, before_token: bool, chance: random.Random) -> list[int]:
    """Blocks, of those from `first` to `last`, at whose end the stream must wait; the hardest most often: just
    before a token is due, and just after the one before it was said.
    """
    draw = chance.random()
    if draw < 0.4 and before_token:
        blocks = [last]
    elif draw < 0.55:
        blocks = [first]
    else:
        blocks = [chance.randint(first, last)]
    blocks += [
        chance.randint(first, last) for _ in range(min(4, (last - first) // 5)) if chance.random() < 0.5
    ]
    return blocks


def stack(windows: list[list[Row]], tokens: list[list[int]], frames: int, dtype: torch.dtype) -> Text:
    """Rows of several windows as the decoder takes them.

    Args:
        windows: rows, prompt and emit rows first.
        tokens: of each window, prompt and text.
        frames: of the encoder's output.
        dtype: of the masks.
    """
    longest = max(len(rows) for rows in windows)
    shape = (len(windows), longest)
    ids, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    visible = torch.ones(shape, dtype=torch.long)
    seen = torch.eye(longest, dtype=torch.bool).repeat(len(windows), 1, 1)
    for index, (rows, known) in enumerate(zip(windows, tokens, strict=True)):
        count = len(rows)
        places = torch.tensor([row.position for row in rows])
        positions[index, :count] = places
        ids[index, :count] = torch.tensor(known)[places]
        visible[index, :count] = torch.tensor([row.visible for row in rows])
        first = sum(row.kind in (Kind.NONE, Kind.EMIT) for row in rows)
        seen[index, :count, :first] |= torch.arange(first) < places[:, None]
    heard = torch.arange(frames) < visible[:, :, None]
    return Text(ids, positions, _additive(seen, dtype), _additive(heard, dtype))


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """(windows, rows, columns) -> (windows, 1, rows, columns); minus infinity where not allowed."""
    mask = torch.zeros(allowed.shape, dtype=dtype)
    return mask.masked_fill_(~allowed, float("-inf"))[:, None]
