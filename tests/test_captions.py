"""What captions are made of: pace, delays, and what a terminal or a pipe gets to see."""

import asyncio
import io
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from rich.console import Console

from voicewire.client.audio_files import AudioFile, Block, open_audio
from voicewire.client.captions import CaptionView, LiveView, LogView, PlainView
from voicewire.client.delays import DelayMeter, Spread
from voicewire.client.errors import AudioFileError
from voicewire.client.playback import PIECE_S, Playback
from voicewire.streaming.messages import Encoding, EndpointMessage, TranscriptMessage, WordItem
from voicewire.streaming.subtitles.transcripts import TranscriptBuilder

BOLD, DIM = "\x1b[1m", "\x1b[2m"


def word(text: str, end: float = 0.0) -> WordItem:
    return WordItem(word=text, start=max(0.0, end - 0.3), end=end, probability=0.8, emitted=end)


def news(words: Sequence[WordItem], tail: Sequence[WordItem] = (), utterance: int = 0) -> TranscriptMessage:
    return TranscriptMessage(
        seq=0,
        words=list(words),
        tail=list(tail),
        text="".join(item.word for item in words),
        tail_text="".join(item.word for item in tail),
        utterance=utterance,
        audio_received=0.0,
        audio_processed=0.0,
        buffered_ms=0,
    )


END = EndpointMessage(seq=0, utterance=0, start=0.0, end=1.0, text="")


class Noise:
    """Two seconds of noise as an `AudioSource`."""

    name, sample_rate = "noise", 16_000
    encoding: Encoding = "pcm_s16le"
    duration_s: float | None = 2.0

    def __init__(self, fails_after: int = 1_000, pause_s: float = 0.0) -> None:
        self.closed = False
        self._fails_after = fails_after
        self._pause_s = pause_s

    def blocks(self, block_s: float = PIECE_S) -> Iterator[Block]:
        for number in range(round(2.0 / block_s)):
            if number == self._fails_after:
                raise AudioFileError("the file ends in rubbish")
            time.sleep(self._pause_s)
            yield np.full(round(block_s * self.sample_rate), number, np.float32)

    def seconds_of(self, block: Block) -> float:
        return len(block) / self.sample_rate

    def close(self) -> None:
        self.closed = True


async def played(playback: Playback) -> tuple[list[float], float]:
    """First sample of each piece, and how long they took."""
    began = time.monotonic()
    firsts = [float(piece[0]) async for piece in playback.pieces()]
    return firsts, time.monotonic() - began


async def test_a_file_is_played_at_its_pace() -> None:
    took_s = {}
    for speed in (4.0, 0.0):
        source = Noise()
        playback = Playback(source, speed=speed)
        firsts, took_s[speed] = await played(playback)
        assert firsts == list(range(20))
        assert playback.position_s == pytest.approx(2.0)
        await until_closed(source)
    assert took_s[4.0] >= 0.5 - 0.01
    assert took_s[0.0] < took_s[4.0]


async def until_closed(source: Noise) -> None:
    deadline = time.monotonic() + 5
    while not source.closed:
        assert time.monotonic() < deadline, "a source is closed by whoever plays it"
        await asyncio.sleep(0.01)


async def test_a_piece_comes_when_its_last_sample_was_spoken() -> None:
    playback = Playback(Noise(), speed=4.0)
    async for _ in playback.pieces():
        assert playback.since_spoken(playback.position_s) >= 0.0, "never before"


async def test_a_slow_pipe_sets_its_own_pace() -> None:
    """Audio that comes late was spoken late: its words are not charged with the wait."""
    playback = Playback(Noise(pause_s=PIECE_S * 1.5), live=True)
    waits = [playback.since_spoken(playback.position_s) async for _ in playback.pieces()]
    assert min(waits) >= 0.0
    assert min(waits[-5:]) < 0.5, "the wait of a whole second in all would have added up"


async def test_stopping_ends_the_pieces_soon() -> None:
    source = Noise()
    playback = Playback(source, speed=1.0)
    count = 0
    async for _ in playback.pieces():
        count += 1
        if count == 3:
            playback.stop()
    assert count == 3
    await until_closed(source)


async def test_what_a_source_raises_comes_out() -> None:
    source = Noise(fails_after=3)
    with pytest.raises(AudioFileError, match="rubbish"):
        await played(Playback(source, speed=0.0))
    await until_closed(source)


async def test_a_real_file_is_a_source() -> None:
    from tests.serving import CLIP

    audio: AudioFile = open_audio(CLIP)
    pieces = [piece async for piece in Playback(audio, speed=0.0).pieces()]
    assert {len(piece) for piece in pieces[:-1]} == {2_400}
    assert sum(map(len, pieces)) == pytest.approx(23.64 * 24_000, abs=1)


class Clock:
    """The wall clock of a test, in step with audio that began at zero."""

    def __init__(self) -> None:
        self.now = 0.0

    def since_spoken(self, audio_s: float) -> float:
        return self.now - audio_s


