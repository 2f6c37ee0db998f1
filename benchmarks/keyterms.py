"""What a list of expected names and rare words does: how many of them are found, and what it costs the others.

    python -m benchmarks.keyterms --data TAR... [--terms N] [--bonus B,...] [--beam N] [--limit N] --json OUT

A rare word is one of four letters or more for which Whisper's vocabulary has no token of its own. Each clip is a
stream with a list of N terms: the rare words of its reference, and others of the same tar, drawn at random. The
same clips run without a list, and with one of which nothing is said ("others"). Errors at a term of the list are
counted apart from those at all other words (biased and unbiased word error rate, as in Le et al., "Contextualized
Streaming End-to-End Speech Recognition with Trie-Based Deep Biasing and Shallow Fusion", Interspeech 2021).
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

import jiwer
from whisper.tokenizer import Tokenizer, get_tokenizer

from benchmarks.batch import Job, transcribe_jobs
from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import add_limit, benchmark_parser, parse_settings, wide_console
from benchmarks.recogniser import load_recogniser, run_facts
from benchmarks.speech_tars import SpeechTar
from benchmarks.word_errors import normalise
from voicewire.asr import keyterms
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber

SHORTEST = 4  # letters of a rare word
_HEADINGS = ("set", "list", "bonus", "terms found", "of", "%", "false", "WER %", "WER % elsewhere", "words")


@dataclass(frozen=True, slots=True)
class TermErrors:
    """What was found of the listed terms, and what went wrong.

    Attributes:
        terms: words of the reference that are rare.
        found: those of them that were recognised.
        false: rare words that were written where nobody had said them.
        words: of the reference.
        errors: of all words.
        elsewhere: errors at words that are not rare.
    """

    terms: int = 0
    found: int = 0
    false: int = 0
    words: int = 0
    errors: int = 0
    elsewhere: int = 0

    def __add__(self, other: "TermErrors") -> "TermErrors":
        mine, theirs = asdict(self), asdict(other)
        return TermErrors(**{name: mine[name] + theirs[name] for name in mine})


def count_term_errors(reference: str, hypothesis: str, rare: AbstractSet[str]) -> TermErrors:
    """Errors of one utterance; a wrong word counts where its reference stands, an inserted one by what it is."""
    said, written = normalise(reference).split(), normalise(hypothesis).split()
    terms = [word in rare for word in said]
    found = false = errors = elsewhere = 0
    for part in jiwer.process_words(" ".join(said), " ".join(written)).alignments[0]:
        here = range(part.ref_start_idx, part.ref_end_idx)
        there = written[part.hyp_start_idx : part.hyp_end_idx]
        if part.type == "equal":
            found += sum(terms[at] for at in here)
            continue
        false += sum(word in rare for word in there)
        errors += max(len(here), len(there))
        if part.type == "insert":
            elsewhere += sum(word not in rare for word in there)
        else:
            elsewhere += sum(not terms[at] for at in here)
    return TermErrors(sum(terms), found, false, len(said), errors, elsewhere)


class TermLists:
    """The lists of one tar's clips."""

    def __init__(self, tar: SpeechTar, tokenizer: Tokenizer, count: int) -> None:
        self._count = count
        self._texts = {key: normalise(tar.reference(key)[0]).split() for key in tar.keys()}  # noqa: SIM118
        words = {word for text in self._texts.values() for word in text}
        self.rare = frozenset(word for word in words if is_rare(word, tokenizer))

    def of(self, key: str, *, said: bool) -> tuple[str, ...]:
        """The same at every call; with the words that are said in the clip, or without them."""
        here = self.rare & set(self._texts[key])
        own = sorted(here) if said else []
        others = sorted(self.rare - here)
        random.Random(key).shuffle(others)
        return tuple((own + others)[: self._count])


