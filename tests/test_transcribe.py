"""Recordings to transcripts: long ones, several speakers, many at once, stopped and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import soundfile
from rich.console import Console

from benchmarks.speech_tars import Clip
from benchmarks.word_errors import count_errors
from voicewire.client.audio_files import open_audio
from voicewire.client.capacity import default_workers
from voicewire.client.errors import CommandError
from voicewire.client.local import ModelChoice, Wanted
from voicewire.client.offline import Offline
from voicewire.client.online import Online
from voicewire.client.recordings import SUFFIXES, find_recordings
from voicewire.client.transcript_batch import Status, TranscriptBatch
from voicewire.client.transcript_files import TranscriptFiles
from voicewire.client.workers import Workers
from voicewire.streaming.subtitles.transcripts import TimedTranscript
from voicewire.streaming.subtitles.writers import SubtitleFormat

RATE = 16_000
VOICEWIRE = str(Path(sys.executable).parent / "voicewire")
BASE = ModelChoice("base", device="cpu", threads=1)
TINY = ModelChoice("tiny.en", device="cpu", threads=1)


@pytest.fixture(scope="module")
def two(clips: Callable[[str, int], list[Clip]]) -> tuple[Clip, Clip]:
    """Two short utterances of two speakers."""
    found = sorted(
        (one for one in clips("test-clean-00", 40) if one.duration > 3), key=lambda one: one.duration
    )
    return found[0], next(one for one in found if one.speaker != found[0].speaker)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def assert_said(clip: Clip, text: str) -> None:
    errors = count_errors(clip.text, text)
    assert errors.deletions + errors.substitutions + errors.insertions <= max(3, 0.25 * errors.words), text


def write(path: Path, *channels: np.ndarray) -> Path:
    """A WAV with these channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    length = max(map(len, channels))
    padded = [np.pad(channel, (0, length - len(channel))) for channel in channels]
    soundfile.write(path, np.clip(np.stack(padded, 1), -1, 1), RATE)
    return path


