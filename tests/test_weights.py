"""Weights from every source, and damaged files of every kind: the right tensors or a WeightsError."""

import hashlib
import http.server
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import whisper
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from whisper.model import ModelDimensions, Whisper

from voicewire.asr import weights
from voicewire.asr.checkpoint import Checkpoint, read_checkpoint, tensors_sha256, write_checkpoint
from voicewire.asr.ctranslate2_format import looks_like_ctranslate2, read_variables, to_openai_names
from voicewire.asr.errors import WeightsError
from voicewire.asr.weights import PACKAGES, available_sources, load_checkpoint

SMALL = ModelDimensions(8, 12, 64, 1, 2, 51864, 10, 64, 1, 2)
BASE = ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6)
TINY_EN = ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and none of openai-whisper's own."""
    monkeypatch.setenv("VOICEWIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    return tmp_path / "cache"


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PACKAGES", ())


@pytest.fixture(scope="module")
def small_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = Whisper(SMALL)
    torch.nn.init.normal_(model.decoder.positional_embedding)  # openai-whisper leaves it as the memory was
    return {name: tensor.half() for name, tensor in model.state_dict().items()}


def to_ctranslate2(dims: ModelDimensions, state: dict[str, torch.Tensor]) -> bytes:
    """A model.bin as CTranslate2 lays it out, written independently of the reader."""
    out: dict[str, torch.Tensor] = {}

    def norm(target: str, source: str) -> None:
        out[f"{target}/gamma"], out[f"{target}/beta"] = state[f"{source}.weight"], state[f"{source}.bias"]

    def linear(target: str, *sources: str) -> None:
        found = [state[f"{source}.weight"] for source in sources]
        zero = torch.zeros(len(found[0]), dtype=torch.float16)
        out[f"{target}/weight"] = torch.cat(found)
        out[f"{target}/bias"] = torch.cat([state.get(f"{source}.bias", zero) for source in sources])

    for side, layers in (("encoder", dims.n_audio_layer), ("decoder", dims.n_text_layer)):
        out[f"{side}/position_encodings/encodings"] = state[f"{side}.positional_embedding"]
        for i in range(layers):
            ours, theirs = f"{side}.blocks.{i}", f"{side}/layer_{i}"
            norm(f"{theirs}/self_attention/layer_norm", f"{ours}.attn_ln")
            linear(
                f"{theirs}/self_attention/linear_0", *(f"{ours}.attn.{x}" for x in ("query", "key", "value"))
            )
            linear(f"{theirs}/self_attention/linear_1", f"{ours}.attn.out")
            if side == "decoder":
                norm(f"{theirs}/attention/layer_norm", f"{ours}.cross_attn_ln")
                linear(f"{theirs}/attention/linear_0", f"{ours}.cross_attn.query")
                linear(f"{theirs}/attention/linear_1", f"{ours}.cross_attn.key", f"{ours}.cross_attn.value")
                linear(f"{theirs}/attention/linear_2", f"{ours}.cross_attn.out")
            norm(f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln")
            linear(f"{theirs}/ffn/linear_0", f"{ours}.mlp.0")
            linear(f"{theirs}/ffn/linear_1", f"{ours}.mlp.2")
    for conv in ("conv1", "conv2"):
        out[f"encoder/{conv}/weight"] = state[f"encoder.{conv}.weight"]
        out[f"encoder/{conv}/bias"] = state[f"encoder.{conv}.bias"]
    norm("encoder/layer_norm", "encoder.ln_post")
    norm("decoder/layer_norm", "decoder.ln")
    out["decoder/embeddings/weight"] = state["decoder.token_embedding.weight"]
    return serialise(out, [("decoder/projection/weight", "decoder/embeddings/weight")])


def serialise(variables: dict[str, torch.Tensor], aliases: list[tuple[str, str]]) -> bytes:
    codes = {torch.float32: 0, torch.int8: 1, torch.float16: 4, torch.bfloat16: 5}

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, tensor in variables.items():
        raw = tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else bytes(tensor.nbytes)
        data += text(name) + struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape)
        data += struct.pack("<BI", codes[tensor.dtype], len(raw)) + raw
    data += struct.pack("<I", len(aliases))
    return data + b"".join(text(alias) + text(name) for alias, name in aliases)


# The packages


@pytest.mark.parametrize(("model", "dims", "count"), [("base", BASE, 245), ("tiny.en", TINY_EN, 167)])
def test_a_package_becomes_the_model(cache: Path, model: str, dims: ModelDimensions, count: int) -> None:
    told: list[tuple[int, int, str]] = []
    checkpoint = load_checkpoint(model, progress=lambda *news: told.append(news), download=False)
    assert (checkpoint.name, checkpoint.dims, len(checkpoint.state)) == (model, dims, count)
    assert checkpoint.source.startswith("package ")
    assert checkpoint.multilingual == (model == "base")
    Whisper(dims).load_state_dict(checkpoint.state)  # strict: nothing missing, nothing left over
    assert told[-1][0] == told[-1][1] > 70_000_000
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)

    again = load_checkpoint(model, download=False)
    assert again.source.startswith("cache, from package ")
    assert (again.sha256, again.source_sha256) == (checkpoint.sha256, checkpoint.source_sha256)
    assert again.sha256 == tensors_sha256(checkpoint.state)
    assert [file.name for file in cache.iterdir()] == [f"whisper-{model}.safetensors"]


