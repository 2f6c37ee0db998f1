"""Reading files: real ones in many formats, and what is said of those that are none."""

import io
import itertools
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voicewire.client import audio_files
from voicewire.client.audio_files import open_audio
from voicewire.client.errors import AudioFileError

TONE_AT_S, TONE_END_S, LENGTH_S = 0.6, 1.4, 2.0


def tone(rate: int, channels: int = 1) -> np.ndarray:
    """Silence, 440 Hz at half of full scale, silence: ``(samples, channels)``."""
    times = np.arange(int(rate * LENGTH_S)) / rate
    wave = 0.5 * np.sin(2 * np.pi * 440 * times) * ((times >= TONE_AT_S) & (times < TONE_END_S))
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def encode(
    path: Path,
    codec: str,
    samples: np.ndarray,
    rate: int,
    *,
    sample_format: str = "fltp",
    video: bool = False,
    audio_from_s: float = 0.0,
    skip: slice | None = None,
) -> Path:
    """A container made by PyAV; `skip` leaves those frames out, `audio_from_s` lets the audio start later."""
    channels = samples.shape[1]
    layout = "mono" if channels == 1 else "stereo"
    container = av.open(str(path), "w")
    stream = container.add_stream(codec, rate=rate, layout=layout)
    if video:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        for number in range(int(10 * LENGTH_S)):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 10)
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
    resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
    step = 960
    for number, start in enumerate(range(0, len(samples), step)):
        if skip and number in range(skip.start, skip.stop):
            continue
        piece = np.ascontiguousarray(samples[start : start + step].T)
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = start + int(audio_from_s * rate)
        for converted in resampler.resample(frame):
            container.mux(stream.encode(converted))
    container.mux(stream.encode(None))
    container.close()
    return path


def read(path: Path | str, **options: object) -> tuple[np.ndarray, int]:
    with open_audio(path, **options) as audio:
        return np.concatenate(list(audio.blocks())), audio.sample_rate


def onset_s(samples: np.ndarray, rate: int) -> float:
    return float(np.flatnonzero(np.abs(samples) > 0.1)[0]) / rate


FORMATS = [
    ("wav", "pcm_s16le", 16_000, 1),
    ("wav", "pcm_mulaw", 8_000, 1),
    ("wav", "pcm_f32le", 96_000, 2),
    ("flac", "flac", 44_100, 2),
    ("opus", "libopus", 48_000, 1),
    ("mp3", "libmp3lame", 44_100, 2),
    ("m4a", "aac", 44_100, 2),
    ("webm", "libopus", 48_000, 2),
    ("mka", "ac3", 48_000, 2),
    ("avi", "pcm_s16le", 22_050, 1),
    ("wv", "wavpack", 44_100, 2),
    ("aiff", "pcm_s16be", 32_000, 2),
    ("aac", "aac", 32_000, 1),
]


def two_tones(rate: int) -> np.ndarray:
    """The tone on the left, the same a quarter as loud on the right."""
    samples = tone(rate, 2)
    samples[:, 1] *= 0.25
    return samples


@pytest.mark.parametrize(("suffix", "codec", "rate", "channels"), [one for one in FORMATS if one[3] == 2])
def test_channels_come_apart(tmp_path: Path, suffix: str, codec: str, rate: int, channels: int) -> None:
    path = encode(tmp_path / f"two.{suffix}", codec, two_tones(rate), rate)
    with open_audio(path, rates=(8_000, 48_000)) as audio:
        assert audio.channels == 2
        blocks = list(audio.channel_blocks())
        rate = audio.sample_rate
    assert rate <= 48_000
    left, right = np.concatenate(blocks, axis=1)
    middle = slice(int(0.8 * rate), int(1.2 * rate))
    assert np.sqrt(np.mean(left[middle] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
    assert np.sqrt(np.mean(right[middle] ** 2)) == pytest.approx(0.125 / np.sqrt(2), rel=0.2)
    assert onset_s(left, rate) == pytest.approx(TONE_AT_S, abs=0.04)


def test_more_channels_than_ears(tmp_path: Path) -> None:
    samples = tone(96_000, 5) * np.array([1, 0.8, 0.6, 0.4, 0.2], np.float32)
    soundfile.write(tmp_path / "five.wav", samples, 96_000)
    with open_audio(tmp_path / "five.wav", rates=(8_000, 48_000)) as audio:
        assert audio.channels == 5
        five = np.concatenate(list(audio.channel_blocks()), axis=1)
    assert five.shape[1] == pytest.approx(LENGTH_S * 16_000, abs=50)
    assert np.abs(five).max(axis=1) == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1], rel=0.1)


