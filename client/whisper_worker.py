"""One Whisper that transcribes recordings; and a process with one: python -m voicewire.client.whisper_worker FD"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from voicewire.client.local import Heard, ModelChoice

if TYPE_CHECKING:
    from voicewire.asr.child import Tell
    from voicewire.asr.offline import OfflineTranscriber, Task, Transcription


class LocalWhisper:
    """A model, loaded when it is first needed."""

    def __init__(self, choice: ModelChoice) -> None:
        self._choice = choice

    @cached_property
    def _model(self) -> "OfflineTranscriber":
        from voicewire.asr.offline import OfflineTranscriber

        choice = self._choice
        return OfflineTranscriber.load(choice.model, choice.device, choice.threads)

    def load(self, language: str | None, task: "Task") -> None:
        """Raises AsrError: there is no such model, or it does not know the language."""
        self._model.check(language, task)

    def transcribe(
        self, samples: np.ndarray, language: str | None, task: "Task", heard: Heard
    ) -> "Transcription":
        """The words of a passage, (samples,) float32 at 16 kHz; `heard` is told how many more seconds are done."""
        duration_s, told_s = len(samples) / 16_000, 0.0

        def progress(done_s: float) -> None:
            nonlocal told_s
            more_s = min(done_s, duration_s) - told_s
            told_s += more_s
            heard(more_s)

        return self._model.transcribe(samples, language, progress, task=task)


class _Process:
    """What the process answers: first it is told which model, then what to do with it."""

    def __init__(self) -> None:
        self._whisper: LocalWhisper | None = None

    def __call__(self, asked: Any, tell: "Tell") -> "Transcription | None":
        if self._whisper is None:
            self._whisper = LocalWhisper(asked)
            return None
        method, given = asked
        if method == "load":
            self._whisper.load(**given)
            return None
        return self._whisper.transcribe(**given, heard=tell)


if __name__ == "__main__":
    from voicewire.asr.child import answer_parent

    answer_parent(_Process())
