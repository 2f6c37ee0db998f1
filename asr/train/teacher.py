"""Unmodified, full-context Whisper, a batch of windows at a time: what it hears in them, and when tokens were
spoken.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from voicewire.asr.alignment import token_times
from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.decoder import Feed, TokenDecoder
from voicewire.asr.encoder import Block, BlockEncoder, ConvState
from voicewire.asr.greedy import Request, decode_greedily
from voicewire.asr.mel import log_power, scaled
from voicewire.asr.model import CausalWhisper
from voicewire.asr.precision import choose_precision
from voicewire.asr.settings import FRAME_SAMPLES, SAMPLE_RATE
from voicewire.asr.slots import Slots
from voicewire.asr.tokens import Vocabulary, alignment_heads
from voicewire.asr.weights import load_checkpoint

WINDOW_S = 30
WINDOW_SAMPLES = WINDOW_S * SAMPLE_RATE
FRAMES = WINDOW_SAMPLES // FRAME_SAMPLES
MOST_TOKENS = 220  # of a window, as in openai-whisper


@dataclass(frozen=True, slots=True)
class Heard:
    """A window's transcript.

    Attributes:
        tokens: without the prompt and the end.
        probabilities: of each of them.
    """

    tokens: list[int]
    probabilities: list[float]


class Teacher:
    """Holds `count` windows at a time: `listen`, then `transcribe` and `align` them."""

    def __init__(
        self, checkpoint: Checkpoint, language: str, dtype: torch.dtype, device: str, count: int = 12
    ) -> None:
        model = CausalWhisper.from_state(checkpoint.dims, checkpoint.state, dtype, device)
        vocabulary = Vocabulary.of(checkpoint.dims, language, model.device)
        suppressed = vocabulary.suppressed.clone()
        suppressed[vocabulary.wait] = 0.0  # here it means what Whisper means by it: the end
        self.count = count
        self.vocabulary = replace(vocabulary, suppressed=suppressed)
        self._slots = Slots.allocate(checkpoint.dims, count, dtype, model.device, frames=FRAMES)
        self._encoder = BlockEncoder(model, self._slots)
        self._decoder = TokenDecoder(model, self._slots, alignment_heads(checkpoint.name, checkpoint.dims))

    @classmethod
    def load(cls, model: str, language: str, device: str = "auto", threads: int | None = None) -> "Teacher":
        """Raises WeightsError, and SettingsError for a device or language that is not to be had."""
        if threads is not None:
            torch.set_num_threads(threads)
        checkpoint = load_checkpoint(model)
        precision = choose_precision(checkpoint.dims, device=device, precision="auto")
        return cls(checkpoint, language, precision.dtype, str(precision.device))

    @torch.inference_mode()
    def listen(self, windows: list[Tensor]) -> None:
        """Encodes windows of up to 30 s, each shape = (samples,), float32; silence fills the rest."""
        for slot, samples in enumerate(windows):
            # The last frame's convolutions look at 12.5 ms more than the window: silence, too.
            whole = torch.zeros(WINDOW_SAMPLES + FRAME_SAMPLES)
            whole[: len(samples)] = samples
            power = log_power(whole, self._encoder.model.dims.n_mels)
            frames = self._encoder.convolve(ConvState(), scaled(power, power.max()))
            self._slots.front[slot] = frames[:FRAMES]
            self._encoder.encode([Block(slot, 0, FRAMES)])

    def transcribe(self, count: int) -> list[Heard]:
        """What is said in the first `count` windows, greedily."""
        prompt = list(self.vocabulary.start)
        requests = [
            Request(slot, self.vocabulary, prompt, 0, [], 0, [], FRAMES, MOST_TOKENS) for slot in range(count)
        ]
        return [
            Heard(decoded.tokens, decoded.probabilities)
            for decoded in decode_greedily(self._decoder, requests)
        ]

    def align(self, texts: list[list[int]]) -> list[list[tuple[float, float]]]:
        """Start and end in seconds of each token of the texts, one text a window; at most 440 tokens each."""
        prompt = list(self.vocabulary.start)
        feeds = [Feed(slot, 0, [*prompt, *tokens], FRAMES) for slot, tokens in enumerate(texts)]
        attention = self._decoder.run(feeds).attention
        return [token_times(rows[len(prompt) - 1 :].cpu().numpy(), 0.0) for rows in attention]
