"""Prepared speech on disk, and the tars that it is made from."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from tests.training import RATE, pair, write_tar
from voicewire.asr.errors import AudioError
from voicewire.asr.train.shards import Shard, ShardWriter, audio_file, is_prepared, label_file, open_shards
from voicewire.asr.train.tars import Recording, read_tar


def tone(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(np.arange(round(seconds * rate)) * 0.1)).astype(np.float32)


def written(folder: Path, name: str = "one") -> Shard:
    writer = ShardWriter(folder, name)
    labels = {
        "tokens": [5, 6],
        "begins": [0.0, 0.4],
        "due": [0.5, 0.9],
        "text": "näch ste",
        "labelled": False,
    }
    writer.add(tone(), "a", **labels, agreement=0.8, facts={"corpus": "c"})
    writer.add(tone(0.5) * 9, "b")
    writer.close()
    return Shard.open(folder, name)


# shards


def test_a_shard_gives_back_what_was_written(tmp_path: Path) -> None:
    shard = written(tmp_path)
    first, second = shard.utterances
    assert (first.tokens, first.due, first.text, first.labelled) == ([5, 6], [0.5, 0.9], "näch ste", False)
    assert (first.duration_s, second.duration_s) == (1.0, 0.5)
    assert second.tokens == []
    np.testing.assert_allclose(shard.audio(first), tone(), atol=1e-4)
    np.testing.assert_allclose(shard.audio(second), np.clip(tone(0.5) * 9, -1, 1), atol=1e-4)


def test_an_unfinished_shard_is_not_seen(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "half")
    writer.add(tone(), "a")
    assert not is_prepared(tmp_path, "half")
    with pytest.raises(AudioError, match="prepare"):
        open_shards([tmp_path])
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_shard_without_anything_can_be_opened(tmp_path: Path) -> None:
    """A tar of which nothing was kept must not spoil the others."""
    ShardWriter(tmp_path, "empty").close()
    written(tmp_path)
    assert [len(shard.utterances) for shard in open_shards([tmp_path])] == [0, 2]


def cut_audio(folder: Path) -> None:
    file = audio_file(folder, "one")
    file.write_bytes(file.read_bytes()[:-100])


def lose_audio(folder: Path) -> None:
    audio_file(folder, "one").unlink()


def change_label(folder: Path, **changes: object) -> None:
    lines = [json.loads(line) for line in label_file(folder, "one").read_text().splitlines()]
    lines[0] |= changes
    label_file(folder, "one").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    "harm",
    [
        cut_audio,
        lose_audio,
        lambda folder: label_file(folder, "one").write_text("{"),
        lambda folder: label_file(folder, "one").write_text("[]\n"),
        lambda folder: change_label(folder, due=[0.9, 0.5]),
        lambda folder: change_label(folder, due=[0.9]),
        lambda folder: change_label(folder, start=-1),
        lambda folder: change_label(folder, samples=0),
        lambda folder: change_label(folder, tokens=None),
        lambda folder: change_label(folder, unheard_of=1),
    ],
)
def test_a_damaged_shard_is_named(harm, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    written(tmp_path)
    harm(tmp_path)
    with pytest.raises(AudioError, match=r"one.*prepare it again"):
        open_shards([tmp_path])


def test_every_folder_must_hold_something(tmp_path: Path) -> None:
    written(tmp_path / "full")
    with pytest.raises(AudioError, match="missing"):
        open_shards([tmp_path / "full", tmp_path / "missing"])


# tars


def read(path: Path, **options: float) -> list[Recording]:
    return list(read_tar(path, **options))


def test_recordings_come_by_name_at_the_model_s_rate(tmp_path: Path) -> None:
    stereo = np.stack([tone(1.0, 44_100), np.zeros(44_100, np.float32)], 1)
    members = pair("b", tone(), text=" Said. ", language="en-US", speaker="s")
    members |= pair("a", stereo, 44_100, text=None)
    members |= {"c.json": b"{}", "d.flac": b"no pair", "e.txt": b"other"}
    first, second = read(write_tar(tmp_path / "t.tar", members))
    assert (first.key, first.text, first.language, len(first.samples)) == ("a", "", "", RATE)
    assert np.abs(first.samples).max() == pytest.approx(0.15, abs=0.02)  # the mean of both channels
    assert (second.key, second.text, second.language) == ("b", "Said.", "en")
    assert second.facts["speaker"] == "s"


def test_a_share_is_taken_from_the_first_name_on(tmp_path: Path) -> None:
    members = {name: data for key in "abcd" for name, data in pair(key, tone()).items()}
    tar = write_tar(tmp_path / "t.tar", members)
    assert [recording.key for recording in read(tar, share=0.5)] == ["a", "b"]


@pytest.mark.parametrize(
    ("audio", "facts", "why"),
    [
        (b"no audio", b"{}", "cannot be read"),
        (None, b"{", "cannot be read"),
        (None, b"[]", "cannot be read"),
        (pair("x", np.zeros(0, np.float32))["x.flac"], b"{}", "cannot be read"),
        (pair("x", np.zeros(3601 * 8000, np.float32), 8000)["x.flac"], b"{}", "cut it"),
    ],
    ids=["audio", "json", "list", "empty", "long"],
)
def test_a_damaged_recording_is_named_or_left_out(
    audio: bytes | None, facts: bytes, why: str, tmp_path: Path
) -> None:
    sound = pair("b", tone())["b.flac"] if audio is None else audio
    tar = write_tar(
        tmp_path / "t.tar", pair("a", tone()) | {"b.flac": sound, "b.json": facts} | pair("c", tone())
    )
    with pytest.raises(AudioError, match=rf"t\.tar: b .*{why}"):
        read(tar)
    told: list[AudioError] = []
    assert [recording.key for recording in read_tar(tar, damaged=told.append)] == ["a", "c"]
    assert len(told) == 1
    assert why in str(told[0])


def test_a_tar_that_is_none_is_named(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", pair("a", tone()) | pair("b", tone())).read_bytes()
    for name, data in {
        "text": b"no tar at all" * 100,
        "cut": whole[: len(whole) // 2],
        "cut.gz": gzip.compress(whole)[:-200],
        "empty": write_tar(tmp_path / "none.tar", {"readme.txt": b"hello"}).read_bytes(),
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(AudioError, match=name):
            list(read_tar(tmp_path / name, damaged=lambda _: None))
    with pytest.raises(AudioError, match="missing"):
        read(tmp_path / "missing.tar")
