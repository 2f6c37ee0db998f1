"""Tars of recordings to shards of utterances with tokens and times.

Utterances are packed into windows of up to 30 s, so that the unmodified model hears many of them for the price of
one: it transcribes each window, which gives the spelling (and, without a reference, the text), and aligns the
labels with the audio.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voicewire.asr.errors import AudioError
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.asr.train import labels
from voicewire.asr.train.labels import WordTokens
from voicewire.asr.train.shards import ShardWriter, is_prepared
from voicewire.asr.train.tars import NO_SPEECH, Recording, read_tar
from voicewire.asr.train.teacher import WINDOW_S, WINDOW_SAMPLES, Heard, Teacher

GAP_S = 0.6  # between packed utterances: more than the reach of a word's times
LONGEST_S = WINDOW_S - 1
SHORTEST_S = 0.5
LEAST_AGREEMENT = 0.4  # of a reference with what Whisper hears: below it, the two are rarely of one audio
LEAST_CONFIDENCE = 0.75  # mean probability of tokens, of a transcript that stands in for a reference
MOST_TOLD = 5  # damaged recordings
MOST_LABELS = 400  # tokens of a window, of the decoder's 448
Told = Callable[[float], None]
"""Called with each recording's seconds."""


@dataclass
class Packed:
    """A window of utterances; starts in seconds."""

    recordings: list[Recording] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    end_s: float = GAP_S / 2

    def has_room(self, recording: Recording) -> bool:
        return not self.recordings or self.end_s + recording.duration_s <= WINDOW_S - GAP_S / 2

    def add(self, recording: Recording) -> None:
        self.recordings.append(recording)
        self.starts.append(self.end_s)
        self.end_s += recording.duration_s + GAP_S

    def owner_of(self, time_s: float) -> int:
        """Which recording a word that begins then belongs to: the last that began before it, or nearly."""
        return max(0, int(np.searchsorted(self.starts, time_s + GAP_S / 2, side="right")) - 1)

    def samples(self) -> torch.Tensor:
        window = torch.zeros(WINDOW_SAMPLES)
        for recording, start in zip(self.recordings, self.starts, strict=True):
            at = round(start * SAMPLE_RATE)
            piece = torch.from_numpy(recording.samples)[: WINDOW_SAMPLES - at]
            window[at : at + len(piece)] = piece
        return window


@dataclass
class Summary:
    """What became of a tar's recordings.

    Attributes:
        kept: utterances.
        dropped: recordings that are too short or too long, in another language, or not surely what the text says.
        seconds: of what was kept.
        noise_s: of recordings in which nothing is said.
        damaged: what is wrong with the recordings that cannot be read, for the first of them.
        damaged_count: how many cannot be read.
        was_there: whether the tar was prepared before, so that nothing was done.
    """

    kept: int = 0
    dropped: int = 0
    seconds: float = 0.0
    noise_s: float = 0.0
    damaged: list[str] = field(default_factory=list)
    damaged_count: int = 0
    was_there: bool = False

    def note_damage(self, error: AudioError) -> None:
        self.damaged_count += 1
        if len(self.damaged) < MOST_TOLD:
            self.damaged.append(str(error))


@dataclass(frozen=True)
class Draft:
    """What is said in a window.

    Attributes:
        words: as tokens.
        trust: of each word, 0 to 1: whether Whisper heard it too, or how sure Whisper was of it.
        owners: which recording each word belongs to; None where only its time will tell.
    """

    words: list[WordTokens]
    trust: list[float]
    owners: list[int] | None


