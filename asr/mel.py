"""Whisper's log-mel spectrogram as a stream: the same frames for any cutting of the input.

Whisper clamps a window at 80 dB below its loudest moment, which a stream cannot know. Here the clamp follows
the loudest moment *so far*; the adapter is trained with the same rule.
"""

from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

HALF_WINDOW = N_FFT // 2
FLOOR = 1e-10  # Whisper's own: power below it counts as it


@dataclass
class MelState:
    """Where one stream's spectrogram stands.

    Attributes:
        samples: float32 samples, shape = (n,), which coming frames still need.
        loudest: the largest log10 mel power so far.
        started: whether the reflected start has been laid down.
    """

    samples: Tensor = field(default_factory=lambda: torch.zeros(0))
    loudest: float = -10.0
    started: bool = False

    def copy(self) -> "MelState":
        return MelState(self.samples, self.loudest, self.started)


class StreamingLogMel:
    """Log-mel frames of pushed samples; frame m looks at samples 160 m - 200 to 160 m + 199.

    Computed in float64: only so does the result not depend, in its last bits, on how many frames are made at
    once.
    """

    def __init__(self, n_mels: int = 80) -> None:
        self.n_mels = n_mels
        self._window = torch.hann_window(N_FFT, dtype=torch.float64)
        self._filters = _filters(n_mels)

    def push(self, state: MelState, samples: Tensor) -> Tensor:
        """Takes float32 samples, shape = (n,); gives the frames that became complete, shape = (frames,
        n_mels).
        """
        buffer = torch.cat([state.samples, samples])
        if not state.started:
            if len(buffer) <= HALF_WINDOW:
                state.samples = buffer
                return torch.zeros(0, self.n_mels)
            buffer = torch.cat([buffer[1 : HALF_WINDOW + 1].flip(0), buffer])  # as torch.stft(center=True)
            state.started = True
        frames = max(0, (len(buffer) - N_FFT) // HOP_LENGTH + 1)
        state.samples = buffer[frames * HOP_LENGTH :]
        if frames == 0:
            return torch.zeros(0, self.n_mels)
        pieces = buffer.double().unfold(0, N_FFT, HOP_LENGTH)[:frames]
        power = torch.fft.rfft(pieces * self._window).abs().square()
        return self._clamp(state, (power @ self._filters).clamp(min=FLOOR).log10().float())

    @staticmethod
    def _clamp(state: MelState, power: Tensor) -> Tensor:
        """Whisper's clamp and scale, with the maximum up to each frame."""
        loudest = torch.cummax(power.amax(1), 0).values.clamp(min=state.loudest)
        state.loudest = float(loudest[-1])
        return scaled(power, loudest[:, None])


def log_mel(samples: Tensor, n_mels: int = 80) -> Tensor:
    """The offline twin: frames of a whole recording, shape = (frames, n_mels), by torch.stft.

    It has Whisper's reflected end, so its last two frames are of samples that the stream does not have.
    """
    power = log_power(samples, n_mels)
    return scaled(power, torch.cummax(power.amax(1), 0).values[:, None])


def log_power(samples: Tensor, n_mels: int = 80) -> Tensor:
    """Log10 mel power of a whole recording, shape = (frames, n_mels), float32, before any clamp."""
    window = torch.hann_window(N_FFT, dtype=torch.float64)
    spectrum = torch.stft(samples.double(), N_FFT, HOP_LENGTH, window=window, return_complex=True)
    return (spectrum[:, :-1].abs().square().T @ _filters(n_mels)).clamp(min=FLOOR).log10().float()


def scaled(power: Tensor, loudest: Tensor) -> Tensor:
    """Whisper's clamp at 80 dB below the loudest, and its scale."""
    return (torch.maximum(power, loudest - 8.0) + 4.0) / 4.0


@cache
def _filters(n_mels: int) -> Tensor:
    return mel_filters("cpu", n_mels).double().T.contiguous()
