"""The machine and the code that a figure was measured on, for the JSON beside every figure."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.speech_tars import REPOSITORY


@dataclass(frozen=True, slots=True)
class Machine:
    """Attributes are as the system names them; `commit` ends in `+` where the tree differed from it."""

    processor: str
    cores: int
    memory_gib: float
    instructions: tuple[str, ...]
    gpu: str | None
    python: str
    torch: str
    commit: str
    measured: str

    def __str__(self) -> str:
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        where = f"{self.processor}, {cores}" + (f", {self.gpu}" if self.gpu else "")
        return f"Measured {self.measured} at commit {self.commit}: {where}, torch {self.torch}."


def this_machine() -> Machine:
    """Reads the shape of this machine."""
    import torch

    cpu = _cpu_facts()
    known = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    flags = set(cpu.get("flags", "").split())
    return Machine(
        processor=cpu.get("model name", platform.processor() or platform.machine()),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        instructions=tuple(name for name in known if name in flags),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        python=platform.python_version(),
        torch=version("torch"),
        commit=commit(),
        measured=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def commit() -> str:
    """The repository's commit, with `+` where files differ from it; `unknown` outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu_facts() -> dict[str, str]:
    """Of the first core, what Linux tells."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    return {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())
    }
