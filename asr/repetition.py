"""Notices when the decoder has begun to say the same thing over and over, which Whisper does when it is lost."""

from collections.abc import Sequence

LONGEST = 12
ENOUGH = {1: 7, 2: 5}  # "no, no, no, no" is speech
ENOUGH_LONGER = 4


def repeated(tokens: Sequence[int]) -> int:
    """How many tokens at the end only repeat what stands before them; 0 where there is no loop.

    A loop is a phrase of up to 12 tokens that fills the end at least four times (short ones more often). The
    first copy is no repetition.
    """
    for length in range(1, min(LONGEST, len(tokens) // 2) + 1):
        phrase = tokens[-length:]
        copies = 1
        while list(tokens[-length * (copies + 1) : -length * copies]) == list(phrase):
            copies += 1
        if copies >= ENOUGH.get(length, ENOUGH_LONGER):
            return length * (copies - 1)
    return 0