def test_another_track_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        for stream, loud in zip(streams, (0.1, 0.5), strict=True):
            samples = np.full((1, 16_000), loud * 32_767, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
    assert read(path)[0].mean() == pytest.approx(0.1, abs=0.01)
    assert read(path, track=2)[0].mean() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(AudioFileError, match="no audio track 3: the last one is 2"):
        open_audio(path, track=3)
    soundfile.write(tmp_path / "one.wav", tone(16_000), 16_000)
    assert len(read(tmp_path / "one.wav", track=1)[0]) == LENGTH_S * 16_000
    with pytest.raises(AudioFileError, match="no audio track 2"):
        open_audio(tmp_path / "one.wav", track=2)


@pytest.mark.parametrize(("suffix", "codec", "rate", "channels"), FORMATS)
def test_every_format_gives_its_samples_at_their_time(
    tmp_path: Path, suffix: str, codec: str, rate: int, channels: int
) -> None:
    path = encode(tmp_path / f"tone.{suffix}", codec, tone(rate, channels), rate)
    samples, read_rate = read(path)
    assert read_rate == rate
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) / rate == pytest.approx(LENGTH_S, abs=0.1)
    assert onset_s(samples, rate) == pytest.approx(TONE_AT_S, abs=0.04)
    middle = samples[int(0.8 * rate) : int(1.2 * rate)]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_ogg_vorbis(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.ogg", tone(44_100, 2), 44_100, "VORBIS")
    samples, rate = read(tmp_path / "tone.ogg")
    assert (len(samples), rate) == (88_200, 44_100)
    assert onset_s(samples, rate) == pytest.approx(TONE_AT_S, abs=0.03)


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"]
)
def test_every_width_of_wav(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(16_000), 16_000, subtype)
    with open_audio(tmp_path / "tone.wav") as audio:
        assert audio.duration_s == pytest.approx(LENGTH_S, abs=0.05)
        samples = np.concatenate(list(audio.blocks()))
    np.testing.assert_allclose(samples[:32_000], tone(16_000)[:, 0], atol=0.03)


def test_channels_are_averaged(tmp_path: Path) -> None:
    samples = np.stack([np.full(8000, 0.5), np.full(8000, -0.1)], axis=1)
    soundfile.write(tmp_path / "two.wav", samples, 8000, "FLOAT")
    np.testing.assert_allclose(read(tmp_path / "two.wav")[0], 0.2, atol=1e-6)
    encode(tmp_path / "two.mkv", "flac", samples.astype(np.float32), 8000)
    np.testing.assert_allclose(read(tmp_path / "two.mkv")[0], 0.2, atol=1e-3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_sound_of_a_video(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"film.{suffix}", "aac", tone(44_100, 2), 44_100, video=True)
    samples, rate = read(path)
    assert onset_s(samples, rate) == pytest.approx(TONE_AT_S, abs=0.05)


def test_sound_that_starts_after_the_picture_keeps_the_picture_s_clock(tmp_path: Path) -> None:
    path = encode(tmp_path / "late.mkv", "flac", tone(16_000), 16_000, video=True, audio_from_s=1.5)
    samples, rate = read(path)
    assert onset_s(samples, rate) == pytest.approx(TONE_AT_S + 1.5, abs=0.01)
    assert len(samples) / rate == pytest.approx(LENGTH_S + 1.5, abs=0.01)


def test_a_gap_in_the_sound_becomes_silence(tmp_path: Path) -> None:
    """Frames 0 to 9 are kept, 0.6 to 0.9 s is missing, and what follows stands where it stood."""
    path = encode(tmp_path / "gap.mkv", "pcm_s16le", tone(16_000), 16_000, skip=slice(10, 15))
    samples, rate = read(path)
    assert len(samples) == 32_000
    assert onset_s(samples, rate) == pytest.approx(0.9, abs=0.01)
    np.testing.assert_allclose(samples[14_400:], tone(16_000)[14_400:, 0], atol=1e-3)


def test_bad_packets_do_not_move_what_follows(tmp_path: Path) -> None:
    path = encode(tmp_path / "tone.mkv", "flac", tone(16_000), 16_000)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(audio=0)][1:6]
    for position, size in packets:
        data[position + 4 : position + 4 + size] = bytes(size)  # behind the block's own header
    path.write_bytes(data)
    samples, rate = read(path)
    assert len(samples) / rate == pytest.approx(LENGTH_S, abs=0.1)
    assert onset_s(samples, rate) == pytest.approx(TONE_AT_S, abs=0.1)


