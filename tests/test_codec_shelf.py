"""Which codecs a server loads: those it is told to, Lyra where its weights lie ready, and none by a download."""

from pathlib import Path

import pytest

from tests import codecs_at_hand
from tests.recognisers import ScriptedRecogniser
from voicewire.asr.errors import WeightsError
from voicewire.client import diagnosis
from voicewire.client.diagnosis import Status
from voicewire.codecs.lyra_v2 import FILES
from voicewire.streaming.codec_shelf import codec_loader
from voicewire.streaming.engine import Engine
from voicewire.streaming.errors import EngineError
from voicewire.streaming.settings import ServerSettings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.setenv("VOICEWIRE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def filled(cache: Path) -> Path:
    codecs_at_hand.codec("lyra_v2")
    folder = codecs_at_hand.weights("lyra_v2")
    if folder is None:
        pytest.skip("lyra's weights are not in a folder of their own here")
    FILES[0].kept.parent.mkdir(parents=True)
    for file in FILES:
        file.kept.symlink_to(folder / file.name)
    return cache


def test_auto_is_what_lies_in_the_cache(filled: Path) -> None:
    assert list(codec_loader(ServerSettings())()) == ["lyra_v2"]
    assert dict(codec_loader(ServerSettings(codecs=("none",)))()) == {}
    assert diagnosis._codec().status is Status.OK


def test_auto_fetches_nothing(cache: Path) -> None:
    assert dict(codec_loader(ServerSettings())()) == {}
    check = diagnosis._codec()
    assert check.status is Status.WARN
    assert "voicewire serve --codec lyra_v2" in check.advice


def test_auto_does_without_weights_that_are_damaged(filled: Path) -> None:
    FILES[1].kept.unlink()
    FILES[1].kept.write_bytes(b"")
    assert dict(codec_loader(ServerSettings())()) == {}
    assert diagnosis._codec().status is Status.FAIL


def test_a_codec_that_is_named_and_cannot_be_had_keeps_the_server_from_starting() -> None:
    settings = ServerSettings(codecs=("no_such_codec",))
    engine = Engine(ScriptedRecogniser, 2, codec_loader(settings))
    engine.start()
    with pytest.raises(EngineError, match="no codec is called 'no_such_codec'"):
        engine.wait_ready(20)


def test_a_codec_of_words_listens_as_the_recogniser_does() -> None:
    """With another adapter than it was made for there is no such server."""
    [codec] = codec_loader(ServerSettings(codecs=("whisper_semantic",)))().values()
    assert codec.encode(codecs_at_hand.speech(16_000)[:32_000]).frames == 50
    with pytest.raises(WeightsError, match="quantise"):
        codec_loader(ServerSettings(codecs=("whisper_semantic",), adapter="none"))()


@pytest.mark.parametrize(
    ("value", "names"),
    [("lyra_v2", ("lyra_v2",)), ("lyra_v2, encodec_24khz", ("lyra_v2", "encodec_24khz")), ("", ())],
)
def test_the_environment_names_codecs_with_commas(
    value: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICEWIRE_CODECS", value)
    assert ServerSettings.load().codecs == names