def test_both_packages_of_base_hold_the_same_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (package for package in PACKAGES if package.model == "base")
    if second.files() is None or first.files() is None:
        pytest.skip(f"only one of {first.title} and {second.title} is installed")
    one = load_checkpoint("base", download=False)
    monkeypatch.setattr(weights, "PACKAGES", (second,))
    (cache / "whisper-base.safetensors").unlink()
    other = load_checkpoint("base", download=False)
    assert second.title in other.source
    assert (other.sha256, other.source_sha256) == (one.sha256, second.sha256)


def test_a_package_with_other_contents_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = replace(next(p for p in PACKAGES if p.model == "tiny.en"), sha256="0" * 64)
    monkeypatch.setattr(weights, "PACKAGES", (changed,))
    with pytest.raises(WeightsError, match="install it again"):
        load_checkpoint("tiny.en", download=False)
    assert not cache.exists()


# The cache


def small_cache(monkeypatch: pytest.MonkeyPatch, cache: Path, state: dict[str, torch.Tensor]) -> Path:
    """A small model in the cache under the name of base, made from a pinned source."""
    file = cache / "whisper-base.safetensors"
    source_sha256 = whisper._MODELS["base"].split("/")[-2]
    write_checkpoint(Checkpoint(SMALL, state, "a test", tensors_sha256(state), source_sha256, "base"), file)
    return file


@pytest.mark.usefixtures("no_packages")
def test_the_cache_comes_first(
    cache: Path, monkeypatch: pytest.MonkeyPatch, small_state: dict[str, torch.Tensor]
) -> None:
    small_cache(monkeypatch, cache, small_state)
    checkpoint = load_checkpoint("base", download=False)
    assert checkpoint.dims == SMALL
    assert all(torch.equal(tensor, small_state[name]) for name, tensor in checkpoint.state.items())


@pytest.mark.usefixtures("no_packages")
@pytest.mark.parametrize("damage", ["bit", "short", "empty", "text"])
def test_a_damaged_cache_is_not_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch, small_state: dict[str, torch.Tensor], damage: str
) -> None:
    file = small_cache(monkeypatch, cache, small_state)
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    broken = {"bit": data, "short": data[:-5], "empty": b"", "text": b"not a model"}[damage]
    file.write_bytes(broken)
    with pytest.raises(WeightsError):
        read_checkpoint(file)
    with pytest.raises(WeightsError, match=r"voicewire\[weights\]"):  # made anew, and there is no source
        load_checkpoint("base", download=False)


@pytest.mark.usefixtures("no_packages")
def test_a_cache_from_an_unknown_source_is_not_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch, small_state: dict[str, torch.Tensor]
) -> None:
    file = small_cache(monkeypatch, cache, small_state)
    write_checkpoint(replace(read_checkpoint(file), source_sha256="0" * 64), file)
    with pytest.raises(WeightsError, match="no weights for 'base'"):
        load_checkpoint("base", download=False)


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VOICEWIRE_CACHE", str(tmp_path / "file"))
    assert load_checkpoint("tiny.en", download=False).dims == TINY_EN


# Paths


