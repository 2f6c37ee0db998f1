"""The installed command `voicewire`, run as a user runs it, against a real server and with the real recogniser."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile

from benchmarks.word_errors import count_errors
from tests import bare_install
from tests.serving import CLIP, real_engine, speech, wait_for_slots
from voicewire.client.errors import CommandError
from voicewire.client.recordings import find_recordings
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.subtitles.writers import SubtitleFormat

VOICEWIRE = str(Path(sys.executable).parent / "voicewire")
MAIN = "from voicewire.client.main import app; app(prog_name='voicewire')"
COMMANDS = ("serve", "caption", "transcribe", "demo", "doctor")
SAID = "printing then for our purpose may be considered as the art of"  # in the clip's first five seconds


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(), engine=real_engine()) as server:
        yield server


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "talk.wav", speech(5.0), 16_000)
    return tmp_path / "talk.wav"


def environment(**changes: str) -> dict[str, str]:
    held = {name: value for name, value in os.environ.items() if not name.startswith("VOICEWIRE_")}
    return held | {"COLUMNS": "160", "NO_COLOR": "1"} | changes


def run(
    *arguments: str | Path,
    stdin: bytes = b"",
    cwd: Path | None = None,
    timeout: float = 240.0,
    **changes: str,
) -> subprocess.CompletedProcess[str]:
    """The command's exit status, standard output and standard error."""
    result = subprocess.run(
        [VOICEWIRE, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        timeout=timeout,
        env=environment(**changes),
    )
    decoded = subprocess.CompletedProcess(
        result.args, result.returncode, result.stdout.decode(), result.stderr.decode()
    )
    assert "Traceback" not in decoded.stderr
    return decoded


def run_bare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same in a bare install, where what the extras `server` and `mic` bring is missing."""
    result = bare_install.run_bare(MAIN, *arguments, environment=environment())
    assert "Traceback" not in result.stderr
    return result


def assert_said(text: str) -> None:
    errors = count_errors(SAID, text)
    assert errors.deletions + errors.substitutions <= 4, text


# ---- help and mistakes


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    assert "Examples" in result.stdout
    assert f"voicewire {command}" in result.stdout


def test_the_module_is_the_command() -> None:
    helped = subprocess.run(
        [sys.executable, "-m", "voicewire.client", "--help"], capture_output=True, text=True, timeout=60
    )
    assert helped.returncode == 0
    assert all(command in helped.stdout for command in COMMANDS)
    assert run("--version").stdout.startswith("voicewire 0.")


def test_a_misspelt_option_is_a_usage_error() -> None:
    result = run("caption", "--sped", "2")
    assert result.returncode == 2
    assert "--speed" in result.stderr
    assert run("serve", "--port", "99999").returncode == 2
    assert run("transcribe").returncode == 2


def test_what_a_user_can_get_wrong_is_told_in_a_line(talk: Path, unused_tcp_port: int) -> None:
    nobody = f"127.0.0.1:{unused_tcp_port}"
    cases = {
        ("caption", talk, "--url", nobody): "voicewire serve",
        ("caption", talk, "--url", "gopher://x"): "no address",
        ("caption", "absent.wav"): "No such file",
        ("caption", talk, "--save", "captions.doc"): ".srt",
        ("caption", talk, "--save", "/nowhere/captions.srt"): "no folder",
        ("transcribe", talk, "-f", "pdf"): "no format 'pdf'",
        ("transcribe", talk.parent / "talk.wav", "-f", "all", "-o", "-"): "one recording in one format",
        ("serve", "--config", "absent.toml"): "no configuration file",
    }
    for arguments, message in cases.items():
        result = run(*arguments, cwd=talk.parent)
        assert result.returncode == 1, arguments
        assert message in result.stderr, result.stderr
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1


def test_a_bare_install_says_what_to_install(talk: Path) -> None:
    for arguments in (("transcribe", talk), ("transcribe", talk, "--streaming"), ("serve",), ("demo",)):
        result = run_bare(*arguments)
        assert result.returncode == 1
        assert "pip install 'voicewire[server,weights]'" in result.stderr.replace("\n", " ")
    result = run_bare("caption", "mic")
    assert result.returncode == 1
    assert "pip install 'voicewire[mic]'" in result.stderr


# ---- caption


def test_captions_of_a_file_in_a_pipe(server: RunningServer, talk: Path) -> None:
    began = time.monotonic()
    result = run("caption", talk, "--url", server.url, "--save", talk.with_suffix(".srt"))
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - began > 5.0, "a file is paced like a microphone"
    assert_said(result.stdout)
    assert "\x1b" not in result.stdout
    assert "settled after" in result.stderr
    saved = talk.with_suffix(".srt").read_text()
    assert "-->" in saved
    assert_said(re.sub(r"\d[\d:,]*( --> \S+)?", " ", saved))


def test_captions_as_fast_as_the_server_takes_them(server: RunningServer, tmp_path: Path) -> None:
    result = run("caption", CLIP, "--speed", "0", "--save", tmp_path / "clip.json", VOICEWIRE_URL=server.url)
    assert result.returncode == 0, result.stderr
    assert "settled after" not in result.stderr, "without a pace there is no delay to tell"
    content = json.loads((tmp_path / "clip.json").read_text())
    assert content["duration"] == pytest.approx(23.64, abs=0.01)
    assert len(content["words"]) > 30
    assert content["text"].split() == result.stdout.split()


def test_captions_of_a_pipe(server: RunningServer, talk: Path) -> None:
    raw = run(
        "caption", "-", "--rate", "16000", "--speed", "0", "--url", server.url, stdin=speech(5.0).tobytes()
    )
    assert raw.returncode == 0, raw.stderr
    assert_said(raw.stdout)
    container = run("caption", "-", "--speed", "0", "--url", server.url, stdin=talk.read_bytes())
    assert container.stdout == raw.stdout
    rubbish = run("caption", "-", "--speed", "0", "--url", server.url, stdin=b"rubbish" * 1000)
    assert rubbish.returncode == 1
    assert "standard input" in rubbish.stderr


def test_a_rate_that_the_protocol_has_not_is_resampled(server: RunningServer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "high.wav", speech(5.0, 96_000), 96_000)
    result = run("caption", tmp_path / "high.wav", "--speed", "0", "--url", server.url)
    assert result.returncode == 0, result.stderr
    assert_said(result.stdout)


def test_control_c_ends_the_audio_and_keeps_the_words(server: RunningServer, tmp_path: Path) -> None:
    save = str(tmp_path / "half.vtt")
    with started("caption", str(CLIP), "--url", server.url, "--save", save) as process:
        deadline = time.monotonic() + 30
        while slots(server) == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(5.0)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "printing" in output.lower()
    assert len(output.split()) < 25, "the clip was not played to its end"
    assert (tmp_path / "half.vtt").read_text().startswith("WEBVTT")
    wait_for_slots(server, 0, within_s=5)


def slots(server: RunningServer) -> int:
    with urllib.request.urlopen(f"{server.http_url}/readyz", timeout=10) as answer:
        return int(json.load(answer)["slots"]["in_use"])


def test_captions_in_a_terminal(server: RunningServer, talk: Path) -> None:
    drawn = in_a_terminal("caption", str(talk), "--url", server.url, "--speed", "2")
    assert re.search(r"\x1b\[1m[^\x1b]*printing", drawn, re.IGNORECASE), "settled words are bold"
    assert re.search(r"\x1b\[2m[^\x1b]+", drawn), "the tail is dim"
    assert "settled after" in drawn


def in_a_terminal(*arguments: str) -> str:
    """What the command writes to a terminal, with everything that draws."""
    leader, follower = pty.openpty()
    env = environment(TERM="xterm-256color", LINES="24")
    del env["NO_COLOR"]
    process = subprocess.Popen(
        [VOICEWIRE, *arguments], stdin=follower, stdout=follower, stderr=follower, env=env
    )
    os.close(follower)
    drawn = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                data = os.read(leader, 65_536)
            except OSError:  # how Linux says that the other side is closed
                break
            drawn += data
        elif process.poll() is not None:
            break
    os.close(leader)
    assert process.wait(10) == 0, drawn.decode()
    return drawn.decode()


# ---- transcribe


def test_a_folder_with_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "one.wav", speech(5.0), 16_000)
    soundfile.write(tmp_path / "in" / "deep" / "two.flac", speech(5.0, 44_100), 44_100)
    (tmp_path / "in" / "broken.mp3").write_bytes(b"this is no music" * 100)
    (tmp_path / "in" / "notes.txt").write_text("not for transcription")
    result = run("transcribe", tmp_path / "in", "-f", "all", "-o", tmp_path / "out", "--threads", "1")
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.search(r"passed over: \S+broken\.mp3", result.stderr)
    assert re.search(r"one\.wav +5\.0 s +en +\d+ +[\d.]+ x +done", result.stderr)
    assert "2 done, 1 failed" in result.stderr
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert written == {f"{stem}.{form}" for stem in ("one", "deep/two") for form in SubtitleFormat}
    for stem in ("one", "deep/two"):
        assert_said((tmp_path / "out" / f"{stem}.txt").read_text())
        content = json.loads((tmp_path / "out" / f"{stem}.json").read_text())
        assert content["language"] == "en"
        assert content["duration"] == pytest.approx(5.0, abs=0.01)
        assert "".join(word["word"] for word in content["words"]).strip() == content["text"]


def test_one_file_is_printed(talk: Path) -> None:
    result = run("transcribe", talk, "--streaming", "--threads", "1")
    assert result.returncode == 0, result.stderr
    assert_said(result.stdout)
    assert list(talk.parent.iterdir()) == [talk]


def test_streaming_gives_the_words_of_the_server(server: RunningServer, talk: Path) -> None:
    served = run(
        "caption", talk, "--speed", "0", "--url", server.url, "--save", talk.with_name("served.json")
    )
    assert served.returncode == 0, served.stderr
    local = run("transcribe", talk, "--streaming", "-f", "json", "--threads", "1")
    assert local.returncode == 0, local.stderr
    texts = [json.loads(talk.with_name(name).read_text())["text"] for name in ("served.json", "talk.json")]
    assert texts[0] == texts[1]


def test_standard_input_and_output(talk: Path) -> None:
    result = run("transcribe", "-", "-f", "srt", "--streaming", stdin=talk.read_bytes(), cwd=talk.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("1\n00:00:0")
    assert list(talk.parent.iterdir()) == [talk]


def test_settings_that_the_recogniser_refuses(talk: Path) -> None:
    result = run("transcribe", talk, "--streaming", "--chunk-ms", "300", "--commit-ms", "100")
    assert result.returncode == 1
    assert "commit_ms (100) must be at least chunk_ms (300)" in result.stderr
    assert run("transcribe", talk, "--model", "enormous").returncode == 1


def test_results_never_overwrite_each_other(tmp_path: Path) -> None:
    names = ["a.wav", "a.mp3", "b.wav", "sub/b.wav", "sub/c.ogg", "sub/deep/c.ogg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    paths = [str(tmp_path / name) for name in names]

    def results(asked: list[str], output: Path | None) -> list[str]:
        found = [one.result_path(SubtitleFormat.TXT) for one in find_recordings(asked, output)]
        return [str(path.relative_to(output or tmp_path)) for path in found if path]

    beside = ["a.wav.txt", "a.mp3.txt", "b.txt", "sub/b.txt", "sub/c.txt", "sub/deep/c.txt"]
    assert results(paths, None) == beside
    assert results([*paths, paths[0]], None) == beside, "a file twice named is taken once"
    out = tmp_path / "out"
    flat = ["a.wav.txt", "a.mp3.txt", "b.wav.txt", "b.wav-2.txt", "c.ogg.txt", "c.ogg-2.txt"]
    assert results(paths, out) == flat
    assert sorted(results([str(tmp_path)], out)) == sorted(beside), "a folder keeps its tree"
    (tmp_path / "none").mkdir()
    with pytest.raises(CommandError, match="holds no recordings"):
        find_recordings([str(tmp_path / "none")])


# ---- serve and doctor


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command under way; killed where the block fails."""
    with subprocess.Popen(
        [VOICEWIRE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_serve_says_when_it_is_ready_and_ends_on_sigterm(talk: Path, unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    options = ["--max-sessions", "2", "--threads", "1", "--commit-ms", "600"]
    with started("serve", "--port", str(unused_tcp_port), *options) as process:
        wait_until_ready(process, address)
        checks = doctor(run_bare("doctor", "--url", address, "--json"))
        assert "2 of 2 slots free" in checks["server"]["detail"]
        second = run("serve", "--port", unused_tcp_port)
        assert second.returncode == 1
        assert "cannot listen" in second.stderr
        assert_said(run("caption", talk, "--speed", "0", "--url", address).stdout)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert all(json.loads(line) for line in log.splitlines())


def wait_until_ready(process: subprocess.Popen[str], address: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{address}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not get ready")


def test_the_log_is_as_quiet_as_it_is_asked_to_be(unused_tcp_port: int) -> None:
    result = run("serve", "--model", "enormous", "--port", unused_tcp_port, "--log-level", "error")
    assert result.returncode == 1
    assert "enormous" in result.stderr
    assert '"listening"' not in result.stderr


def doctor(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    content = json.loads(result.stdout)
    assert content["ok"] is (result.returncode == 0)
    return {check["name"]: check for check in content["checks"]}


def test_doctor_finds_this_machine_well(server: RunningServer) -> None:
    result = run("doctor", "--url", server.url, "--json")
    checks = doctor(result)
    assert result.returncode == 0, result.stdout
    assert [name for name, check in checks.items() if check["status"] == "fail"] == []
    assert "d01c3014881c9c6f" in checks["weights"]["detail"] or "SHA-256" in checks["weights"]["detail"]
    assert "base-en-1" in checks["adapter"]["detail"]
    assert re.search(r"(bfloat16|float32) on (cpu|cuda)", checks["precision"]["detail"])
    assert "Silero" in checks["speech gate"]["detail"]
    assert re.search(r"4 of 4 slots free", checks["server"]["detail"])
    table = run("doctor", "--url", server.url)
    assert table.returncode == 0
    assert all(name in table.stdout for name in checks)


def test_doctor_on_a_bare_install(unused_tcp_port: int) -> None:
    result = run_bare("doctor", "--json")
    assert result.returncode == 0, result.stderr
    checks = doctor(result)
    assert checks["client packages"]["status"] == "ok"
    assert checks["audio input"]["status"] == "warn"
    assert "voicewire[mic]" in checks["audio input"]["advice"]
    missing = run_bare("doctor", "--url", f"127.0.0.1:{unused_tcp_port}")
    assert missing.returncode == 1
    assert "voicewire serve" in missing.stdout


def test_doctor_tells_what_is_installed_and_broken() -> None:
    command = [sys.executable, "-c", f"import sys; sys.modules['torch'] = None; {MAIN}", "doctor", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert result.returncode == 1
    assert result.stderr == ""
    checks = doctor(result)
    for name in ("torch", "weights"):
        assert checks[name]["status"] == "fail"
        assert "pip install" in checks[name]["advice"]


def test_doctor_tells_a_stranger_on_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        result = run_bare("doctor", "--url", address, "--json")
    assert result.returncode == 1
    assert doctor(result)["server"]["status"] == "fail"


def test_doctor_names_missing_weights(tmp_path: Path) -> None:
    result = run(
        "doctor", "--model", "small", "--json", VOICEWIRE_CACHE=str(tmp_path), XDG_CACHE_HOME=str(tmp_path)
    )
    assert result.returncode == 1
    weights = doctor(result)["weights"]
    assert weights["status"] == "fail"
    assert "small" in weights["detail"] + weights["advice"]
