"""Which rows a window's decoder has, for any text, any blocks and any luck."""

import random

import torch
from hypothesis import given
from hypothesis import strategies as st

from voicewire.asr.settings import FRAME_S
from voicewire.asr.train.labels import in_order
from voicewire.asr.train.positions import Kind, Row, draw_blocks, draw_rows, stack

FRAMES = 1500
SLACK_S = 0.12
WAIT = 50_257
seeds = st.integers(0, 2**32)
due_times = st.lists(st.floats(0, 29.8), max_size=40).map(sorted)


def draw(seed: int, due: list[float], prompt: int = 3, late: float = 0.12) -> tuple[list[int], list[Row]]:
    chance = random.Random(seed)
    ends = draw_blocks(FRAMES, chance)
    tokens = list(range(100, 100 + len(due)))
    return ends, draw_rows(prompt, tokens, due, ends, WAIT, chance, slack_s=SLACK_S, late=late)


def of(rows: list[Row], *kinds: Kind) -> list[Row]:
    return [row for row in rows if row.kind in kinds]


@given(seed=seeds)
def test_blocks_fill_the_window(seed: int) -> None:
    ends = draw_blocks(FRAMES, random.Random(seed))
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert ends[-1] == FRAMES
    assert all(0 < length <= 80 for length in lengths)


@given(seed=seeds, due=due_times)
def test_every_row_has_heard_whole_blocks(seed: int, due: list[float]) -> None:
    ends, rows = draw(seed, due)
    assert {row.visible for row in rows} <= set(ends)


@given(seed=seeds, due=due_times, prompt=st.integers(1, 6))
def test_the_emit_rows_are_prompt_and_text_in_order(seed: int, due: list[float], prompt: int) -> None:
    _, rows = draw(seed, due, prompt)
    first = of(rows, Kind.NONE, Kind.EMIT)
    assert rows[: len(first)] == first
    assert [row.position for row in first] == list(range(prompt - 1 + len(due)))
    assert [row.label for row in of(rows, Kind.EMIT)] == list(range(100, 100 + len(due)))


@given(seed=seeds, due=due_times, late=st.sampled_from([0.0, 0.5, 1.0]))
def test_a_token_is_said_when_it_has_been_heard_and_in_order(
    seed: int, due: list[float], late: float
) -> None:
    ends, rows = draw(seed, due, late=late)
    emits = of(rows, Kind.EMIT)
    heard = [row.visible for row in emits]
    assert heard == sorted(heard)
    for row, time in zip(emits, due, strict=True):
        assert row.visible * FRAME_S >= min(time + SLACK_S, FRAMES * FRAME_S) - 1e-6
    if not late:  # and not a block later than need be
        blocks = [0, *ends]
        for row, time in zip(emits, due, strict=True):
            assert blocks[blocks.index(row.visible) - 1] * FRAME_S < time + SLACK_S + 1e-6


@given(seed=seeds, due=due_times)
def test_a_stream_waits_between_one_token_and_the_next(seed: int, due: list[float]) -> None:
    ends, rows = draw(seed, due)
    emits = {row.position: row.visible for row in of(rows, Kind.EMIT)}
    for row in of(rows, Kind.WAIT):
        assert row.label == WAIT
        assert row.visible < emits.get(row.position, FRAMES + 1)  # before the token after it is due
        assert row.visible >= emits.get(
            row.position - 1, 0
        )  # and not before the one that it follows was said
    # wherever there is a block to wait in, one row of it waits
    waiting = {row.position for row in of(rows, Kind.WAIT)}
    for place in range(len(due) + 1):
        begin = emits.get(place + 1, ends[0])  # 3 tokens of prompt: the text's first one is predicted from 2
        end = emits.get(place + 2, FRAMES + 1)
        if begin < end:
            assert place + 2 in waiting


@given(seed=seeds, due=due_times)
def test_a_missed_token_is_asked_for_later(seed: int, due: list[float]) -> None:
    ends, rows = draw(seed, due)
    emits = {row.position: row for row in of(rows, Kind.EMIT)}
    for row in of(rows, Kind.LATE):
        emit = emits[row.position]
        assert row.label == emit.label
        assert row.visible > emit.visible or emit.visible == ends[-1]


def test_late_rows_are_a_fair_share() -> None:
    """Without them a stream that misses a token never goes on."""
    due = in_order([0.5 * token for token in range(50)])
    shares = [len(of(draw(seed, due)[1], Kind.LATE)) / len(due) for seed in range(40)]
    assert 0.35 < sum(shares) / len(shares) < 0.55


@given(seed=seeds, lengths=st.lists(st.integers(0, 8), min_size=1, max_size=3))
def test_a_row_sees_the_emit_rows_before_it_and_itself(seed: int, lengths: list[int]) -> None:
    windows = [draw(seed + index, [1.0 + place for place in range(n)])[1] for index, n in enumerate(lengths)]
    tokens = [[7, 8, 9, *range(100, 100 + n)] for n in lengths]
    text = stack(windows, tokens, FRAMES, torch.float32)
    longest = max(map(len, windows))
    assert text.seen.shape == (len(windows), 1, longest, longest)
    assert text.heard.shape == (len(windows), 1, longest, FRAMES)
    for index, rows in enumerate(windows):
        for place, row in enumerate(rows):
            before = {
                other
                for other, one in enumerate(rows)
                if one.kind in (Kind.NONE, Kind.EMIT) and one.position < row.position
            }
            sees = set(torch.nonzero(text.seen[index, 0, place] == 0).flatten().tolist())
            assert sees == before | {place}
            assert int((text.heard[index, 0, place] == 0).sum()) == row.visible
            assert text.tokens[index, place] == tokens[index][row.position]
            assert text.positions[index, place] == row.position
        for padding in range(len(rows), longest):  # sees itself alone, so that its softmax has something
            assert torch.nonzero(text.seen[index, 0, padding] == 0).flatten().tolist() == [padding]
            assert (text.heard[index, 0, padding] == 0).any()