def test_a_folder_of_ctranslate2_is_read(tmp_path: Path, small_state: dict[str, torch.Tensor]) -> None:
    data = to_ctranslate2(SMALL, small_state)
    (tmp_path / "model.bin").write_bytes(data)
    for path in (tmp_path, tmp_path / "model.bin"):
        checkpoint = load_checkpoint(path=path)
        assert checkpoint.dims == SMALL
        assert checkpoint.source_sha256 == hashlib.sha256(data).hexdigest()
        assert checkpoint.state.keys() == small_state.keys()
        assert all(torch.equal(tensor, small_state[name]) for name, tensor in checkpoint.state.items())
    assert load_checkpoint(str(tmp_path)).name == "custom"


def test_our_own_file_is_read(tmp_path: Path, small_state: dict[str, torch.Tensor]) -> None:
    saved = Checkpoint(SMALL, small_state, "a test", tensors_sha256(small_state), "1" * 64, "mine")
    write_checkpoint(saved, tmp_path / "mine.safetensors")
    read = load_checkpoint(str(tmp_path / "mine.safetensors"))
    assert (read.name, read.sha256, read.source) == ("mine", saved.sha256, "a test")


def openai_file(path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> str:
    """A .pt file of OpenAI's layout whose hash stands in openai-whisper's table as that of "small"."""
    torch.save({"dims": asdict(SMALL), "model_state_dict": state}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(whisper._MODELS, "small", f"http://127.0.0.1:9/{sha256}/small.pt")
    return sha256


def test_only_openais_own_pt_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "small.pt"
    sha256 = openai_file(path, small_state, monkeypatch)
    checkpoint = load_checkpoint(path=path)
    assert (checkpoint.name, checkpoint.dims, checkpoint.source_sha256) == ("small", SMALL, sha256)
    torch.save({"dims": asdict(SMALL), "model_state_dict": {}}, path)
    monkeypatch.setattr(torch, "load", None)  # would fail if it were tried
    with pytest.raises(WeightsError, match="not one of OpenAI's files"):
        load_checkpoint(path=path)


@pytest.mark.usefixtures("no_packages")
def test_what_openai_whisper_downloaded_is_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_state: dict[str, torch.Tensor]
) -> None:
    file = tmp_path / "elsewhere" / "whisper" / "small.pt"
    file.parent.mkdir(parents=True)
    openai_file(file, small_state, monkeypatch)
    assert load_checkpoint("small", download=False).source == str(file)
    assert load_checkpoint("small", download=False).source == f"cache, from {file}"


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "notes.txt").write_text("nothing of the kind, at some length to be sure of it" * 3)
    for path, match in (
        (tmp_path / "absent", "no weights at"),
        (tmp_path, "no weights at"),
        (tmp_path / "other.safetensors", "not one of voicewire's"),
        (tmp_path / "notes.txt", "name another file"),
    ):
        with pytest.raises(WeightsError, match=match):
            load_checkpoint(path=path)
    with pytest.raises(WeightsError, match="no model is called 'basis'"):
        load_checkpoint("basis")


# The download


class Downloads(http.server.BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def downloads() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Downloads)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("no_packages")
def test_the_download_is_verified_and_kept(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    downloads: str,
    small_state: dict[str, torch.Tensor],
) -> None:
    sha256 = openai_file(tmp_path / "small.pt", small_state, monkeypatch)
    monkeypatch.setitem(whisper._MODELS, "small", f"{downloads}/{sha256}/small.pt")
    body = (tmp_path / "small.pt").read_bytes()
    monkeypatch.setattr(Downloads, "body", body[:-1] + b"?")
    with pytest.raises(WeightsError, match="not OpenAI's file"):
        load_checkpoint("small")
    assert list(cache.iterdir()) == []  # nothing of it stays
    monkeypatch.setattr(Downloads, "body", body)
    told: list[tuple[int, int, str]] = []
    assert load_checkpoint("small", progress=lambda *news: told.append(news)).source == "OpenAI's download"
    assert told[-1] == (len(body), len(body), "downloading from OpenAI")
    assert load_checkpoint("small").source == "cache, from OpenAI's download"


@pytest.mark.usefixtures("cache", "no_packages")
def test_with_nothing_to_be_had_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(whisper._MODELS, "base", f"http://127.0.0.1:9/{'0' * 64}/base.pt")
    with pytest.raises(WeightsError) as caught:
        load_checkpoint("base")
    for part in ("pip install 'voicewire[weights]'", "whisper-base.safetensors", "base.pt", "refused"):
        assert part in str(caught.value)


