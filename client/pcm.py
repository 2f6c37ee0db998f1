"""Samples to bytes: what the protocol's PCM encodings look like on the wire."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from voicewire.client.errors import AudioFormatError

Samples: TypeAlias = npt.NDArray[np.floating[Any]] | npt.NDArray[np.int16]

# Bytes of one sample of one channel; an encoding that is not here has no fixed size.
SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}


def pcm_bytes(samples: Samples, encoding: str, channels: int = 1) -> bytes:
    """Samples as the bytes of `encoding`.

    Args:
        samples: ``(samples,)`` for one channel or ``(samples, channels)``; floats from -1 to 1 (beyond is
            clipped) or int16.
        encoding: ``pcm_s16le`` or ``pcm_f32le``.
        channels: how many channels the stream was opened with.

    Raises:
        AudioFormatError: the array's shape or type does not fit, or the encoding is a compressed one.
    """
    if samples.shape[1:] != (channels,) and not (channels == 1 and samples.ndim == 1):
        wanted = "(samples,)" if channels == 1 else f"(samples, {channels})"
        raise AudioFormatError(f"this stream takes arrays of shape {wanted}, not {samples.shape}")
    is_int16 = samples.dtype == np.int16
    if not is_int16 and not np.issubdtype(samples.dtype, np.floating):
        raise AudioFormatError(f"samples must be floats from -1 to 1 or int16, not {samples.dtype}")
    if encoding == "pcm_s16le":
        whole = samples if is_int16 else _int16(samples.astype(np.float32))
        return whole.astype("<i2", copy=False).tobytes()
    if encoding == "pcm_f32le":
        floats = samples.astype("<f4", copy=False)
        return (floats / np.float32(32768.0) if is_int16 else np.nan_to_num(floats)).tobytes()
    raise AudioFormatError(
        f"a stream of {encoding} takes bytes: encode the samples yourself, or open the stream with "
        "encoding='pcm_s16le'"
    )


def seconds_of(data_bytes: int, encoding: str, sample_rate: int, channels: int) -> float | None:
    """How much audio so many bytes hold, in seconds; None for a compressed encoding."""
    size = SAMPLE_BYTES.get(encoding)
    return None if size is None else data_bytes / (size * channels * sample_rate)


def _int16(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Full scale is 32767 on both sides; what is not a number is silence."""
    whole: npt.NDArray[np.int16] = np.rint(np.nan_to_num(samples).clip(-1.0, 1.0) * 32767.0).astype(np.int16)
    return whole
