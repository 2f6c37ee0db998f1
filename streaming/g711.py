"""The telephone's two companding laws, ITU-T G.711, as tables: a byte is looked up, not computed."""

import numpy as np
import numpy.typing as npt

# G.711's codes stand for 14 bits (mu) and 13 bits (A); both are scaled to a full 16-bit range here.
_FULL_SCALE = 32_768.0


def _mu_law() -> npt.NDArray[np.float32]:
    """G.711 table 2a: complemented byte; sign, 3 bits of segment, 4 of step, a bias of 33 (132 of 16 bits)."""
    code = ~np.arange(256, dtype=np.uint8)
    segment = (code >> 4 & 0x07).astype(np.int32)
    step = (code & 0x0F).astype(np.int32)
    magnitude = ((step << 3) + 132 << segment) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.float32) / np.float32(_FULL_SCALE)


def _a_law() -> npt.NDArray[np.float32]:
    """G.711 table 1a: even bits inverted; segment 0 is linear, each later one doubles the step."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment = (code >> 4 & 0x07).astype(np.int32)
    step = (code & 0x0F).astype(np.int32)
    magnitude = np.where(segment == 0, (step << 4) + 8, (step << 4) + 264 << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.float32) / np.float32(_FULL_SCALE)


# float32 of shape (256,): the sample that each byte stands for, within -1 to 1.
MU_LAW = _mu_law()
A_LAW = _a_law()
