"""How well an adapter does on held-out speech, by the very path that a server runs."""

from dataclasses import dataclass
from pathlib import Path

import jiwer
from whisper.normalizers import EnglishTextNormalizer

from voicewire.asr.adapters import Adapter
from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.events import Transcript
from voicewire.asr.precision import choose_precision
from voicewire.asr.settings import StreamSettings
from voicewire.asr.train.tars import Recording, read_tar

SLOTS = 16


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
        self._sets = {tar.stem: _choose(tar, most) for tar in tars}
        self._commits_ms = commits_ms
        self._normalise = EnglishTextNormalizer()

    @property
    def is_empty(self) -> bool:
        return not self._sets

    def examine(
        self, checkpoint: Checkpoint, adapter: Adapter, device: str, language: str
    ) -> dict[str, Score]:
        """Scores by set and commit length, such as "dev-00 1200"."""
        precision = choose_precision(checkpoint.dims, device=device, precision="auto")
        transcriber = BatchTranscriber(checkpoint, adapter, precision, SLOTS)
        scores = {}
        for commit_ms in self._commits_ms:
            settings = StreamSettings(commit_ms=commit_ms, interim=False, language=language)
            for name, recordings in self._sets.items():
                texts = _transcribe(transcriber, recordings, settings)
                scores[f"{name} {commit_ms}"] = self._score(recordings, texts)
        return scores

    def _score(self, recordings: list[Recording], texts: list[str]) -> Score:
        references = [self._normalise(recording.text) for recording in recordings]
        counted = jiwer.process_words(references, [self._normalise(text) for text in texts])
        words = counted.hits + counted.substitutions + counted.deletions
        return Score(
            counted.wer, counted.substitutions / words, counted.deletions / words, counted.insertions / words
        )


def mean_rate(scores: dict[str, Score]) -> float:
    """What the best adapter has the least of."""
    return sum(score.rate for score in scores.values()) / len(scores)


def _choose(tar: Path, most: int) -> list[Recording]:
    recordings = [recording for recording in read_tar(tar) if recording.text]
    step = max(1, len(recordings) // most)
    return recordings[::step][:most]


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
