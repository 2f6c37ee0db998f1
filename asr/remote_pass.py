"""A SecondPass in a process of its own, which computes when nobody else wants the processor.

A stream that is heard once more must not keep the words of another waiting: a thread would share Python's
interpreter lock with them, and a process of the lowest priority takes what they leave. This side imports no torch.

    python -m voicewire.asr.remote_pass FD

is the process.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from voicewire.asr.child import Child, Tell, answer_parent
from voicewire.asr.events import Word
from voicewire.asr.stretch import Stretch

if TYPE_CHECKING:
    from voicewire.asr.second_pass import SecondPass

_LOWEST = 19  # of what `nice` knows


class RemotePass:
    """As SecondPass, for one thread; its methods raise RecogniserLostError too, once the process is gone.

    Args:
        model, device, precision, room: as for `SecondPass.load`.
    """

    def __init__(self, model: str, *, device: str = "auto", precision: str = "auto", room: int = 4) -> None:
        self.room = room
        self._child = Child("voicewire.asr.remote_pass")
        self._child.ask(
            {"model": model, "device": device, "precision": precision, "threads": 1, "room": room}
        )

    def hear(self, stretches: Sequence[Stretch]) -> list[tuple[Word, ...]]:
        """As SecondPass's, with what that raises."""
        heard: list[tuple[Word, ...]] = self._child.ask(list(stretches))
        return heard


class _Answers:
    """The other side: loads a SecondPass, and then has it hear."""

    def __init__(self) -> None:
        self._second_pass: SecondPass | None = None

    def __call__(self, asked: Any, _: Tell) -> list[tuple[Word, ...]] | None:
        if self._second_pass is not None:
            return self._second_pass.hear(asked)
        # Not on the parent's side, which has no use for torch.
        from voicewire.asr.second_pass import SecondPass

        self._second_pass = SecondPass.load(**asked)
        return None


if __name__ == "__main__":
    os.nice(_LOWEST)
    answer_parent(_Answers())
