"""voicewire beside two other ways to stream with Whisper: the same speech, weights and number of threads.

    python -m benchmarks.comparison --data TAR... --json OUT [--limit N] [--native] [--free]

The others run on faster-whisper, with its defaults: LocalAgreement-2 after whisper_streaming (local_agreement.py),
which transcribes the growing audio again every second and commits what two transcripts agree on; and a sliding
window (sliding_window.py), whose last 10 s are transcribed every second and whose words are final after 2 s.

Clips are joined with pauses to streams of a minute or more. Every recogniser is played to at the pace of speech,
on a clock that counts its own processor time (paced_playing.py): let nothing else run beside it. With --free
computing takes no time on that clock, as on a machine of any speed. By default all compute in float32; --native
adds each in what it prefers here: voicewire as it chooses, the others in int8. A run that was stopped goes on
where it was.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from benchmarks.comparison_report import HEADINGS, Contender, print_comparison, rows
from benchmarks.faster_whisper_model import Transcribe, load_faster_whisper
from benchmarks.local_agreement import LocalAgreement
from benchmarks.long_stream import LongStream, long_streams
from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import add_limit, benchmark_parser, parse_settings, wide_console
from benchmarks.paced_playing import Played, Recogniser, VoicewireStream, play_paced
from benchmarks.recogniser import recogniser_fingerprint, run_facts, write_report
from benchmarks.reference_times import ReferenceTimes
from benchmarks.sliding_window import SlidingWindow
from benchmarks.speech_tars import REPOSITORY, SAMPLE_RATE, ReferenceWord, SpeechTar
from benchmarks.transcript_cache import TranscriptCache, TranscriptKey, fingerprint
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber

WARM_S = 2  # played before, so that nothing is measured cold
_OTHERS = ("local_agreement.py", "sliding_window.py", "faster_whisper_model.py", "paced_playing.py")


@dataclass(frozen=True, slots=True)
class Entrant:
    """A recogniser that takes part.

    Attributes:
        begin: makes it ready for a new stream.
        identity: changes with all that could change what it says.
    """

    name: str
    arithmetic: str
    begin: Callable[[], Recogniser]
    identity: str


def voicewire_entrants(
    transcriber: BatchTranscriber, settings: Sequence[StreamSettings], threads: int
) -> list[Entrant]:
    """One for each setting."""
    identity = recogniser_fingerprint(transcriber, threads)
    return [
        Entrant(
            f"voicewire {one.chunk_ms}:{one.commit_ms}",
            transcriber.precision.name,
            partial(VoicewireStream, transcriber, one),
            identity,
        )
        for one in settings
    ]


def other_entrants(args: argparse.Namespace, compute_type: str) -> list[Entrant]:
    """Those on faster-whisper; it is loaded when the first stream needs it."""
    files = [REPOSITORY / "benchmarks" / name for name in _OTHERS]
    options = (args.model, compute_type, args.threads, args.beam)
    load = cache(partial(load_faster_whisper, *options))

    def entrant(name: str, begin: Callable[[Transcribe], Recogniser], *more: float) -> Entrant:
        return Entrant(name, compute_type, lambda: begin(load()), fingerprint(*options, *more, files=files))

    window = partial(SlidingWindow, window_s=args.window, settle_s=args.settle)
    return [
        entrant("LocalAgreement-2", LocalAgreement),
        entrant(f"sliding window {args.window:g} s", window, args.window, args.settle),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class ComparisonRun:
    """The streams, what is said in them and when, and where what came of them is kept."""

    streams: Sequence[LongStream]
    references: Sequence[Sequence[ReferenceWord]]
    cache: TranscriptCache
    free: bool
    progress: Progress

    def contend(self, entrant: Entrant) -> Contender:
        task = self.progress.add_task(f"{entrant.name}, {entrant.arithmetic}", total=len(self.streams))
        played, warm = [], False
        for stream in self.streams:
            clock = "free" if self.free else "paced"
            clips = fingerprint(*(f"{clip.tar}/{clip.key}" for clip in stream.clips))
            key = TranscriptKey(entrant.identity, f"{clock} {entrant.name}", "joined", clips)
            kept = self.cache.get(key)
            if kept is None:
                if not warm:
                    play_paced(entrant.begin(), stream.clips[0].samples[: WARM_S * SAMPLE_RATE])
                    warm = True
                found = play_paced(entrant.begin(), np.concatenate(stream.pieces), free=self.free)
                kept = found.as_text()
                self.cache.add(key, kept)
            played.append(Played.from_text(kept))
            self.progress.advance(task)
        texts = [stream.text for stream in self.streams]
        return Contender(entrant.name, entrant.arithmetic, texts, self.references, played)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser("comparison", __doc__, "300:1200,300:300", threads=1)
    parser.set_defaults(precision="float32")
    add_limit(parser)
    parser.add_argument("--minutes", type=float, default=1.0, help="least length of a stream")
    parser.add_argument("--beam", type=int, default=5, help="of faster-whisper, whose default is %(default)s")
    parser.add_argument("--window", type=float, default=10.0, metavar="S", help="of the sliding window")
    parser.add_argument("--settle", type=float, default=2.0, metavar="S", help="when its words are final")
    parser.add_argument("--native", action="store_true", help="also each in the arithmetic that it prefers")
    parser.add_argument("--free", action="store_true", help="computing takes no time on the clock")
    parser.add_argument("--markdown", type=Path, help="write the table between this file's markers too")
    args = parser.parse_args(arguments)
    if args.precision == "bfloat16":
        parser.error("faster-whisper has no bfloat16 on a processor: compare in float32, or add --native")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    settings = parse_settings(args.settings)
    console = wide_console()
    tars = [SpeechTar(path) for path in args.data]
    streams = list(long_streams((clip for tar in tars for clip in tar.clips(args.limit)), args.minutes))
    if not streams:
        raise SystemExit(f"the clips of these tars together are shorter than {args.minutes} minutes")
    kept = TranscriptCache(args.json.with_suffix(".transcripts.jsonl"))
    times = ReferenceTimes(kept, args.model)
    load = partial(
        BatchTranscriber.load,
        args.model,
        slots=1,
        adapter=args.adapter,
        device="cpu",
        threads=args.threads,
    )
    transcriber = load(precision=args.precision)
    entrants = voicewire_entrants(transcriber, settings, args.threads) + other_entrants(args, "float32")
    if args.native:
        native = voicewire_entrants(load(precision="auto"), settings, args.threads)
        entrants += [*native, *other_entrants(args, "int8")]
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        references = [times.along(stream, tars) for stream in streams]
        run = ComparisonRun(streams, references, kept, args.free, progress)
        contenders = [run.contend(entrant) for entrant in entrants]
    kept.close()
    figures = [one.figures(contenders[0]) for one in contenders]
    print_comparison(console, figures)
    chosen = {"free": args.free, "beam": args.beam, "window_s": args.window, "settle_s": args.settle}
    sets = {"sets": [tar.name for tar in tars]}
    write_report(args.json, sets | {"recognisers": figures}, run_facts(transcriber, args) | chosen)
    if args.markdown:
        table = markdown_table(HEADINGS, rows(figures), left=2)
        section = "comparison-free" if args.free else "comparison"
        replace_section(args.markdown, section, f"{table}\n{this_machine()}\n")


if __name__ == "__main__":
    main()
