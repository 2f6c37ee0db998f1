"""The other ways to stream: their policies on scripted transcripts, and all of them on real speech."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import comparison
from benchmarks.faster_whisper_model import Passage, load_faster_whisper
from benchmarks.local_agreement import PROMPT_CHARACTERS, Agreement, LocalAgreement
from benchmarks.paced_playing import Played, play_paced
from benchmarks.sliding_window import SlidingWindow
from benchmarks.speech_tars import SAMPLE_RATE, Clip
from benchmarks.word_errors import count_errors
from voicewire.asr.errors import WeightsError
from voicewire.asr.events import Word

SECOND = np.zeros(SAMPLE_RATE, np.float32)


def words(text: str, start_s: float = 0.0) -> list[Word]:
    """One word a second, each taking 0.8 s."""
    return [
        Word(f" {one}", start_s + at, start_s + at + 0.8, 1.0, 0.0) for at, one in enumerate(text.split())
    ]


def text(said: Sequence[Word]) -> str:
    return "".join(word.text for word in said).strip()


def test_what_two_transcripts_in_a_row_agree_on_is_committed() -> None:
    agreement = Agreement()
    assert agreement.take(words("a pig")) == []
    assert text(agreement.take(words("a big dog"))) == "a"
    assert text(agreement.take(words("a big dog ran"))) == "big dog"
    assert agreement.take(words("a pig dog flew")) == []
    assert text(agreement.finish()) == "flew"
    assert text(agreement.committed) == "a big dog flew"


def test_a_repeated_beginning_is_not_committed_again() -> None:
    agreement = Agreement(committed=words("the big dog"))
    moved = words("big dog ran off", start_s=2.75)
    assert agreement.take(moved) == []
    assert text(agreement.take(moved)) == "ran off"


def test_the_audio_is_cut_behind_committed_segments_and_the_text_becomes_the_prompt() -> None:
    heard: list[tuple[float, str]] = []

    def transcribe(samples: np.ndarray, prompt: str) -> list[Passage]:
        """Says one word for each second, in segments of five."""
        seconds = len(samples) / SAMPLE_RATE
        heard.append((seconds, prompt))
        first = round(stream._start_s)
        said = [f"word{first + at}" for at in range(int(seconds))]
        groups = [said[at : at + 5] for at in range(0, len(said), 5)]
        return [
            Passage(5.0 * at + len(group), tuple(words(" ".join(group), 5.0 * at)))
            for at, group in enumerate(groups)
        ]

    stream = LocalAgreement(transcribe)
    said = [word for _ in range(60) for word in stream.hear(SECOND)] + stream.finish()
    assert text(said) == " ".join(f"word{at}" for at in range(60))
    assert [word.start_s for word in said] == pytest.approx(range(60))
    assert max(seconds for seconds, _ in heard) == 16
    longest = max((prompt for _, prompt in heard), key=len)
    assert PROMPT_CHARACTERS - 10 < len(longest) <= PROMPT_CHARACTERS
    assert longest.split()[0].startswith("word")


def test_words_of_a_sliding_window_are_final_when_they_are_old() -> None:
    def transcribe(samples: np.ndarray, prompt: str) -> list[Passage]:
        seconds = len(samples) // SAMPLE_RATE
        start = round((stream._heard - len(samples)) / SAMPLE_RATE)
        # The times of a word are never quite the same twice.
        shake = 0.05 * (-1) ** stream._heard
        return [Passage(seconds, tuple(words(" ".join(f"w{start + at}" for at in range(seconds)), shake)))]

    stream = SlidingWindow(transcribe, window_s=5, settle_s=2)
    news = [text(stream.hear(SECOND)) for _ in range(9)]
    assert news == ["", "", "w0", "w1", "w2", "w3", "w4", "w5", "w6"]
    assert text(stream.finish()) == "w7 w8"
    assert stream.finish() == []


class Slow:
    """Says a word a step, and takes half as long again as its audio."""

    step_s = 1.0

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock
        self.pieces: list[int] = []

    def hear(self, samples: np.ndarray) -> list[Word]:
        self.pieces.append(len(samples))
        self.clock[0] += 1.5 * len(samples) / SAMPLE_RATE
        return words("so")

    def finish(self) -> list[Word]:
        return words("end")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [0.0]
    monkeypatch.setattr("benchmarks.paced_playing.time.process_time", lambda: now[0])
    return now


def test_a_recogniser_that_is_too_slow_falls_behind(clock: list[float]) -> None:
    samples = np.zeros(4 * SAMPLE_RATE, np.float32)
    slow = Slow(clock)
    played = play_paced(slow, samples)
    # It hears a second at 1 s and is done at 2.5; then 1.5 s more, done at 4.75; then the rest, done at 7.
    assert [piece / SAMPLE_RATE for piece in slow.pieces] == [1.0, 1.5, 1.5]
    assert played.committed_s == pytest.approx((2.5, 4.75, 7.0, 7.0))
    assert (played.cpu_s, played.audio_s, played.behind_s) == pytest.approx((6.0, 4.0, 3.0))
    assert Played.from_text(played.as_text()) == played
    free = play_paced(Slow(clock), samples, free=True)
    assert free.committed_s == pytest.approx((1, 2, 3, 4, 4))
    assert free.cpu_s == pytest.approx(6.0)


def test_weights_that_are_not_installed_are_named() -> None:
    with pytest.raises(WeightsError, match="large-v3"):
        load_faster_whisper("large-v3")


def test_local_agreement_never_takes_back_what_it_said(clips: Callable[[str, int], list[Clip]]) -> None:
    """Real speech, and the smallest weights: the committed text grows, and ends as the speech does."""
    [clip] = [one for one in clips("words-00", 6) if 4 < one.duration < 6]
    stream = LocalAgreement(load_faster_whisper("tiny.en", "int8", beam=1))
    said: list[Word] = []
    for start in range(0, len(clip.samples), SAMPLE_RATE):
        before = text(said)
        said += stream.hear(clip.samples[start : start + SAMPLE_RATE])
        assert text(said).startswith(before)
        assert all(word.end_s <= start / SAMPLE_RATE + 1.5 for word in said)
    assert said
    said += stream.finish()
    rate = count_errors(clip.text, text(said)).rate
    assert rate is not None
    assert rate < 0.5


def test_all_of_them_play_the_same_streams(
    clips: Callable[[str, int], list[Clip]], speech_tar: Callable[[str], Path], tmp_path: Path
) -> None:
    out, page = tmp_path / "comparison.json", tmp_path / "comparison.md"
    tar = str(speech_tar("dev-01"))
    arguments = ["--data", tar, "--limit", "1", "--minutes", "0.08", "--json", str(out)]
    # The smallest weights, which no adapter has taught to stream: quick, and as bad as it may be.
    arguments += ["--settings", "300:1200", "--beam", "1", "--model", "tiny.en", "--adapter", "none"]
    comparison.main([*arguments, "--markdown", str(page)])
    found = json.loads(out.read_text())["recognisers"]
    assert [one["recogniser"].split()[0] for one in found] == ["voicewire", "LocalAgreement-2", "sliding"]
    assert len({(one["words"], one["streams"], one["minutes"]) for one in found}) == 1
    assert all(one["committed_delay_s"]["count"] > 2 for one in found[1:])
    assert all(one["compute_s_per_audio_s"] > 0 for one in found)
    assert "difference" not in found[0]
    assert page.read_text().count("| float32 |") == 3
    lines = out.with_suffix(".transcripts.jsonl").read_text().split("\n")
    comparison.main(arguments)
    assert json.loads(out.read_text())["recognisers"] == found
    assert sorted(filter(None, lines)) == sorted(
        filter(None, out.with_suffix(".transcripts.jsonl").read_text().split("\n"))
    )
