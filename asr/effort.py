"""How much is done for a stream beyond what its committed words need: what a busy machine saves first."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """Holds from a stream's next tick on.

    Attributes:
        look_every: of the ticks between two commits, every so many are looked at; 0 is none of them.
        widest_beam: the most hypotheses that are tried at commits.
    """

    look_every: int = 1
    widest_beam: int = 8


FULL = Effort()
