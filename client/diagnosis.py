"""What this machine has and lacks for voicewire: one check per part, each with what to do about it.

Like `voicewire.client.local` it imports the other rooms when it is called, and works where they are not installed.
"""

import importlib.metadata
import json
import platform
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from pydantic import BaseModel, ValidationError

from voicewire.client.address import Address
from voicewire.client.errors import ClientError
from voicewire.client.microphone import load_sounddevice

if TYPE_CHECKING:
    from voicewire.asr.checkpoint import Checkpoint

CLIENT_PACKAGES = ("numpy", "websockets", "pydantic", "typer", "rich", "soundfile", "av", "pysubs2")
SERVER_PACKAGES = (
    "torch",
    "openai-whisper",
    "safetensors",
    "soxr",
    "silero-vad",
    "onnxruntime",
    "starlette",
    "uvicorn",
    "structlog",
    "prometheus-client",
    "pydantic-settings",
    "platformdirs",
)
INSTALL_SERVER = "pip install 'voicewire[server,weights]'"
ANSWER_TIMEOUT_S = 3.0


class Status(StrEnum):
    """How a check went: `warn` is something that only some uses need."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One row of `voicewire doctor`."""

    name: str
    status: Status
    detail: str
    advice: str = ""


class _Slots(BaseModel):
    capacity: int
    in_use: int


class _Readiness(BaseModel):
    """What `/readyz` says."""

    status: str
    model: str
    codecs: list[str] = []
    slots: _Slots


def diagnose(
    address: Address, *, expects_server: bool, model: str = "base", adapter: str = "default"
) -> Iterator[Check]:
    """Every check, one after the other; the slow ones load the model.

    Args:
        address: where a server runs, or is to run.
        expects_server: whether a server that is not there is a failure.
        model, adapter: what a server would load.
    """
    yield _python()
    yield _packages(
        "client packages", CLIENT_PACKAGES, Status.FAIL, "pip install --force-reinstall voicewire"
    )
    server = _packages(
        "server packages", SERVER_PACKAGES, Status.WARN, f"to serve and transcribe: {INSTALL_SERVER}"
    )
    yield server
    if server.status is Status.OK:
        yield from _recogniser(model, adapter)
        yield _guarded("codec", _codec)
    yield _guarded("audio input", _audio_input)
    yield _server(address, expects_server)


def _python() -> Check:
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("Python", Status.OK, version)


def _packages(name: str, packages: tuple[str, ...], missing_status: Status, advice: str) -> Check:
    versions, missing = [], []
    for package in packages:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Check(name, missing_status, f"not installed: {', '.join(missing)}", advice)
    return Check(name, Status.OK, ", ".join(versions))


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """The check, or its failure where it raises: a broken package may raise anything when it is imported."""
    try:
        return check()
    except ClientError as error:
        return Check(name, Status.WARN, "none", str(error))
    except Exception as error:
        return _broken(name, error)


def _broken(name: str, error: Exception) -> Check:
    return Check(name, Status.FAIL, f"{type(error).__name__}: {error}", f"install it anew: {INSTALL_SERVER}")


def _recogniser(model: str, adapter: str) -> Iterator[Check]:
    yield _guarded("torch", _torch)
    checkpoint = _load_weights(model)
    if isinstance(checkpoint, Check):
        yield checkpoint
    else:
        yield Check(
            "weights",
            Status.OK,
            f"{checkpoint.name}, from {checkpoint.source}, SHA-256 {checkpoint.source_sha256[:16]}...",
        )
        yield _guarded("adapter", lambda: _adapter(adapter, checkpoint))
        yield _guarded("precision", lambda: _precision(checkpoint))
    yield _guarded("speech gate", _speech_gate)


def _torch() -> Check:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    devices = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    return Check(
        "torch", Status.OK, f"{torch.__version__}, {build}, {devices}, {torch.get_num_threads()} threads"
    )


def _load_weights(model: str) -> "Checkpoint | Check":
    try:
        from voicewire.asr.errors import WeightsError
        from voicewire.asr.weights import available_sources, load_checkpoint
    except Exception as error:
        return _broken("weights", error)
    try:
        checkpoint: Checkpoint = load_checkpoint(model, download=False)
    except WeightsError as error:
        found = [source.where for source in available_sources(model) if source.present]
        seen = f"damaged: {', '.join(found)}" if found else f"no weights of {model}"
        return Check("weights", Status.FAIL, seen, str(error))
    return checkpoint


