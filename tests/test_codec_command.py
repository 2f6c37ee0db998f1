"""`voicewire codec` as a user runs it: real speech, a real codec, real pipes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tests import bare_install, codecs_at_hand
from voicewire import codecs
from voicewire.client import coding
from voicewire.client.audio_files import open_audio
from voicewire.client.main import app
from voicewire.codecs import TokenReader

VOICEWIRE = str(Path(sys.executable).parent / "voicewire")
MAIN = "from voicewire.client.main import app; app(prog_name='voicewire')"
RATE = 16_000


@pytest.fixture(scope="module")
def weights() -> str:
    """Where Lyra's weights are; the test is skipped where they cannot be had."""
    codecs_at_hand.codec("lyra_v2")
    folder = codecs_at_hand.weights("lyra_v2")
    return f"--weights={folder}" if folder else "--codec=lyra_v2"


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Three seconds and a bit of speech at a rate that is not the codec's."""
    soundfile.write(tmp_path / "talk.wav", codecs_at_hand.speech(24_000)[:75_111], 24_000)
    return tmp_path / "talk.wav"


@pytest.fixture
def tokens(talk: Path, weights: str) -> Path:
    assert run("encode", talk, talk.with_suffix(".vwt"), "--kbps", "6", weights).exit_code == 0
    return talk.with_suffix(".vwt")


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["codec", *map(str, arguments)], env={"COLUMNS": "160", "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def started(*arguments: str | Path) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [VOICEWIRE, "codec", *map(str, arguments)], stdin=pipe, stdout=pipe, stderr=pipe, env=os.environ
    )