def test_a_file_cut_off_in_the_middle_gives_what_it_has(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.wav", tone(16_000), 16_000)
    data = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "half.wav").write_bytes(data[: len(data) // 2])
    samples, rate = read(tmp_path / "half.wav")
    assert len(samples) / rate == pytest.approx(1.0, abs=0.01)


def test_rates_outside_the_bounds_become_16_khz(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "high.wav", tone(96_000), 96_000)
    samples, rate = read(tmp_path / "high.wav", rates=(8_000, 48_000))
    assert rate == 16_000
    assert len(samples) / rate == pytest.approx(LENGTH_S, abs=0.002)
    assert onset_s(samples, rate) == pytest.approx(TONE_AT_S, abs=0.002)
    np.testing.assert_allclose(samples[12_000:20_000], tone(16_000)[12_000:20_000, 0], atol=0.01)
    soundfile.write(tmp_path / "in.wav", tone(48_000), 48_000)
    assert read(tmp_path / "in.wav", rates=(8_000, 48_000))[1] == 48_000


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(0, 50), max_size=20), block=st.integers(1, 40))
def test_blocks_are_of_one_length_and_lose_nothing(lengths: list[int], block: int) -> None:
    edges = list(itertools.accumulate(lengths, initial=0))
    samples = np.arange(edges[-1], dtype=np.float32)
    blocks = list(audio_files._recut((samples[a:b] for a, b in itertools.pairwise(edges)), block))
    assert np.array_equal(np.concatenate([*blocks, samples[:0]]), samples)
    assert all(len(one) == block for one in blocks[:-1])
    assert all(0 < len(one) <= block for one in blocks[-1:])


def test_what_is_no_audio_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cases = {"empty.wav": b"", "noise.mp3": os.urandom(5000), "page.html": b"<html>not audio</html>" * 50}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
    encode(tmp_path / "film.mp4", "aac", tone(44_100), 44_100, video=True)
    cut = (tmp_path / "film.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(cut[: len(cut) // 3])
    soundfile.write(tmp_path / "header.wav", np.zeros((0, 1)), 16_000)
    container = av.open(str(tmp_path / "silent.mp4"), "w")
    pictures = container.add_stream("mpeg4", rate=10)
    pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
    container.mux(
        pictures.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24"))
    )
    container.mux(pictures.encode(None))
    container.close()
    expected = {
        "absent.wav": "No such file",
        "empty.wav": "is empty",
        "noise.mp3": "not audio|damaged",
        "page.html": "not audio",
        "cut.mp4": "invalid data",
        "header.wav": "holds no sound",
        "silent.mp4": "no audio track",
        ".": "is a folder",
    }
    for name, reason in expected.items():
        with pytest.raises(AudioFileError, match=reason) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    assert capfd.readouterr().err == "", "a library's own complaints are not for the user"


READ_STDIN = """
import sys, numpy as np
from voicewire.client.audio_files import open_audio
rate = int(sys.argv[1]) if len(sys.argv) > 1 else None
with open_audio("-", raw_rate=rate) as audio:
    samples = np.concatenate(list(audio.blocks()))
    print(audio.sample_rate, len(samples), float(np.abs(samples).max()))
"""


def read_stdin(data: bytes, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", READ_STDIN, *arguments]
    result = subprocess.run(command, input=data, capture_output=True, timeout=60, check=True)
    return result.stdout.decode().split()


def test_standard_input_takes_containers_and_raw_samples(tmp_path: Path) -> None:
    wav = io.BytesIO()
    soundfile.write(wav, tone(16_000), 16_000, format="WAV")
    assert read_stdin(wav.getvalue())[:2] == ["16000", "32000"]
    webm = encode(tmp_path / "tone.webm", "libopus", tone(48_000), 48_000).read_bytes()
    rate, samples, peak = read_stdin(webm)
    assert rate == "48000"
    assert int(samples) == pytest.approx(96_000, abs=2_000)
    assert float(peak) == pytest.approx(0.5, abs=0.1)
    whole = (tone(8_000)[:, 0] * 32_767).astype("<i2").tobytes()
    rate, samples, peak = read_stdin(whole + b"\x01", "8000")  # an odd byte at the end is half a sample
    assert (rate, samples) == ("8000", "16000")
    assert float(peak) == pytest.approx(0.5, abs=0.001)


def test_a_pipe_is_read_as_it_comes() -> None:
    """Live audio through a pipe must not wait for a full buffer."""
    code = """
import sys
from voicewire.client.audio_files import open_audio
for block in open_audio("-", raw_rate=16000).blocks(block_s=0.1):
    print(len(block), flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(bytes(3_200))
        process.stdin.flush()
        assert process.stdout.readline() == b"1600\n"
        process.stdin.close()
        assert process.wait(20) == 0