def test_the_sources_are_listed_in_order(cache: Path) -> None:
    before = available_sources("tiny.en")
    assert [source.kind for source in before] == ["cache", "package", "openai cache", "download"]
    assert [source.present for source in before] == [False, True, False, False]
    load_checkpoint("tiny.en", download=False)
    assert available_sources("tiny.en")[0].present
    assert [source.kind for source in available_sources("base")].count("package") == 2
    (path,) = available_sources("/nowhere/model.bin")
    assert (path.kind, path.present) == ("path", False)


# CTranslate2's format, damaged


@pytest.fixture(scope="module")
def model_bin(small_state: dict[str, torch.Tensor]) -> bytes:
    # The vocabulary's rows are most of the file; a few will do here.
    cut = small_state | {"decoder.token_embedding.weight": small_state["decoder.token_embedding.weight"][:5]}
    return to_ctranslate2(SMALL, cut)


def read(data: bytes) -> tuple[ModelDimensions, dict[str, torch.Tensor]]:
    return to_openai_names(read_variables(bytearray(data)))


def test_the_format_is_known_by_its_head(model_bin: bytes) -> None:
    assert looks_like_ctranslate2(model_bin[:32])
    assert not looks_like_ctranslate2(b"PK" + model_bin[:32])
    assert not looks_like_ctranslate2(b"")
    variables = read_variables(bytearray(model_bin))
    assert variables["decoder/projection/weight"] is variables["decoder/embeddings/weight"]


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_truncated_file_is_an_error(model_bin: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(model_bin) - 1))
    with pytest.raises(WeightsError):
        read_variables(bytearray(model_bin[:end]))


@given(data=st.data())
@settings(max_examples=500, deadline=None)
def test_a_changed_byte_is_an_error_or_another_number(model_bin: bytes, data: st.DataObject) -> None:
    broken = bytearray(model_bin)
    for _ in range(data.draw(st.integers(1, 4))):
        # The start of the file, with its many names and sizes, is hit as often as all the rest.
        at = data.draw(st.one_of(st.integers(0, 400), st.integers(0, len(broken) - 1)))
        broken[at] = data.draw(st.integers(0, 255))
    with suppress(WeightsError):  # and nothing else
        read(bytes(broken))


@given(data=st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_noise_behind_a_good_head_is_an_error(model_bin: bytes, data: bytes) -> None:
    with pytest.raises(WeightsError):
        read(model_bin[:25] + data)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"encoder/conv1/weight": None}, "no variable 'encoder/conv1/weight'"),
        ({"encoder/layer_0/ffn/linear_0/weight": torch.zeros(256, 64, dtype=torch.int8)}, "quantised"),
        ({"encoder/conv1/bias": torch.zeros(2, 2)}, "not 1 dimensions"),
        ({"encoder/layer_0/self_attention/linear_0/bias": torch.ones(192)}, "bias for its keys"),
        ({"encoder/layer_0/self_attention/linear_0/weight": torch.ones(191, 64)}, "does not hold 3 layers"),
    ],
)
def test_what_is_no_whisper_model_is_named(
    model_bin: bytes, change: dict[str, torch.Tensor | None], match: str
) -> None:
    variables = read_variables(bytearray(model_bin)) | change
    kept = {name: tensor for name, tensor in variables.items() if tensor is not None}
    with pytest.raises(WeightsError, match=match):
        read(serialise(kept, []))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_floats_are_read_as_float32(model_bin: bytes, dtype: torch.dtype) -> None:
    variables = {name: tensor.to(dtype) for name, tensor in read_variables(bytearray(model_bin)).items()}
    _, state = read(serialise(variables, []))
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    torch.testing.assert_close(
        state["encoder.conv1.weight"], variables["encoder/conv1/weight"].float(), rtol=0, atol=0
    )


def test_a_model_of_impossible_size_is_refused(tmp_path: Path, model_bin: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(model_bin)
    checkpoint = load_checkpoint(path=tmp_path)  # an odd vocabulary, but a whole model
    for wrong in (
        replace(SMALL, n_audio_layer=10**9),
        replace(SMALL, n_text_head=3),
        replace(SMALL, n_mels=0),
    ):
        file = tmp_path / "wrong.safetensors"
        write_checkpoint(replace(checkpoint, dims=wrong), file)
        with pytest.raises(WeightsError, match="damaged"):
            read_checkpoint(file)