def test_a_word_is_shown_first_and_settled_later() -> None:
    clock = Clock()
    meter = DelayMeter(clock.since_spoken)
    for now, event in (
        (0.9, news([], [word(" print", 0.8)])),
        (1.2, news([], [word(" Printing", 1.0), word(" den", 1.1)])),
        (1.5, news([], [word(" printing", 1.0), word(" then", 1.3)])),
        (2.0, news([word(" Printing,", 1.0), word(" then", 1.4)])),
        (2.6, news([word(",", 1.5), word(" for", 2.2)])),
    ):
        clock.now = now
        meter.add(event)
    printing, then, for_ = meter.words
    assert (printing.text, then.text, for_.text) == ("Printing,", "then,", "for")
    assert printing.shown_s == pytest.approx(0.2)  # case and punctuation are no change of mind
    assert printing.settled_s == pytest.approx(1.0)
    assert then.shown_s == pytest.approx(0.1)
    assert then.settled_s == pytest.approx(0.6)  # the comma that came later changes nothing
    assert (for_.shown_s, for_.settled_s) == pytest.approx((0.4, 0.4))  # was never in a tail


def test_a_word_in_two_pieces_is_there_when_the_second_is() -> None:
    clock = Clock()
    meter = DelayMeter(clock.since_spoken)
    clock.now = 1.0
    meter.add(news([word(" princip", 0.5)]))
    clock.now = 2.0
    meter.add(news([word("ally", 0.9)]))
    (whole,) = meter.words
    assert (whole.text, whole.start_s, whole.end_s) == ("principally", 0.2, 0.9)
    assert whole.settled_s == pytest.approx(1.1)


def test_spread_of_delays() -> None:
    spread = Spread.of([float(number) for number in range(101)])
    assert (spread.median_s, spread.p95_s, spread.longest_s) == (50.0, 95.0, 100.0)
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0)


def play(view: CaptionView, events: Sequence[TranscriptMessage | EndpointMessage]) -> None:
    builder = TranscriptBuilder()
    with view:
        for number, event in enumerate(events):
            builder.add(event)
            view.show(builder, float(number), "status")


EVENTS = (
    news([word(" We")], [word(" walk")]),
    news([word(" walk.")], [word(" [On")]),
    news([word(" [On]"), word(" and")], []),
    END,
    news([word(" Last"), word(" words")], [word(" never")], 1),
)


def test_a_pipe_gets_one_line_per_sentence_or_utterance() -> None:
    out = io.StringIO()
    play(PlainView(Console(file=out, width=20)), EVENTS)
    assert out.getvalue() == "We walk.\n[On] and\nLast words\n"
    out = io.StringIO()
    play(PlainView(Console(file=out, width=20)), [news([word(" word")] * 30)])
    assert out.getvalue() == " ".join(["word"] * 30) + "\n", "a pipe has no width"


@pytest.mark.parametrize("view", [PlainView, LogView, LiveView])
def test_what_was_heard_once_more_is_a_line_of_its_own(view: type[PlainView]) -> None:
    out = io.StringIO()
    shown = view(Console(file=out, width=40))
    builder = TranscriptBuilder()
    with shown:
        builder.add(news([word(" We"), word(" wok.")]))
        shown.show(builder, 1.0, "status")
        shown.show_refined("We walk.")
    assert "~ We walk.\n" in out.getvalue()


def test_a_terminal_shows_settled_words_bold_and_the_tail_dim() -> None:
    out = io.StringIO()
    console = Console(
        file=out, width=60, height=10, force_terminal=True, color_system="standard", legacy_windows=False
    )
    play(LiveView(console), EVENTS)
    drawn = out.getvalue()
    assert f"{BOLD}We\x1b[0m{DIM} walk\x1b[0m" in drawn
    assert "status" in drawn
    # What stays when all is over: the finished utterance, and below it the committed words of the last one.
    assert drawn.rstrip().endswith(f"{BOLD}Last words\x1b[0m")
    assert drawn.rindex("We walk. [On] and") < drawn.rindex("Last words")


def test_a_terminal_follows_the_newest_lines() -> None:
    out = io.StringIO()
    console = Console(file=out, width=20, height=8, force_terminal=True, color_system=None)
    view = LiveView(console)
    builder = TranscriptBuilder()
    with view:
        builder.add(news([word(f" word{number}") for number in range(60)]))
        out.truncate(0)
        view.show(builder, 1.0, "status")
        assert "word59" in out.getvalue()
        assert "word1 " not in out.getvalue()
    assert "word1 " in out.getvalue(), "at the end all of it stays on the screen"


def test_a_log_gets_a_line_for_every_change() -> None:
    out = io.StringIO()
    play(LogView(Console(file=out, width=20)), [EVENTS[0], EVENTS[0], *EVENTS[1:]])
    lines = out.getvalue().splitlines()
    assert lines[0] == "   0.0 s  We [walk]"
    assert len(lines) == 5, "the same text again is no news"
    long = io.StringIO()
    play(LogView(Console(file=long)), [news([word(f" word{number}") for number in range(60)])])
    (line,) = long.getvalue().splitlines()
    assert line.endswith("word58 word59")
    assert len(line) < 130
