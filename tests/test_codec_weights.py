"""Codecs' weights: found, verified, downloaded from a real HTTP server that may fail in every way."""

import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from voicewire.codecs import CodecWeightsError
from voicewire.codecs.codec_weights import WeightsFile, cache_folder, read_weights

RIGHT = bytes(range(256)) * 4096  # 1 MiB
ANSWERS = {
    "/right": (200, len(RIGHT), RIGHT),
    "/wrong": (200, len(RIGHT), RIGHT[::-1]),
    "/cut": (200, len(RIGHT), RIGHT[:1000]),
    "/silent": (200, None, RIGHT[:1000]),
    "/long": (200, None, RIGHT * 8),
}


class Server(BaseHTTPRequestHandler):
    """Answers each path as `ANSWERS` says, and with 404 elsewhere."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, length, body = ANSWERS.get(self.path, (404, 0, b""))
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:  # the client broke off
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Server.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def file(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsFile:
    monkeypatch.setenv("VOICEWIRE_CACHE", str(tmp_path / "cache"))
    url = f"http://127.0.0.1:{server.server_port}/right"
    return WeightsFile("a_codec", "net.bin", url, hashlib.sha256(RIGHT).hexdigest(), 2 * len(RIGHT))


def kept(file: WeightsFile) -> Path:
    return cache_folder() / file.codec / file.name


def test_a_download_is_kept_and_asked_for_once(file: WeightsFile) -> None:
    told: list[tuple[int, int, str]] = []
    assert read_weights(file, progress=lambda *news: told.append(news)) == RIGHT
    assert kept(file).read_bytes() == RIGHT
    assert read_weights(file) == RIGHT
    assert Server.asked == ["/right"]
    assert told[-1] == (len(RIGHT), len(RIGHT), "downloading a_codec's net.bin")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_as_much_of_the_hash_as_is_known_is_enough(file: WeightsFile) -> None:
    assert read_weights(replace(file, sha256=file.sha256[:8])) == RIGHT
    with pytest.raises(CodecWeightsError):
        read_weights(replace(file, sha256="00000000"))


@pytest.mark.parametrize("path", ["/wrong", "/cut", "/silent", "/long", "/missing"])
def test_a_bad_download_is_refused_and_nothing_is_kept(file: WeightsFile, path: str) -> None:
    bad = replace(file, url=file.url.replace("/right", path))
    with pytest.raises(CodecWeightsError, match=r"cannot be downloaded .* What to do: fetch http") as caught:
        read_weights(bad)
    assert str(kept(bad)) in str(caught.value)
    assert not list(cache_folder().rglob("*.*"))


def test_a_download_without_a_server_says_what_to_do(file: WeightsFile) -> None:
    nobody = replace(file, url="http://127.0.0.1:9/right")
    with pytest.raises(CodecWeightsError, match=r"refused.*give a path to it"):
        read_weights(nobody)


def test_a_damaged_cache_is_mended(file: WeightsFile, caplog: pytest.LogCaptureFixture) -> None:
    read_weights(file)
    kept(file).write_bytes(RIGHT[:-1])
    with caplog.at_level(logging.WARNING):
        assert read_weights(file) == RIGHT
    assert "downloaded anew" in caplog.text
    assert kept(file).read_bytes() == RIGHT


def test_a_cache_that_cannot_be_written_costs_no_more_than_a_download(
    file: WeightsFile, caplog: pytest.LogCaptureFixture
) -> None:
    cache_folder().parent.mkdir(parents=True)
    cache_folder().write_text("a file where the folder should be")
    assert read_weights(file) == RIGHT
    assert "set VOICEWIRE_CACHE" in caplog.text


def test_a_path_is_taken_alone_as_a_file_or_as_its_folder(file: WeightsFile, tmp_path: Path) -> None:
    (tmp_path / file.name).write_bytes(RIGHT)
    assert read_weights(file, tmp_path) == read_weights(file, tmp_path / file.name) == RIGHT
    (tmp_path / file.name).write_bytes(b"another model")
    with pytest.raises(CodecWeightsError, match=r"is not the net\.bin that a_codec was built for"):
        read_weights(file, tmp_path)
    with pytest.raises(CodecWeightsError, match=r"give the path of net\.bin"):
        read_weights(file, tmp_path / "nowhere")
    with pytest.raises(CodecWeightsError):
        read_weights(replace(file, most_bytes=3), tmp_path)
    assert Server.asked == []