def piped(data: bytes, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """The command with this on its standard input."""
    with started(*arguments) as process:
        out, told = process.communicate(data, timeout=120)
    assert b"Traceback" not in told
    return subprocess.CompletedProcess(process.args, process.returncode, out, told)


def loudness(samples: np.ndarray) -> np.ndarray:
    return np.log(np.square(samples[: len(samples) // 800 * 800]).reshape(-1, 800).mean(axis=1) + 1e-6)


# ---- files


def test_speech_comes_back_through_a_file(talk: Path, tokens: Path, weights: str) -> None:
    sound = talk.with_name("back.wav")
    assert run("decode", tokens, sound, weights).exit_code == 0
    samples, rate = soundfile.read(sound, dtype="float32")
    assert rate == RATE
    assert len(samples) == round(75_111 * 16 / 24)
    original = codecs_at_hand.speech(RATE)[: len(samples)]
    assert np.corrcoef(loudness(samples), loudness(original))[0, 1] > 0.95


def test_what_is_in_a_file_is_told(tokens: Path) -> None:
    result = run("info", tokens)
    assert result.exit_code == 0
    for told in ("lyra_v2", "3.13 s", "50074 samples at 16000 Hz", "6 kbps (30 codes per frame)", "whole"):
        assert told in result.output


def test_a_stretch_is_that_of_the_whole(tokens: Path, weights: str) -> None:
    whole, part = tokens.with_name("whole.wav"), tokens.with_name("part.wav")
    run("decode", tokens, whole, weights)
    assert run("decode", tokens, part, "--start", "1.5", "--duration", "0.7", weights).exit_code == 0
    expected = soundfile.read(whole)[0][24_000 : 24_000 + 11_200]
    np.testing.assert_allclose(soundfile.read(part)[0], expected, atol=2 / 32768)


def test_a_damaged_file_is_decoded_up_to_the_damage(tokens: Path, weights: str) -> None:
    data = bytearray(tokens.read_bytes())
    data[len(data) // 3] ^= 1
    tokens.write_bytes(bytes(data))
    result = run("info", tokens)
    assert result.exit_code == 1
    assert "damaged: the checksum of a record is wrong" in result.output
    # One record holds all of so short a file; a longer one gives what comes before.
    sound = tokens.with_name("back.wav")
    result = run("decode", tokens, sound, weights)
    assert result.exit_code == 1
    assert "only used up to its damage" in result.output
    assert len(soundfile.read(sound)[0]) == 0


def test_a_folder_keeps_its_tree_and_what_is_there(talk: Path, tmp_path: Path, weights: str) -> None:
    folder = tmp_path / "recordings"
    (folder / "deeper").mkdir(parents=True)
    for name in ("one.wav", "deeper/two.wav"):
        (folder / name).write_bytes(talk.read_bytes())
    (folder / "broken.wav").write_bytes(b"no sound at all")
    result = run("encode", folder, tmp_path / "tokens", "--kbps", "3.2", weights)
    assert result.exit_code == 1
    assert "passed over" in result.output
    assert "together" in result.output
    made = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "tokens").rglob("*.*")}
    assert made == {"tokens/one.vwt", "tokens/deeper/two.vwt"}
    (folder / "broken.wav").unlink()
    again = run("encode", folder, tmp_path / "tokens", weights)
    assert again.exit_code == 0
    assert "2 were there already" in again.output

    assert run("decode", tmp_path / "tokens", tmp_path / "sound", weights).exit_code == 0
    lengths = [len(soundfile.read(tmp_path / "sound" / name)[0]) for name in ("one.wav", "deeper/two.wav")]
    assert lengths == [50_074, 50_074]


# ---- pipes


def test_raw_samples_in_tokens_out_and_sound_again(tokens: Path, weights: str) -> None:
    samples = codecs_at_hand.speech(RATE)[:32_000]
    raw = (samples * 32767).astype("<i2").tobytes()
    made = piped(raw, "encode", "-", "-", "--rate", "16000", "--kbps", "3.2", weights)
    assert made.returncode == 0, made.stderr
    reader = TokenReader()
    assert sum(record.tokens.samples for record in reader.push(made.stdout)) == 32_000
    reader.finish()

    wav = piped(made.stdout, "decode", "-", "-", weights)
    assert wav.returncode == 0, wav.stderr
    (tokens.parent / "pipe.wav").write_bytes(wav.stdout)
    with open_audio(tokens.parent / "pipe.wav") as audio:
        assert sum(map(len, audio.blocks())) == 32_000
    (tokens.parent / "pipe.vwt").write_bytes(made.stdout)
    bare = run("decode", tokens.parent / "pipe.vwt", "-", "--raw", "--start", "1", weights)
    assert bare.stdout_bytes == wav.stdout[44 + 2 * 16_000 :]


def test_tokens_come_while_the_audio_does(weights: str) -> None:
    samples = codecs_at_hand.speech(RATE)
    with started("encode", "-", "-", "--rate", "16000", weights) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        reader, heard = TokenReader(), 0
        for start in range(0, 160_000, 16_000):
            process.stdin.write((samples[start : start + 16_000] * 32767).astype("<i2").tobytes())
            process.stdin.flush()
            while heard < start:  # hangs, and so fails, where the tokens wait for the end
                data = os.read(process.stdout.fileno(), 65_536)
                heard += sum(record.tokens.samples for record in reader.push(data))
        process.stdin.close()
        reader.push(process.stdout.read())
        reader.finish()


def test_control_c_finishes_the_tokens(tmp_path: Path, weights: str) -> None:
    samples = (codecs_at_hand.speech(RATE)[:32_000] * 32767).astype("<i2").tobytes()
    with started("encode", "-", tmp_path / "live.vwt", "--rate", "16000", weights) as process:
        assert process.stdin is not None
        process.stdin.write(samples)
        process.stdin.flush()
        deadline = time.monotonic() + 60
        part = tmp_path / ".part-live.vwt"
        while not part.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)  # as a terminal sends it to the whole pipeline
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    assert "2.00 s" in run("info", tmp_path / "live.vwt").output


def test_whoever_reads_may_go_away(weights: str) -> None:
    with started("encode", codecs_at_hand.CLIP, "-", weights) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 1
        assert process.stderr is not None
        told = process.stderr.read().decode()
    assert "has ended" in told
    assert "Traceback" not in told
    assert "Exception ignored" not in told


# ---- mistakes


def test_what_a_user_can_get_wrong_is_told_in_a_line(talk: Path, tokens: Path, weights: str) -> None:
    other = tokens.with_name("other.vwt")
    other.write_bytes(tokens.read_bytes()[:-1])
    out = talk.with_name("out.wav")
    for arguments, told in (
        (["encode", talk, out, "--codec", "opus"], "no codec is called 'opus'; there are: "),
        (["encode", talk, out, "--kbps", "4", weights], "lyra_v2 has no 4 kbps; it has 3.2, 6, 9.2"),
        (["encode", talk.with_name("none.wav"), out, weights], "none.wav cannot be read: No such file"),
        (["encode", talk, talk / "x.vwt", weights], "x.vwt cannot be written: "),
        (["encode", talk, talk, weights], "would overwrite itself"),
        (["decode", talk, out, weights], "this is no file of tokens"),
        (["decode", talk.with_name("none.vwt"), out, weights], "No such file"),
        (["decode", talk.parent / "nothing", out], "No such file"),
        (["decode", tokens, talk.with_name("out.xyz"), weights], "take a name in .wav, .flac or .ogg"),
        (["info", talk], "this is no file of tokens"),
        (["info", other], "damaged: the tokens are cut short"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1, arguments
        assert told in result.output
    assert not list(talk.parent.glob(".part-*"))


@pytest.mark.parametrize("command", ["encode", "decode", "info", "list"])
def test_every_command_explains_itself_with_examples(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"voicewire codec {command}" in result.output


def test_the_list_says_what_each_codec_offers_whose_weights_are_here(
    tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if folder := codecs_at_hand.weights("lyra_v2"):
        (tmp_path / "codecs").mkdir()
        (tmp_path / "codecs" / "lyra_v2").symlink_to(folder)
        monkeypatch.setenv("VOICEWIRE_CACHE", str(tmp_path))
    result = run("list")
    assert result.exit_code == 0
    assert all(name in result.output for name in codecs.available())
    assert "3.2, 6, 9.2" in result.output


def test_a_bare_install_tells_what_is_in_a_file_and_what_to_install(talk: Path, tokens: Path) -> None:
    told = bare_install.run_bare(MAIN, "codec", "info", tokens)
    assert (told.returncode, "whole" in told.stdout) == (0, True), told.stderr
    refused = bare_install.run_bare(MAIN, "codec", "encode", talk, talk.with_suffix(".x"))
    assert refused.returncode == 1
    assert "pip install 'voicewire[" in refused.stderr


# ---- the rate of a recording


@settings(max_examples=20)
@given(
    source=st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000, 96_000]), samples=st.integers(1, 30_000)
)
def test_a_recording_at_another_rate_keeps_its_length(
    source: int, samples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "tone.wav"
    soundfile.write(path, np.zeros(samples, np.float32), source)
    with open_audio(path) as audio:
        assert sum(map(len, coding.resampled(audio, RATE))) == round(samples * RATE / source)
