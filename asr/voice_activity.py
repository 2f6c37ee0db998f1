"""How likely each 32 ms of audio are speech: Silero VAD 6, as a stream, on onnxruntime.

The model comes in the package silero-vad. Only its file is used: the package's own code would import torch and
audio libraries for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import onnxruntime

from voicewire.asr.errors import AudioError, WeightsError

CHUNK_SAMPLES = 512
CHUNK_S = CHUNK_SAMPLES / 16_000
_CONTEXT_SAMPLES = 64  # of the chunk before, which the model sees again
_WIDTH = 128  # of its LSTM
_MOST_CHUNKS = 64  # in one run; beyond it the memory of a run leaves the processor's cache

# Of the package's files this one takes many chunks of one stream in a run and gives the same bits as
# silero_vad.onnx, which takes one. Microseconds a chunk, one thread of an EPYC (Zen 5):
#                                    1 at once    4    9 (a tick of 300 ms)    32    512
#   silero_vad_16k_sequence, chunks        59    38    35                      35     59
#   silero_vad_op18_ifless, streams        63    38    33                      32
#   silero_vad, streams                    70    41    35                      33
# So a stream by itself, 1.1 ms per second of audio, is as fast as streams in a batch, which would need as many
# runs as the longest of them has chunks; and the several streams of `push_many` are run one after the other.
#
# The model was trained on speech of ordinary strength and misses soft voices, so it is given every chunk made
# louder: as far as the loudest chunk of late (halved every two seconds) leaves room, 30 dB at the most. Words of
# LibriSpeech, TIMIT and GRID that lie outside the open gate, of 1,400, for streams 40 dB too soft: 225 without,
# none with it; for streams of ten voices of any strength with pauses between them, 20 dB too soft: 105 and none.
# The share of noise (ESC-10, music) that opens the gate falls from 3.0 to 2.4 %.
_LOUD = 0.25
_MOST_GAIN = 32.0
_DECAY = 0.5 ** (CHUNK_S / 2.0)

_PACKAGE, _FILE = "silero-vad", "silero_vad/data/silero_vad_16k_sequence.onnx"


@dataclass(slots=True)
class VoiceState:
    """What one stream carries from push to push.

    Attributes:
        hidden, cell: (128,), of the model's LSTM.
        context: (64,), the end of the last chunk.
        peak: the largest sample of late, halved every two seconds.
        rest: (fewer than 512,), samples that wait for their chunk to be whole.
        chunks: how many chunks have been looked at.
    """

    hidden: np.ndarray = field(default_factory=lambda: np.zeros(_WIDTH, np.float32))
    cell: np.ndarray = field(default_factory=lambda: np.zeros(_WIDTH, np.float32))
    context: np.ndarray = field(default_factory=lambda: np.zeros(_CONTEXT_SAMPLES, np.float32))
    rest: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    peak: float = 0.0
    chunks: int = 0

    @property
    def heard_s(self) -> float:
        """The end of the last chunk that was looked at, in seconds since the stream's start."""
        return self.chunks * CHUNK_S

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Copies, for a snapshot."""
        return {
            "hidden": self.hidden.copy(),
            "cell": self.cell.copy(),
            "context": self.context.copy(),
            "rest": self.rest.copy(),
            "peak": np.array(self.peak, np.float64),
            "chunks": np.array(self.chunks, np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "VoiceState":
        """What `to_arrays` gave. Raises ValueError where an array is missing or has another shape."""
        wanted = {
            "hidden": (_WIDTH,),
            "cell": (_WIDTH,),
            "context": (_CONTEXT_SAMPLES,),
            "peak": (),
            "chunks": (),
        }
        for name, shape in wanted.items():
            if name not in arrays or arrays[name].shape != shape:
                raise ValueError(f"the voice activity's {name} is missing or has another shape")
        rest = arrays.get("rest")
        if rest is None or rest.ndim != 1 or len(rest) >= CHUNK_SAMPLES or int(arrays["chunks"]) < 0:
            raise ValueError("the voice activity's rest or chunks are missing or impossible")
        return cls(
            hidden=np.array(arrays["hidden"], np.float32),
            cell=np.array(arrays["cell"], np.float32),
            context=np.array(arrays["context"], np.float32),
            rest=np.array(rest, np.float32),
            peak=float(arrays["peak"]),
            chunks=int(arrays["chunks"]),
        )


class VoiceActivity:
    """The model; it keeps nothing of any stream, so one serves them all.

    Raises:
        WeightsError: the package silero-vad is not installed, or too old.
    """

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(model_file()), options, providers=["CPUExecutionProvider"]
        )

    def push(self, state: VoiceState, samples: np.ndarray) -> np.ndarray:
        """Listen to more of a stream.

        Args:
            state: the stream's, changed.
            samples: (any number,), mono float32 at 16 kHz.

        Returns:
            (chunks that became whole,), float32, 0 to 1. The i-th chunk of a stream covers its samples
            512 i to 512 (i + 1).

        Raises:
            AudioError: not one row of float32.
        """
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise AudioError(f"samples must be one row of float32, not {samples.dtype} of {samples.shape}")
        waiting = np.concatenate([state.rest, samples])
        whole = len(waiting) // CHUNK_SAMPLES
        state.rest = waiting[whole * CHUNK_SAMPLES :].copy()
        if whole == 0:
            return np.zeros(0, np.float32)
        heard = np.concatenate([state.context, waiting[: whole * CHUNK_SAMPLES]])
        windows = np.lib.stride_tricks.sliding_window_view(heard, _CONTEXT_SAMPLES + CHUNK_SAMPLES)
        windows = windows[::CHUNK_SAMPLES] * _gains(state, heard[_CONTEXT_SAMPLES:])[:, None]
        probabilities = np.empty(whole, np.float32)
        hidden, cell = state.hidden.reshape(1, 1, _WIDTH), state.cell.reshape(1, 1, _WIDTH)
        for first in range(0, whole, _MOST_CHUNKS):
            feed = {"input": windows[first : first + _MOST_CHUNKS], "h": hidden, "c": cell}
            outputs, hidden, cell = self._session.run(("speech_probs", "hn", "cn"), feed)
            probabilities[first : first + _MOST_CHUNKS] = outputs.reshape(-1)
        state.hidden, state.cell = hidden.reshape(_WIDTH), cell.reshape(_WIDTH)
        state.context = heard[-_CONTEXT_SAMPLES:].copy()
        state.chunks += whole
        return probabilities

    def push_many(self, states: Sequence[VoiceState], pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`push` for several streams; each gets what it would get alone."""
        return [self.push(state, samples) for state, samples in zip(states, pieces, strict=True)]


def _gains(state: VoiceState, chunks: np.ndarray) -> np.ndarray:
    """What to multiply each chunk by, (chunks,), float32; updates the stream's peak."""
    gains = []
    for peak in np.abs(chunks).reshape(-1, CHUNK_SAMPLES).max(axis=1).tolist():
        state.peak = max(peak, state.peak * _DECAY)
        gains.append(min(max(_LOUD / max(state.peak, 1e-9), 1.0), _MOST_GAIN))
    return np.array(gains, np.float32)


def model_file() -> Path:
    """The model in the installed package. Raises WeightsError."""
    try:
        file = Path(str(distribution(_PACKAGE).locate_file(_FILE)))
    except PackageNotFoundError:
        raise WeightsError("the speech gate needs silero-vad: pip install 'voicewire[server]'") from None
    if not file.is_file():
        raise WeightsError(f"the installed silero-vad has no {file.name}: pip install 'silero-vad>=6.2.3'")
    return file
