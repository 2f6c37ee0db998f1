"""What `pip install voicewire` alone gives: the client and what it needs, and none of the server's packages."""

import os
import subprocess
import sys
from functools import cache
from importlib.metadata import Distribution, distribution
from pathlib import Path
from tempfile import mkdtemp

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("asr", "codecs", "streaming", "client")


@cache
def bare_site() -> Path:
    """A folder of links to the packages that a bare install has, with their metadata."""
    folder = Path(mkdtemp(prefix="voicewire-bare-"))
    (folder / "voicewire").mkdir()
    for room in ROOMS:
        (folder / "voicewire" / room).symlink_to(ROOT / room)
    found: dict[str, Distribution] = {}
    wanted = ["voicewire"]
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = distribution(name)
            wanted += needs(found[name])
    del found["voicewire"]
    for package in found.values():
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists() and not top.startswith("__editable__"):
                link.symlink_to(Path(str(package.locate_file(top))))
    return folder


def needs(package: Distribution) -> list[str]:
    """The names of what a package needs without any of its extras."""
    requirements = map(Requirement, package.requires or ())
    return [one.name for one in requirements if not one.marker or one.marker.evaluate({"extra": ""})]


def run_bare(
    code: str, *arguments: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs code in a bare install."""
    # -S leaves out the site-packages that Python runs in.
    command = [sys.executable, "-S", "-c", code, *map(str, arguments)]
    env = (environment or dict(os.environ)) | {"PYTHONPATH": str(bare_site())}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
