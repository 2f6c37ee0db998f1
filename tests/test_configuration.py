"""Where settings come from, which of them wins, and what `voicewire serve --print-config` makes of them."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from voicewire.client.main import app
from voicewire.streaming.settings import ServerSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"VOICEWIRE_{name.upper()}", raising=False)
    monkeypatch.delenv("VOICEWIRE_CONFIG", raising=False)


def serve(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["serve", *map(str, arguments)])


def printed(*arguments: str | Path) -> dict[str, object]:
    result = serve(*arguments, "--print-config")
    assert result.exit_code == 0, result.output
    return tomllib.loads(result.output)


def test_the_defaults_are_printed_whole() -> None:
    result = serve("--print-config")
    named = {line.removeprefix("# ").split(" =")[0] for line in result.output.splitlines()}
    assert named == set(ServerSettings.model_fields)
    assert "# threads =" in result.output


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "voicewire.toml"
    file.write_text("port = 1000\nmax_sessions = 2\nidle_s = 7.5\n")
    monkeypatch.setenv("VOICEWIRE_PORT", "2000")
    monkeypatch.setenv("VOICEWIRE_MAX_SESSIONS", "3")
    settings = printed("--config", file, "--port", "3000")
    assert (settings["port"], settings["max_sessions"], settings["idle_s"]) == (3000, 3, 7.5)
    assert settings["session_s"] == ServerSettings().session_s


def test_the_environment_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "voicewire.toml"
    file.write_text('host = "::1"\n')
    monkeypatch.setenv("VOICEWIRE_CONFIG", str(file))
    assert printed()["host"] == "::1"


def test_every_setting_can_be_a_flag() -> None:
    settings = printed("--set", "idle_s=60", "--set", "page = false", "--set", "codecs=lyra_v2,encodec_24khz")
    assert settings["idle_s"] == 60
    assert settings["page"] is False
    assert settings["codecs"] == ["lyra_v2", "encodec_24khz"]


def test_a_flag_of_its_own_wins_over_set() -> None:
    assert printed("--set", "port=1", "--port", "2")["port"] == 2


@pytest.mark.parametrize(
    ("assignment", "said"),
    [("idle_s", "write a setting's name"), ("idel_s=3", "idel_s"), ("idle_s=0", "idle_s")],
)
def test_what_cannot_be_set_is_said_so(assignment: str, said: str) -> None:
    result = serve("--set", assignment, "--print-config")
    assert result.exit_code == 1
    assert said in result.output


@settings(max_examples=30)
@given(
    host=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    idle_s=st.floats(0.001, 1e9),
    threads=st.none() | st.integers(1, 64),
    codecs=st.lists(st.sampled_from(["lyra_v2", "encodec_24khz"]), max_size=2),
)
def test_what_is_printed_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, host: str, idle_s: float, threads: int | None, codecs: list[str]
) -> None:
    before = ServerSettings.load(host=host, idle_s=idle_s, threads=threads, codecs=codecs)
    file = tmp_path_factory.mktemp("config") / "voicewire.toml"
    file.write_text(before.as_toml(), encoding="utf-8")
    assert ServerSettings.load(file) == before
