"""Unmodified Whisper over whole stretches of speech: what a stream said of them can be put right.

The arithmetic is the stream's own, with one block that sees all of the stretch, and without an adapter. What was
committed is the draft: where it was right, one pass of the decoder is enough.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import whisper

from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.decoder import TokenDecoder
from voicewire.asr.encoder import Block, BlockEncoder, ConvState
from voicewire.asr.events import Word
from voicewire.asr.greedy import Decoded, Request, decode_greedily
from voicewire.asr.keyterms import Keyterms
from voicewire.asr.loudness import Loudness
from voicewire.asr.model import CausalWhisper
from voicewire.asr.precision import Precision, choose_precision
from voicewire.asr.repetition import repeated
from voicewire.asr.settings import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE
from voicewire.asr.slots import Slots
from voicewire.asr.stretch import LONGEST_S, Stretch
from voicewire.asr.tokens import Vocabulary, alignment_heads
from voicewire.asr.weights import load_checkpoint
from voicewire.asr.words import make_words, time_tokens

# Behind a stretch. With all of Whisper's 30 s the text is as good, for more than twice the work; with 2 s it has
# twice the insertions, and with 0.5 s it falls into loops (20 clips each of dev-00 and dev-01).
SILENCE_S = 8.0
MOST_TOKENS = 220
FRAMES = round(LONGEST_S / FRAME_S)


class SecondPass:
    """A loaded model with room for some stretches at a time. Not thread-safe.

    Attributes:
        room: how many.
    """

    def __init__(self, checkpoint: Checkpoint, precision: Precision, room: int) -> None:
        self.room = room
        self.model = CausalWhisper.from_state(
            checkpoint.dims, checkpoint.state, precision.dtype, precision.device
        )
        dims = self.model.dims
        slots = Slots.allocate(dims, room, self.model.dtype, self.model.device, frames=FRAMES)
        self._slots = slots
        self._encoder = BlockEncoder(self.model, slots)
        self._decoder = TokenDecoder(self.model, slots, alignment_heads(checkpoint.name, dims))
        self._vocabularies: dict[str, Vocabulary] = {}

    @classmethod
    def load(
        cls,
        model: str = "base",
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        room: int = 4,
    ) -> "SecondPass":
        """Loads the weights, as BatchTranscriber does. Raises WeightsError and SettingsError."""
        if threads is not None:
            torch.set_num_threads(threads)
        checkpoint = load_checkpoint(model)
        return cls(checkpoint, choose_precision(checkpoint.dims, device=device, precision=precision), room)

    @torch.inference_mode()
    def hear(self, stretches: Sequence[Stretch]) -> list[tuple[Word, ...]]:
        """The words of each stretch, with times on the session's clock; at most `room` at once.

        Raises SettingsError for a language that the model does not know.
        """
        blocks = [self._lay(slot, stretch) for slot, stretch in enumerate(stretches)]
        self._encoder.encode(blocks)
        requests = [
            self._request(stretch, block.slot, block.end)
            for stretch, block in zip(stretches, blocks, strict=True)
        ]
        decoded = decode_greedily(self._decoder, requests)
        return [
            self._words(stretch, request.vocabulary, one)
            for stretch, request, one in zip(stretches, requests, decoded, strict=True)
        ]

    def _lay(self, slot: int, stretch: Stretch) -> Block:
        """Lays the stretch, with silence behind it, through the convolutions into a slot."""
        samples = stretch.samples[: round(LONGEST_S * SAMPLE_RATE)]
        wanted = min(len(samples) + round(SILENCE_S * SAMPLE_RATE), round(LONGEST_S * SAMPLE_RATE))
        frames = -(-wanted // FRAME_SAMPLES)
        # Two frames of the spectrogram more than are kept, for the convolutions' sake.
        padding = (frames + 1) * FRAME_SAMPLES - len(samples)
        mel = whisper.log_mel_spectrogram(samples, self.model.dims.n_mels, padding=padding)
        laid = self._encoder.convolve(ConvState(), mel.T)[:frames]
        self._slots.clear(slot)
        self._slots.front[slot, : len(laid)] = laid
        return Block(slot, 0, len(laid))

    def _request(self, stretch: Stretch, slot: int, visible: int) -> Request:
        vocabulary = self._vocabulary(stretch.language)
        draft = vocabulary.tokenizer.encode(stretch.text, disallowed_special=())
        return Request(
            slot=slot,
            vocabulary=vocabulary,
            prefix=list(vocabulary.start),
            cached=0,
            limits=[],
            text=0,
            draft=draft,
            visible=visible,
            budget=MOST_TOKENS,
            keyterms=Keyterms.of(stretch.keyterms, vocabulary),
        )

    def _words(self, stretch: Stretch, vocabulary: Vocabulary, decoded: Decoded) -> tuple[Word, ...]:
        attention = decoded.attention.cpu().numpy().astype(np.float32)
        tokens = time_tokens(decoded.tokens, decoded.probabilities, attention, origin_s=0.0, from_s=0.0)
        tokens = tokens[: len(tokens) - repeated(decoded.tokens)]
        loudness = Loudness()
        loudness.push(stretch.samples)
        length_s = len(stretch.samples) / SAMPLE_RATE
        return tuple(
            replace(
                word,
                start_s=round(stretch.start_s + min(word.start_s, length_s), 3),
                end_s=round(stretch.start_s + min(word.end_s, length_s), 3),
            )
            for word in make_words(vocabulary, tokens, loudness, stretch.start_s + length_s)
        )

    def _vocabulary(self, language: str) -> Vocabulary:
        if language not in self._vocabularies:
            vocabulary = Vocabulary.of(self.model.dims, language, self.model.device)
            suppressed = vocabulary.suppressed.clone()
            suppressed[vocabulary.wait] = 0.0  # nothing comes later: here it is the end
            self._vocabularies[language] = replace(vocabulary, suppressed=suppressed)
        return self._vocabularies[language]
