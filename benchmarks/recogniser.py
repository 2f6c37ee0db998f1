"""The recogniser that a benchmark's command line asks for, and what tells it from any other."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine
from benchmarks.speech_tars import REPOSITORY
from benchmarks.transcript_cache import fingerprint
from voicewire.asr.transcriber import BatchTranscriber

_SUFFIXES = (".py", ".json", ".safetensors")


def load_recogniser(args: argparse.Namespace, *, slots: int, widest_beam: int = 1) -> BatchTranscriber:
    """Raises WeightsError and SettingsError; `args` come from `benchmark_parser`."""
    return BatchTranscriber.load(
        args.model,
        slots=slots,
        adapter=args.adapter,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        widest_beam=widest_beam,
    )


def recogniser_fingerprint(transcriber: BatchTranscriber, *more: object) -> str:
    """Changes with anything that could change a transcript: source, weights, arithmetic, and `more`."""
    folder = REPOSITORY / "asr"
    # What trains an adapter has no say in what the adapter does.
    source = [
        path
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES and not {"train", "shipped"} & set(path.relative_to(folder).parts)
    ]
    # By content, since a candidate is trained again under the same path.
    facts = (transcriber.model_name, transcriber.adapter.sha256, transcriber.precision.name)
    return fingerprint(*facts, *more, files=source)


def run_facts(transcriber: BatchTranscriber, args: argparse.Namespace) -> dict[str, Any]:
    """What stands beside every figure of a run; paths stay out of it."""
    return {
        "model": transcriber.model_name,
        "adapter": transcriber.adapter.name,
        "adapter_sha256": transcriber.adapter.sha256[:12],
        "precision": transcriber.precision.name,
        "threads": args.threads,
        "limit": getattr(args, "limit", None),
    }


def write_report(path: Path, figures: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """The figures as JSON, with the run and the machine that they come from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = dict(figures) | {"run": dict(run) | {"machine": asdict(this_machine())}}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
