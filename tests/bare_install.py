"""What `pip install voicewire` alone gives: the client and what it needs, and none of the server's packages."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
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
    link_packages(folder, ["voicewire"])
    return folder


def link_packages(folder: Path, requirements: Iterable[str]) -> None:
    """Links all that these need, without voicewire itself, from where the tests have it.

    What is not installed is left out: `make install` does without some packages that others ask for.
    """
    waiting = [Requirement(one) for one in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        known = (requirement.name, frozenset(requirement.extras))
        if known in seen:
            continue
        seen.add(known)
        if requirement.name == "voicewire":
            waiting += our_needs(requirement.extras)
            continue
        with suppress(PackageNotFoundError):
            package = distribution(requirement.name)
            link(package, folder)
            waiting += needs(package, requirement.extras)


def our_needs(extras: Iterable[str]) -> list[Requirement]:
    """From where they are written: what is installed may have been so before the last one was added."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(one) for group in wanted for one in group]


def link(package: Distribution, folder: Path) -> None:
    for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
        target = folder / top
        if not target.exists() and not top.startswith("__editable__"):
            target.symlink_to(Path(str(package.locate_file(top))))


def needs(package: Distribution, extras: Iterable[str] = ()) -> list[Requirement]:
    """What a package needs with some of its extras."""
    requirements = map(Requirement, package.requires or ())
    wanted = ("", *extras)
    return [
        one
        for one in requirements
        if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in wanted)
    ]


def run_bare(
    code: str, *arguments: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs code in a bare install."""
    # -S leaves out the site-packages that Python runs in.
    command = [sys.executable, "-S", "-c", code, *map(str, arguments)]
    env = (environment or dict(os.environ)) | {"PYTHONPATH": str(bare_site())}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
