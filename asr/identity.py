"""What two recognisers must share for one to go on where the other stopped, and to say the very same words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """Of a recogniser.

    Attributes:
        model, adapter: SHA-256 of its weights, and of its adapter.
        dtype: its number type.
    """

    model: str
    adapter: str
    dtype: str
