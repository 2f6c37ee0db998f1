"""Codes as bits: frame by frame, coarse codebooks first, each code with its highest bit first, no gap between."""

import numpy as np

from voicewire.codecs.errors import TokensError

MAX_BITS = 16


def packed_bytes(codes: int, bits: int) -> int:
    """How many bytes so many codes take."""
    return (codes * bits + 7) // 8


def pack(codes: np.ndarray, bits: int) -> bytes:
    """Integers of shape (frames, codebooks), each below 2 ** bits, as bytes, the last one filled with zeros."""
    digits = np.unpackbits(codes.astype(">u2").reshape(-1, 1).view(np.uint8), axis=1)
    return np.packbits(digits[:, MAX_BITS - bits :]).tobytes()


def unpack(data: bytes | memoryview, frames: int, codebooks: int, bits: int) -> np.ndarray:
    """int64 of shape (frames, codebooks).

    Raises:
        TokensError: not the number of bytes that so many codes take, or the filling is not zeros.
    """
    count = frames * codebooks
    if len(data) != packed_bytes(count, bits):
        raise TokensError(
            f"{count} codes of {bits} bits take {packed_bytes(count, bits)} bytes, not {len(data)}"
        )
    digits = np.unpackbits(np.frombuffer(data, np.uint8))
    if digits[count * bits :].any():
        raise TokensError("the last byte of the codes must be filled with zeros")
    wide = np.zeros((count, MAX_BITS), np.uint8)
    wide[:, MAX_BITS - bits :] = digits[: count * bits].reshape(count, bits)
    return np.packbits(wide, axis=1).view(">u2").astype(np.int64).reshape(frames, codebooks)
