"""How well an adapter does on held-out speech, by the very path that a server runs."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jiwer
from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

from voicewire.asr.adapters import Adapter
from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.errors import AudioError, SettingsError
from voicewire.asr.events import Transcript
from voicewire.asr.precision import choose_precision
from voicewire.asr.settings import StreamSettings
from voicewire.asr.train.tars import Recording, read_tar

SLOTS = 16
NO_SPACES = {
    "zh",
    "ja",
    "th",
    "lo",
    "my",
    "yue",
}  # languages whose words are not told apart: letters are counted


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of one set in one setting, as shares of the reference's words."""

    rate: float
    substitutions: float
    deletions: float
    insertions: float


class Examination:
    """Some utterances of each development tar, always the same."""

    def __init__(self, tars: list[Path], most: int, commits_ms: tuple[int, ...] = (1200, 300)) -> None:
        """Raises AudioError for a tar that cannot be read or has no texts, SettingsError for two of one name."""
        if len({tar.stem for tar in tars}) < len(tars):
            raise SettingsError("two development tars have the same name: rename one")
        self._sets = {tar.stem: _choose(tar, most) for tar in tars}
        self._commits_ms = commits_ms

    @property
    def is_empty(self) -> bool:
        return not self._sets

    @property
    def name(self) -> str:
        """Two examinations of one name have the same questions, so their scores can be compared."""
        parts = [f"{name} {len(recordings)}" for name, recordings in self._sets.items()]
        return ", ".join([*parts, *map(str, self._commits_ms)])

    def examine(
        self, checkpoint: Checkpoint, adapter: Adapter, device: str, language: str
    ) -> dict[str, Score]:
        """Scores by set and commit length, such as "dev-00 1200"."""
        precision = choose_precision(checkpoint.dims, device=device, precision="auto")
        transcriber = BatchTranscriber(checkpoint, adapter, precision, SLOTS)
        normalise = _normaliser(language)
        scores = {}
        for commit_ms in self._commits_ms:
            settings = StreamSettings(commit_ms=commit_ms, interim=False, language=language)
            for name, recordings in self._sets.items():
                texts = _transcribe(transcriber, recordings, settings)
                scores[f"{name} {commit_ms}"] = _score(recordings, texts, normalise)
        return scores


def _score(recordings: list[Recording], texts: list[str], normalise: Callable[[str], str]) -> Score:
    references = [normalise(recording.text) for recording in recordings]
    counted = jiwer.process_words(references, [normalise(text) for text in texts])
    words = max(1, counted.hits + counted.substitutions + counted.deletions)
    errors = counted.substitutions + counted.deletions + counted.insertions
    return Score(
        errors / words, counted.substitutions / words, counted.deletions / words, counted.insertions / words
    )


def _normaliser(language: str) -> Callable[[str], str]:
    """Whisper's own for the language."""
    if language == "en":
        return EnglishTextNormalizer()
    return BasicTextNormalizer(split_letters=language in NO_SPACES)


def mean_rate(scores: dict[str, Score]) -> float:
    """What the best adapter has the least of."""
    return sum(score.rate for score in scores.values()) / len(scores)


def _choose(tar: Path, most: int) -> list[Recording]:
    """Evenly from the whole tar; only these are held in memory."""
    count = sum(1 for recording in read_tar(tar) if recording.text)
    if not count:
        raise AudioError(f"{tar} has no recordings with a text: it cannot tell how good an adapter is")
    step = max(1, count // most)
    with_text = (recording for recording in read_tar(tar) if recording.text)
    return list(itertools.islice(with_text, 0, step * most, step))


def _transcribe(
    transcriber: BatchTranscriber, recordings: list[Recording], settings: StreamSettings
) -> list[str]:
    texts: list[str] = []
    for first in range(0, len(recordings), SLOTS):
        slots = [transcriber.open(settings) for _ in recordings[first : first + SLOTS]]
        said = dict.fromkeys(slots, "")
        for slot, recording in zip(slots, recordings[first:], strict=False):
            transcriber.push(slot, recording.samples)
            transcriber.flush(slot)
        while events := transcriber.step():
            for slot, news in events.items():
                words = [word for one in news if isinstance(one, Transcript) for word in one.words]
                said[slot] += "".join(word.text for word in words)
        for slot in slots:
            transcriber.close(slot)
        texts += said.values()
    return texts
