"""What a latency run found at one setting: figures for the JSON, a row for the table, a curve for the plot."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.emission import Emission
from benchmarks.machine import Machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.percentiles import absolute_errors, percentiles
from benchmarks.playing import Playback
from benchmarks.speech_tars import ReferenceWord
from benchmarks.word_match import match_words
from voicewire.asr.settings import StreamSettings


@dataclass(frozen=True, slots=True)
class Speed:
    """What one stream cost this process: seconds of computing per second of audio, and bytes of state."""

    real_time_factor: float
    stages: Mapping[str, float]
    state_bytes: int


@dataclass(frozen=True, slots=True)
class LatencyOutcome:
    """All playbacks at one setting; `speed` is None where the recogniser ran in another process."""

    settings: StreamSettings
    playbacks: Sequence[Playback]
    speed: Speed | None

    @property
    def name(self) -> str:
        return f"{self.settings.chunk_ms}:{self.settings.commit_ms}"

    def matched(self) -> list[tuple[str, ReferenceWord, Emission]]:
        """Every reference word that was recognised, with the name of its set and corpus."""
        return [
            (f"{playback.clip.tar} {playback.clip.corpus}", word, playback.emissions[at])
            for playback in self.playbacks
            for word, at in match_words(playback.clip.words, [one.word for one in playback.emissions])
        ]

    def delays(self) -> tuple[list[float], list[float]]:
        """Seconds from a word's end in the audio until its interim text stood, and until it was committed."""
        pairs = self.matched()
        interim = [emission.interim_s - word.end_s for _, word, emission in pairs]
        return interim, [emission.committed_s - word.end_s for _, word, emission in pairs]

    def figures(self) -> dict[str, Any]:
        interim, committed = self.delays()
        figures: dict[str, Any] = {
            "chunk_ms": self.settings.chunk_ms,
            "commit_ms": self.settings.commit_ms,
            "clips": len(self.playbacks),
            "reference_words": sum(len(playback.clip.words) for playback in self.playbacks),
            "matched_words": len(interim),
            "delay_s": {"interim": percentiles(interim), "committed": percentiles(committed)},
            "flush_s": percentiles([playback.flush_s for playback in self.playbacks]),
            "last_word_after_flush_s": percentiles(
                [one.last_word_s for one in self.playbacks if one.last_word_s is not None]
            ),
            "word_times": self._word_times(),
        }
        if self.speed:
            figures["real_time_factor"] = self.speed.real_time_factor
            figures["real_time_factor_by_stage"] = dict(self.speed.stages)
            figures["state_bytes_per_stream"] = self.speed.state_bytes
        return figures

    def _word_times(self) -> dict[str, Any]:
        starts: dict[str, list[float]] = defaultdict(list)
        ends: dict[str, list[float]] = defaultdict(list)
        for part, word, emission in self.matched():
            for name in (part, "all"):
                starts[name].append(emission.word.start_s - word.start_s)
                ends[name].append(emission.word.end_s - word.end_s)
        return {
            name: {"start": absolute_errors(starts[name]), "end": absolute_errors(ends[name])}
            for name in sorted(starts, key=lambda name: (name == "all", name))
        }


def print_report(console: Console, outcomes: Sequence[LatencyOutcome]) -> None:
    """One row per setting, and word times for each part of each set."""
    for title, headings, rows in (
        ("Seconds from a word's end to its text: median / P95 / P99", _DELAYS, _delay_rows(outcomes)),
        ("Error of word times in ms: mean / median / bias", _TIMES, _time_rows(outcomes)),
    ):
        table = Table(title=title)
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for outcome in outcomes:
        if outcome.speed:
            stages = ", ".join(f"{name} {1000 * cost:.1f}" for name, cost in outcome.speed.stages.items())
            state = outcome.speed.state_bytes / 2**20
            console.print(f"{outcome.name}: ms per second of audio: {stages}; state {state:.1f} MiB a stream")


def write_markdown(path: Path, section: str, outcomes: Sequence[LatencyOutcome], machine: Machine) -> None:
    """The same tables, into that section of a Markdown file; medians, 95th and 99th percentiles in seconds."""
    tables = (
        markdown_table(_DELAYS, _delay_rows(outcomes), left=1),
        markdown_table(_TIMES, _time_rows(outcomes), left=2),
    )
    replace_section(path, section, "\n".join(tables) + f"\n{machine}\n")


def plot_delays(outcomes: Sequence[LatencyOutcome], path: Path) -> None:
    """The share of words that have appeared so long after they were spoken."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for color, outcome in enumerate(outcomes):
        for values, style, kind in zip(outcome.delays(), ("--", "-"), ("interim", "committed"), strict=True):
            shares = [100 * (at + 1) / len(values) for at in range(len(values))]
            axes.plot(sorted(values), shares, style, color=f"C{color}", label=f"{outcome.name} {kind}")
    axes.set(xlabel="seconds after the word's end", ylabel="% of words", xlim=(-0.5, 2.5), ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


_DELAYS = (
    "chunk:commit",
    "interim",
    "committed",
    "last word after flush",
    "flush",
    "real-time factor",
    "words",
)
_TIMES = ("chunk:commit", "set, corpus", "start", "end", "words")


def _delay_rows(outcomes: Sequence[LatencyOutcome]) -> list[tuple[str, ...]]:
    rows = []
    for outcome in outcomes:
        figures = outcome.figures()
        factor = f"{figures['real_time_factor']:.3f}" if outcome.speed else "-"
        delays = (*figures["delay_s"].values(), figures["last_word_after_flush_s"], figures["flush_s"])
        words = f"{figures['matched_words']} of {figures['reference_words']}"
        rows.append((outcome.name, *map(_three, delays), factor, words))
    return rows


def _time_rows(outcomes: Sequence[LatencyOutcome]) -> list[tuple[str, ...]]:
    return [
        (
            outcome.name,
            part,
            *(f"{one['mean_ms']} / {one['median_ms']} / {one['bias_ms']:+}" for one in errors.values()),
            str(errors["start"]["count"]),
        )
        for outcome in outcomes
        for part, errors in outcome.figures()["word_times"].items()
    ]


def _three(figures: Mapping[str, Any]) -> str:
    if figures["median"] is None:
        return "-"
    return " / ".join(f"{figures[name]:.2f}" for name in ("median", "p95", "p99"))