def video(path: Path, sound: np.ndarray) -> Path:
    """A film of one picture, its first audio track silent, its second the sound."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=1)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        tracks = [container.add_stream("aac", rate=RATE, layout="mono") for _ in range(2)]
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        picture.pts, picture.time_base = 0, Fraction(1, 1)
        container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
        for track, samples in zip(tracks, (np.zeros_like(sound), sound), strict=True):
            for at in range(0, len(sound), 1024):
                frame = av.AudioFrame.from_ndarray(
                    samples[None, at : at + 1024], format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return path


def heard(transcriber: Offline | Online, path: Path, **options: int) -> TimedTranscript:
    with open_audio(path, **options) as audio:
        return transcriber.transcribe(audio)


# ---- one recording


def test_words_keep_their_times_across_silences(two: tuple[Clip, Clip], tmp_path: Path) -> None:
    one, other = two
    sound = np.concatenate([silence(20), one.samples, silence(40), other.samples, silence(20)])
    path = video(tmp_path / "film.mp4", sound)
    offline = Offline(BASE, Wanted("auto"))
    transcript = heard(offline, path, track=2)
    assert transcript.language == "en"
    assert transcript.duration_s == pytest.approx(len(sound) / RATE, abs=0.2)
    second_s = 60 + one.duration
    first_words = [word for word in transcript.words if word.start < second_s - 5]
    assert_said(one, "".join(word.word for word in first_words))
    assert_said(other, "".join(word.word for word in transcript.words[len(first_words) :]))
    assert all(19.7 <= word.start <= word.end <= 20.3 + one.duration for word in first_words)
    for word in transcript.words[len(first_words) :]:
        assert second_s - 0.3 <= word.start <= word.end <= second_s + other.duration + 0.3
    nothing = heard(offline, path)
    assert (nothing.words, nothing.language) == ((), "")
    offline.close()


def test_a_channel_for_each_speaker(two: tuple[Clip, Clip], tmp_path: Path) -> None:
    one, other = two
    between = silence(one.duration + 0.5)
    path = write(tmp_path / "call.wav", one.samples, np.concatenate([between, other.samples]))
    wanted = Wanted(channels=True, speakers=("Agent", "Caller"))
    for transcriber in (Offline(BASE, wanted), Online(BASE, wanted)):
        transcript = heard(transcriber, path)
        names = [segment.speaker for segment in transcript.segments]
        assert names == sorted(names)
        for name, clip in zip(("Agent", "Caller"), two, strict=True):
            assert_said(clip, " ".join(one.text for one in transcript.segments if one.speaker == name))
        starts = [word.start for segment in transcript.segments[1:] for word in segment.words]
        assert min(starts[-3:]) > one.duration
        write(tmp_path / "mono.wav", one.samples)
        with pytest.raises(CommandError, match="1 channel, not one for each of Agent, Caller"):
            heard(transcriber, tmp_path / "mono.wav")
        transcriber.close()
    with open_audio(path) as audio:
        assert Wanted(channels=True).speakers_of(audio) == ("Speaker 1", "Speaker 2")
        assert Wanted().speakers_of(audio) == ()


def test_translation_is_a_task_of_whisper_s(two: tuple[Clip, Clip], tmp_path: Path) -> None:
    path = write(tmp_path / "talk.wav", two[0].samples)
    offline = Offline(BASE, Wanted("en", translate=True))
    transcript = heard(offline, path)
    assert transcript.task == "translate"
    assert_said(two[0], transcript.text)
    offline.close()
    with pytest.raises(CommandError, match="cannot translate"):
        Offline(TINY, Wanted(translate=True))
    with pytest.raises(CommandError, match="does not know the language 'xx'"):
        Offline(TINY, Wanted("xx"))


# ---- a batch


@pytest.fixture(scope="module")
def tiny() -> Iterator[Offline]:
    offline = Offline(TINY, Wanted())
    yield offline
    offline.close()


def test_a_batch_goes_on_and_knows_what_is_done(
    tiny: Offline, two: tuple[Clip, Clip], tmp_path: Path
) -> None:
    for name, clip in zip(("one.wav", "deep/two.wav"), two, strict=True):
        write(tmp_path / "in" / name, clip.samples)
    (tmp_path / "in" / "broken.mp3").write_bytes(b"this is no music" * 100)
    recordings = find_recordings([str(tmp_path / "in")], tmp_path / "out")
    files = TranscriptFiles([SubtitleFormat.TXT, SubtitleFormat.KARAOKE])
    batch = TranscriptBatch(tiny, recordings, files.write, Console(quiet=True), at_once=3)
    outcomes = {Path(one.recording.path).name: one for one in batch.run()}
    assert {name: one.status for name, one in outcomes.items()} == {
        "broken.mp3": Status.FAILED,
        "one.wav": Status.DONE,
        "two.wav": Status.DONE,
    }
    assert "broken.mp3 is not audio" in (outcomes["broken.mp3"].error or "")
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert written == {"one.txt", "one.karaoke.vtt", "deep/two.txt", "deep/two.karaoke.vtt"}
    assert_said(two[0], (tmp_path / "out" / "one.txt").read_text())
    done = {Path(one.path).name: files.are_done(one) for one in recordings}
    assert done == {"broken.mp3": False, "one.wav": True, "two.wav": True}
    assert not any(TranscriptFiles([SubtitleFormat.SRT]).are_done(one) for one in recordings)
    later = time.time() + 10
    os.utime(tmp_path / "in" / "one.wav", (later, later))
    assert [files.are_done(one) for one in recordings if one.path.endswith("one.wav")] == [False]


def test_a_result_that_cannot_be_written_fails_alone(
    tiny: Offline, two: tuple[Clip, Clip], tmp_path: Path
) -> None:
    write(tmp_path / "talk.wav", two[0].samples)
    (tmp_path / "talk.txt").mkdir()
    (recording,) = find_recordings([str(tmp_path / "talk.wav")])
    files = TranscriptFiles([SubtitleFormat.TXT])
    (outcome,) = TranscriptBatch(tiny, [recording], files.write, Console(quiet=True)).run()
    assert outcome.status is Status.FAILED
    assert "cannot be written" in (outcome.error or "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talk.txt", "talk.wav"]


def test_patterns_are_taken_as_the_shell_would(tmp_path: Path) -> None:
    for name in ("a.wav", "deep/b.wav", "deep/c.txt", "odd[1].wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    def found(pattern: str) -> list[str]:
        return [Path(one.path).name for one in find_recordings([str(tmp_path / pattern)])]

    assert found("**/*.wav") == ["a.wav", "b.wav", "odd[1].wav"]
    assert found("odd[1].wav") == ["odd[1].wav"]
    assert found("d*") == ["b.wav"]
    with pytest.raises(CommandError, match="nothing matches"):
        found("*.mp3")


def test_the_documentation_names_every_suffix() -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "transcribe.md"
    named = page.read_text().partition("they are recordings:")[2].partition("\n- ")[0]
    assert {f".{suffix}" for suffix in named.strip(" .\n").split()} == SUFFIXES


def test_workers_are_as_many_as_the_machine_carries() -> None:
    assert 1 <= default_workers(ModelChoice("tiny")) <= (os.cpu_count() or 1)
    assert default_workers(ModelChoice("large-v3")) <= default_workers(ModelChoice("tiny"))
    assert default_workers(ModelChoice("base", device="cuda")) == 1


def test_a_worker_that_dies_is_told(two: tuple[Clip, Clip]) -> None:
    workers = Workers(TINY, 1)
    workers.load("en", "transcribe")
    mine = psutil.Process().children(recursive=True)
    words_of = workers.transcribe(silence(60), "en", "transcribe", lambda _: None)
    for process in mine:
        if "voicewire.client.whisper_worker" in process.cmdline():
            process.kill()
    with pytest.raises(CommandError, match="a worker ended unexpectedly"):
        words_of()
    with pytest.raises(CommandError, match="a worker ended unexpectedly"):
        workers.transcribe(silence(1), "en", "transcribe", lambda _: None)
    workers.close()


# ---- the command


def command(*arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [VOICEWIRE, "transcribe", *map(str, arguments)],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": "160", "NO_COLOR": "1"},
        start_new_session=True,
        # What runs in the background of a script has inherited that Ctrl-C is to be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_control_c_leaves_nothing_half_done_and_the_same_command_goes_on(
    two: tuple[Clip, Clip], spoken: np.ndarray, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    write(folder / "a.wav", two[0].samples)
    write(folder / "b.wav", np.tile(spoken, 3))
    order = (
        "in",
        "--model",
        "tiny.en",
        "-f",
        "srt,json",
        "-o",
        "out",
        "--workers",
        "2",
        "--summary",
        "s.json",
    )
    first = command(*order, folder=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "a.json").exists():
        assert time.monotonic() < deadline
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    processes = psutil.Process(first.pid).children(recursive=True)
    assert len(processes) >= 2
    os.killpg(first.pid, signal.SIGINT)
    _, errors = first.communicate(timeout=20)
    assert first.returncode == 130, errors
    assert "Traceback" not in errors
    assert "1 done, 1 stopped" in errors
    psutil.wait_procs(processes, timeout=5)
    assert not any(process.is_running() for process in processes)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "a.srt"]
    made = (tmp_path / "out" / "a.json").stat().st_mtime_ns

    write(folder / "b.wav", two[1].samples)
    again = command(*order, folder=tmp_path)
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert "1 done, 1 was there" in errors
    assert (tmp_path / "out" / "a.json").stat().st_mtime_ns == made
    states = {
        Path(one["recording"]).name: one
        for one in json.loads((tmp_path / "s.json").read_text())["recordings"]
    }
    assert states["a.wav"]["status"] == "skipped"
    assert states["b.wav"]["status"] == "done"
    assert states["b.wav"]["files"] == ["out/b.srt", "out/b.json"]
    assert states["b.wav"]["duration_s"] == pytest.approx(two[1].duration, abs=0.01)
    assert states["b.wav"]["words"] > 3


def test_what_cannot_be_asked_for(tmp_path: Path, two: tuple[Clip, Clip]) -> None:
    write(tmp_path / "talk.wav", two[0].samples)
    cases = {
        ("--streaming", "--translate"): "leave out --streaming",
        ("--streaming", "--language", "auto"): "leave out --streaming",
        ("--speakers", "Agent,,Caller"): "a name for each channel",
        ("-f", "srt,doc"): "no format 'doc'",
    }
    for options, message in cases.items():
        process = command("talk.wav", *options, folder=tmp_path)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert errors.startswith("error: ")
        assert message in errors