class Preparer:
    """Prepares tars, one after the other, with one loaded model."""

    def __init__(
        self,
        teacher: Teacher,
        *,
        least_agreement: float = LEAST_AGREEMENT,
        least_confidence: float = LEAST_CONFIDENCE,
    ) -> None:
        self._teacher = teacher
        self._least = {True: least_agreement, False: least_confidence}
        self._tokenizer = teacher.vocabulary.tokenizer
        self._language = self._tokenizer.language or "en"  # models of English alone name none

    def prepare(self, tar: Path, folder: Path, share: float = 1.0, told: Told = lambda _: None) -> Summary:
        """One tar to one shard; a shard that is there already is left as it is. A recording that cannot be read is
        left out and told of.

        Raises:
            AudioError: the tar cannot be read, or none of its recordings can.
            OSError: the folder cannot be written to.
        """
        summary = Summary()
        if is_prepared(folder, tar.stem):
            summary.was_there = True
            return summary
        writer = ShardWriter(folder, tar.stem)
        try:
            recordings = read_tar(tar, share, summary.note_damage)
            packed = self._pack(_told(recordings, told), writer, summary)
            for windows in _batches(packed, self._teacher.count):
                self._label(windows, writer, summary)
            if summary.damaged and not writer.count and not summary.dropped:
                raise AudioError(f"{tar}: no recording can be read; the first: {summary.damaged[0]}")
            writer.close()
        finally:
            writer.abandon()
        return summary

    def _pack(
        self, recordings: Iterable[Recording], writer: ShardWriter, summary: Summary
    ) -> Iterator[Packed]:
        """Windows of utterances with references, and windows of those without; noise goes straight to disk."""
        open_windows = {True: Packed(), False: Packed()}
        for recording in recordings:
            if recording.language == NO_SPEECH:
                writer.add(recording.samples, recording.key, facts=_known(recording))
                summary.noise_s += recording.duration_s
                continue
            fits = SHORTEST_S <= recording.duration_s <= LONGEST_S
            if not fits or recording.language not in ("", self._language):
                summary.dropped += 1
                continue
            labelled = bool(recording.text)
            if not open_windows[labelled].has_room(recording):
                yield open_windows[labelled]
                open_windows[labelled] = Packed()
            open_windows[labelled].add(recording)
        yield from (window for window in open_windows.values() if window.recordings)

    def _label(self, windows: list[Packed], writer: ShardWriter, summary: Summary) -> None:
        self._teacher.listen([window.samples() for window in windows])
        heard = self._teacher.transcribe(len(windows))
        drafts = [self._draft(window, one) for window, one in zip(windows, heard, strict=True)]
        times = self._teacher.align([[t for word in draft.words for t in word.tokens] for draft in drafts])
        for window, draft, spans in zip(windows, drafts, times, strict=True):
            self._write(window, draft, spans, writer, summary)

    def _draft(self, window: Packed, heard: Heard) -> Draft:
        if window.recordings[0].text:
            return self._from_references(window, heard)
        groups = self._teacher.vocabulary.groups(heard.tokens)
        words, trust, done = [], [], 0
        for group in groups:
            (text,) = labels.tidy([self._tokenizer.decode(group)], begins=False)
            if text:
                words += labels.tokenise([text], self._tokenizer)
                trust.append(float(np.mean(heard.probabilities[done : done + len(group)])))
            done += len(group)
        return Draft(words, trust, None)

    def _from_references(self, window: Packed, heard: Heard) -> Draft:
        references = [recording.text.split() for recording in window.recordings]
        owners = [index for index, reference in enumerate(references) for _ in reference]
        spelled, known = labels.spell(
            [word for reference in references for word in reference],
            self._tokenizer.decode(heard.tokens).split(),
        )
        tidied = [
            word
            for index in range(len(references))
            for word in labels.tidy([w for w, owner in zip(spelled, owners, strict=True) if owner == index])
        ]
        said = [place for place, word in enumerate(tidied) if word]
        words = labels.tokenise([tidied[place] for place in said], self._tokenizer)
        if sum(len(word.tokens) for word in words) > MOST_LABELS:
            return Draft([], [], [])
        return Draft(words, [float(known[place]) for place in said], [owners[place] for place in said])

    def _write(
        self,
        window: Packed,
        draft: Draft,
        spans: list[tuple[float, float]],
        writer: ShardWriter,
        summary: Summary,
    ) -> None:
        firsts = np.cumsum([0, *(len(word.tokens) for word in draft.words)])
        owners = draft.owners
        if owners is None:
            owners = [window.owner_of(spans[first][0]) for first in firsts[:-1]]
        for index, (recording, start) in enumerate(zip(window.recordings, window.starts, strict=True)):
            mine = [place for place, owner in enumerate(owners) if owner == index]
            trust = float(np.mean([draft.trust[place] for place in mine])) if mine else 0.0
            labelled = bool(recording.text)
            if trust < self._least[labelled] or not mine:
                summary.dropped += 1
                continue
            words = [draft.words[place] for place in mine]
            own = [
                (_within(begin - start, recording), _within(end - start, recording))
                for begin, end in spans[firsts[mine[0]] : firsts[mine[-1] + 1]]
            ]
            tokens = [token for word in words for token in word.tokens]
            writer.add(
                recording.samples,
                recording.key,
                tokens=tokens,
                begins=[round(time, 2) for time in labels.word_begins(words, own)],
                due=[round(time, 2) for time in labels.due_times(words, own)],
                text=self._tokenizer.decode(tokens).strip(),
                agreement=round(trust, 3),
                labelled=labelled,
                facts=_known(recording),
            )
            summary.kept += 1
            summary.seconds += recording.duration_s


def _known(recording: Recording) -> dict[str, Any]:
    """What the model card will need."""
    wanted = ("speaker", "corpus", "licence", "source")
    return {name: recording.facts[name] for name in wanted if recording.facts.get(name)}


def _within(time_s: float, recording: Recording) -> float:
    return min(max(0.0, time_s), recording.duration_s)


def _told(recordings: Iterable[Recording], told: Told) -> Iterator[Recording]:
    for recording in recordings:
        told(recording.duration_s)
        yield recording


def _batches(windows: Iterator[Packed], count: int) -> Iterator[list[Packed]]:
    while batch := list(itertools.islice(windows, count)):
        yield batch
