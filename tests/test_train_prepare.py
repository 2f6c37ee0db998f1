"""Real recordings prepared by a real, small Whisper."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.speech_tars import Clip
from tests.training import RATE, pair, timed_clips, write_tar
from voicewire.asr.errors import AudioError
from voicewire.asr.train.prepare import GAP_S, Packed, Preparer, Summary
from voicewire.asr.train.shards import Shard, label_file
from voicewire.asr.train.tars import Recording
from voicewire.asr.train.teacher import WINDOW_S, Teacher
from voicewire.asr.weights import load_checkpoint

CLIPS = 5


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher(load_checkpoint("tiny.en", download=False), "en", torch.float32, "cpu", count=2)


@pytest.fixture(scope="module")
def spoken_clips(speech_tar: Callable[[str], Path]) -> list[Clip]:
    return timed_clips(speech_tar("dev-00"), CLIPS)


@pytest.fixture(scope="module")
def prepared(teacher: Teacher, spoken_clips: list[Clip], tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A tar of all kinds of recordings, prepared once: its folder and what became of it."""
    folder = tmp_path_factory.mktemp("prepared")
    known, own = spoken_clips[:3], spoken_clips[3]
    members = {}
    for clip in known:
        members |= pair(
            clip.key, clip.samples, text=clip.text, language="en", corpus="books", speaker="s", words=3
        )
    members |= pair("own", own.samples, text="", language="en", licence="CC0")
    members |= pair("wrong", spoken_clips[4].samples, text=known[0].text, language="en")
    members |= pair("german", known[0].samples, text="Das ist es", language="de")
    members |= pair("short", known[0].samples[:4000], text="the", language="en")
    members |= pair("long", np.tile(known[0].samples, 9)[: 31 * RATE], text="the", language="en")
    members |= pair("noise", 0.1 * known[0].samples[::-1].copy(), text="", language="zxx")
    members |= {"broken.opus": b"none", "broken.json": b"{}"}
    tar = write_tar(folder / "mixed.tar", members)
    return tar, folder, Preparer(teacher).prepare(tar, folder)


@pytest.fixture(scope="module")
def shard(prepared: tuple[Path, Path, Summary]) -> Shard:
    return Shard.open(prepared[1], "mixed")


def test_every_recording_is_accounted_for(prepared: tuple[Path, Path, Summary], shard: Shard) -> None:
    summary = prepared[2]
    assert (summary.kept, summary.dropped, summary.damaged_count) == (4, 4, 1)
    assert "broken" in summary.damaged[0]
    assert summary.noise_s > 1
    assert len(shard.utterances) == 5
    assert {one.key for one in shard.utterances if not one.tokens} == {"noise"}


def test_the_words_are_the_reference_s_in_whisper_s_spelling(shard: Shard, spoken_clips: list[Clip]) -> None:
    texts = {one.key: one.text for one in shard.utterances}
    for clip in spoken_clips[:3]:
        text = texts[clip.key]
        plain = "".join(letter for letter in text.upper() if letter.isalpha() or letter in " '")
        assert plain.split() == clip.text.upper().split()
        assert text[0].isupper()
        assert text != text.upper()
    assert any("." in text or "," in text for text in texts.values())
    own = next(one for one in shard.utterances if one.key == "own")
    assert not own.labelled
    theirs = set(spoken_clips[3].text.lower().split())
    assert len(theirs & set(own.text.lower().strip(".").split())) > 0.6 * len(theirs)


def test_words_are_due_when_they_end(shard: Shard, teacher: Teacher, spoken_clips: list[Clip]) -> None:
    """Against times that a forced aligner found; the small model places words 0.13 s late, base does not."""
    errors = []
    for clip in spoken_clips[:3]:
        utterance = next(one for one in shard.utterances if one.key == clip.key)
        assert utterance.due[-1] <= clip.duration + 0.51  # a stop may come a little later
        spelled = utterance.text.split()
        place = 0
        for word, timed in zip(spelled, clip.words, strict=True):
            count = len(teacher.vocabulary.tokenizer.encode(f" {word}"))
            errors.append(utterance.due[place] - timed.end_s)
            place += count
        assert place == len(utterance.tokens)
    assert abs(float(np.median(errors))) < 0.2
    assert float(np.mean(np.abs(errors) < 0.35)) > 0.85


def test_only_what_a_model_card_needs_is_kept(shard: Shard) -> None:
    facts = {one.key: one.facts for one in shard.utterances}
    assert facts["own"] == {"licence": "CC0"}
    assert set(map(json.dumps, facts.values())) >= {json.dumps({"speaker": "s", "corpus": "books"})}


def test_a_prepared_tar_is_not_read_again(prepared: tuple[Path, Path, Summary], teacher: Teacher) -> None:
    tar, folder, _ = prepared
    before = label_file(folder, "mixed").stat().st_mtime_ns
    moved = tar.rename(folder / "elsewhere.tar")
    try:
        summary = Preparer(teacher).prepare(tar, folder)
    finally:
        moved.rename(tar)
    assert (summary.was_there, summary.kept) == (True, 0)
    assert label_file(folder, "mixed").stat().st_mtime_ns == before


def test_what_fails_leaves_nothing_behind(teacher: Teacher, tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "bad.tar", {"a.flac": b"none", "a.json": b"{}"})
    with pytest.raises(AudioError, match="no recording can be read"):
        Preparer(teacher).prepare(tar, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_progress_is_told(teacher: Teacher, tmp_path: Path) -> None:
    hiss = np.random.default_rng(1).standard_normal(RATE).astype(np.float32) * 0.01
    tar = write_tar(tmp_path / "hiss.tar", pair("a", hiss, language="zxx") | pair("b", hiss, language="zxx"))
    told: list[float] = []
    Preparer(teacher).prepare(tar, tmp_path / "out", told=told.append)
    assert told == [1.0, 1.0]


def test_recordings_are_packed_with_gaps_and_keep_their_words() -> None:
    packed = Packed()
    lengths = [9.0, 12.0, 6.5]
    for index, seconds in enumerate(lengths):
        recording = Recording(
            str(index), np.full(round(seconds * RATE), index + 1.0, np.float32), "x", "en", {}
        )
        assert packed.has_room(recording)
        packed.add(recording)
    assert not packed.has_room(Recording("more", np.ones(RATE, np.float32), "x", "en", {}))
    samples = packed.samples().numpy()
    assert len(samples) == WINDOW_S * RATE
    for index, (start, seconds) in enumerate(zip(packed.starts, lengths, strict=True)):
        piece = samples[round(start * RATE) : round((start + seconds) * RATE)]
        assert (piece == index + 1).all()
        assert packed.owner_of(start) == packed.owner_of(start + seconds) == index
    ends = [start + seconds for start, seconds in zip(packed.starts, lengths, strict=True)]
    assert all(
        start - end == pytest.approx(GAP_S) for start, end in zip(packed.starts[1:], ends, strict=False)
    )