def _adapter(name: str, checkpoint: "Checkpoint") -> Check:
    from voicewire.asr.adapters import load_adapter
    from voicewire.asr.errors import WeightsError

    try:
        adapter = load_adapter(name, checkpoint)
    except WeightsError as error:
        return Check("adapter", Status.FAIL, name, str(error))
    detail = f"{adapter.source}, SHA-256 {adapter.sha256[:16]}..."
    if not adapter.changes and not adapter.replaced:
        return Check("adapter", Status.WARN, adapter.source, "without one, streaming misses many words")
    return Check("adapter", Status.OK, detail)


def _precision(checkpoint: "Checkpoint") -> Check:
    from voicewire.asr.precision import choose_precision

    chosen = choose_precision(checkpoint.dims)
    tried = "; ".join(
        f"{one.dtype}: block {one.block_ms:.2f} ms, step {one.step_ms:.2f} ms" for one in chosen.measured
    )
    return Check("precision", Status.OK, f"{chosen.name} on {chosen.device}: {chosen.reason} ({tried})")


def _speech_gate() -> Check:
    import numpy as np

    from voicewire.asr.voice_activity import VoiceActivity, VoiceState

    VoiceActivity().push(VoiceState(), np.zeros(16_000, np.float32))
    return Check("speech gate", Status.OK, f"Silero VAD {importlib.metadata.version('silero-vad')}")


def _codec() -> Check:
    """What a server has that is not told which codecs to load."""
    from voicewire import codecs

    try:
        from voicewire.codecs.lyra_v2 import FILES, NAME
    except ModuleNotFoundError as error:
        advice = "for tokens: pip install 'voicewire[server,codecs]'"
        return Check("codec", Status.WARN, f"not installed: {error.name}", advice)
    if not all(file.kept.is_file() for file in FILES):
        advice = f"for tokens: voicewire serve --codec {NAME} fetches them"
        return Check("codec", Status.WARN, f"no weights of {NAME}", advice)
    try:
        codec = codecs.load(NAME, FILES[0].kept.parent)
    except codecs.CodecError as error:
        return Check("codec", Status.FAIL, NAME, str(error))
    rates = ", ".join(f"{rate:g}" for rate in codecs.rates(codec))
    return Check("codec", Status.OK, f"{NAME}, {rates} kbps, SHA-256 {codec.weights_sha256[:16]}...")


def _audio_input() -> Check:
    sounddevice = load_sounddevice()
    inputs = [
        f"{number}: {device['name']}"
        for number, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"] > 0
    ]
    if not inputs:
        return Check("audio input", Status.WARN, "no input device", "connect a microphone to caption it")
    return Check("audio input", Status.OK, "; ".join(inputs))


def _server(address: Address, expected: bool) -> Check:
    """A server that runs, or the port that one would take."""
    url = address.http_url("/readyz")
    try:
        with urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            body = answer.read()
    except HTTPError as error:
        body = error.read()
    except (URLError, OSError) as error:
        return _no_server(address, expected, str(getattr(error, "reason", error)))
    try:
        told = _Readiness.model_validate_json(body)
    except ValidationError:
        return Check(
            "server",
            Status.FAIL if expected else Status.WARN,
            f"what answers at {address.authority} is no voicewire server",
            "choose another port: voicewire serve --port",
        )
    free = told.slots.capacity - told.slots.in_use
    slots = f"{free} of {told.slots.capacity} slots free"
    codecs = f"codecs {', '.join(told.codecs)}, " if told.codecs else ""
    detail = f"{address.stream_url}: {told.status}, model {told.model or '-'}, {codecs}{slots}"
    if told.status != "ready":
        return Check("server", Status.WARN, detail, "wait until it has loaded its model, or see its log")
    if not free:
        return Check("server", Status.WARN, detail, "every slot is taken: voicewire serve --max-sessions")
    return Check("server", Status.OK, detail)


def _no_server(address: Address, expected: bool, reason: str) -> Check:
    if expected:
        return Check(
            "server",
            Status.FAIL,
            f"nothing answers at {address.stream_url} ({reason})",
            "start it: voicewire serve",
        )
    if not address.is_local:
        return Check("server", Status.OK, f"none at {address.stream_url}")
    try:
        with socket.create_server((address.host, address.port)):
            return Check("server", Status.OK, f"none runs; port {address.port} is free for one")
    except OSError as error:
        return Check(
            "server",
            Status.WARN,
            f"port {address.port} cannot be had ({error.strerror})",
            "end what holds it, or choose another: voicewire serve --port",
        )


def as_json(checks: list[Check]) -> str:
    """The checks for programs: whether all is well, and each with its status, detail and advice."""
    rows = [
        {"name": check.name, "status": check.status.value, "detail": check.detail, "advice": check.advice}
        for check in checks
    ]
    return json.dumps(
        {"ok": all(check.status is not Status.FAIL for check in checks), "checks": rows}, indent=2
    )
