"""The process of a RemoteTranscriber: python -m voicewire.asr.worker FD"""

from typing import Any

from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.child import Tell, answer_parent
from voicewire.asr.remote import Asked, Call, Facts, Stepped


class Worker:
    """One recogniser and what is done with it."""

    def __init__(self) -> None:
        self._transcriber: BatchTranscriber | None = None
        self._open: set[int] = set()

    def answer(self, asked: Asked, _: Tell) -> Any:
        """What was asked last; what was told before it is done first."""
        for call in asked.before:
            self._do(call)
        return self._do(asked.call)

    def _do(self, call: Call) -> Any:
        if call.method == "load":
            return self._load(*call.given)
        assert self._transcriber is not None
        if call.method == "step":
            return self._step(self._transcriber)
        result = getattr(self._transcriber, call.method)(*call.given)
        if call.method in ("open", "restore"):
            self._open.add(result)
        elif call.method == "close":
            self._open.discard(*call.given)
        return result

    def _load(self, model: str, loading: dict[str, Any]) -> Facts:
        self._transcriber = loaded = BatchTranscriber.load(model, **loading)
        return Facts(loaded.model_name, loaded.identity, loaded.capacity, loaded.state_bytes_per_slot)

    def _step(self, transcriber: BatchTranscriber) -> Stepped:
        events = transcriber.step()
        backlogs = {slot: transcriber.backlog_samples(slot) for slot in self._open}
        return Stepped(events, backlogs, dict(transcriber.stage_seconds))


if __name__ == "__main__":
    answer_parent(Worker().answer)