def is_rare(word: str, tokenizer: Tokenizer) -> bool:
    """Whether it is a name or a word that the vocabulary has to spell."""
    forms = (f" {word}", f" {word.capitalize()}")
    return len(word) >= SHORTEST and word.isalpha() and all(len(tokenizer.encode(form)) > 1 for form in forms)


@dataclass(frozen=True, slots=True)
class Condition:
    """What the streams are told: no list, one with what is said, or one of others."""

    name: str
    bonus: float = 0.0

    def terms(self, lists: TermLists, key: str) -> tuple[str, ...]:
        return () if self.name == "none" else lists.of(key, said=self.name == "said")


def measure(
    transcriber: BatchTranscriber,
    settings: StreamSettings,
    tar: SpeechTar,
    lists: TermLists,
    condition: Condition,
    limit: int | None,
) -> TermErrors:
    """Runs a tar's clips in one condition."""
    jobs = (
        Job(replace(settings, keyterms=condition.terms(lists, key)), partial(tar.read, key))
        for key in tar.keys(limit)
    )
    with mock.patch.object(keyterms, "BONUS", condition.bonus):
        outcomes = [
            count_term_errors(clip.text, trace.text, lists.rare)
            for _, clip, trace in transcribe_jobs(transcriber, jobs)
        ]
    return sum(outcomes, TermErrors())


def conditions(bonuses: str) -> Iterator[Condition]:
    """What is compared."""
    yield Condition("none")
    for bonus in bonuses.split(","):
        yield Condition("said", float(bonus))
        yield Condition("others", float(bonus))


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser("keyterms", __doc__, "300:1200", threads=None)
    add_limit(parser)
    parser.add_argument("--terms", type=int, default=100, help="terms in a list; default %(default)s")
    parser.add_argument("--bonus", default=str(keyterms.BONUS), help="one or several; default %(default)s")
    parser.add_argument("--beam", type=int, default=1, help="hypotheses of beam search; 1 is greedy")
    parser.add_argument("--slots", type=int, default=8, help="streams that run as one batch")
    parser.add_argument("--markdown", type=Path, help="write the table between this file's markers too")
    return parser.parse_args(arguments)


def row(tar: str, condition: Condition, errors: TermErrors) -> tuple[str, ...]:
    return (
        tar,
        condition.name,
        f"{condition.bonus:g}" if condition.name != "none" else "",
        str(errors.found),
        str(errors.terms),
        f"{100 * errors.found / errors.terms:.1f}",
        str(errors.false),
        f"{100 * errors.errors / errors.words:.2f}",
        f"{100 * errors.elsewhere / (errors.words - errors.terms):.2f}",
        str(errors.words),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    settings = parse_settings(args.settings, args.beam)[0]
    transcriber = load_recogniser(args, slots=args.slots, widest_beam=args.beam)
    tokenizer = get_tokenizer(multilingual=transcriber.model.dims.n_vocab >= 51865)
    console = wide_console()
    rows, figures = [], []
    for tar in map(SpeechTar, args.data):
        lists = TermLists(tar, tokenizer, args.terms)
        for condition in conditions(args.bonus):
            errors = measure(transcriber, settings, tar, lists, condition, args.limit)
            figures.append({"set": tar.name} | asdict(condition) | asdict(errors))
            rows.append(row(tar.name, condition, errors))
            console.print("  ".join(rows[-1]))
    run = run_facts(transcriber, args) | {"terms": args.terms, "beam": args.beam}
    report = {"rows": figures, "run": run | {"machine": asdict(this_machine())}}
    args.json.write_text(json.dumps(report, indent=1) + "\n")
    table = markdown_table(_HEADINGS, rows, left=2)
    console.print(table)
    if args.markdown:
        facts = ", ".join(f"{name} {value}" for name, value in run.items() if value is not None)
        replace_section(args.markdown, "keyterms", f"{table}\nRun with {facts}.\n{this_machine()}\n")


if __name__ == "__main__":
    main()
