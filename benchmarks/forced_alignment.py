"""When each word of a known text was spoken, by the attention of unmodified Whisper."""

import numpy as np
import torch
import whisper
from whisper.audio import N_FRAMES, log_mel_spectrogram, pad_or_trim
from whisper.model import Whisper
from whisper.timing import find_alignment
from whisper.tokenizer import get_tokenizer

from benchmarks.speech_tars import SAMPLE_RATE, ReferenceWord
from voicewire.asr.weights import load_checkpoint

MOST_S = 30.0


class ForcedAligner:
    """openai-whisper's own alignment (whisper.timing), given what was said instead of what it would say.

    Raises WeightsError where there are no weights for `model`, one of OpenAI's names.
    """

    def __init__(self, model: str = "base") -> None:
        checkpoint = load_checkpoint(model)
        self._model = Whisper(checkpoint.dims).eval()
        self._model.load_state_dict(checkpoint.state)
        self._model.set_alignment_heads(whisper._ALIGNMENT_HEADS[checkpoint.name])
        self._tokenizer = get_tokenizer(self._model.is_multilingual, language="en", task="transcribe")

    def align(self, samples: np.ndarray, text: str) -> tuple[ReferenceWord, ...]:
        """One word for each that spaces part in `text`.

        Args:
            samples: float32 of shape (samples,), mono, 16 kHz, at most 30 s.
            text: what is said in them; case does not matter.

        Raises ValueError for a longer clip.
        """
        if len(samples) > MOST_S * SAMPLE_RATE:
            raise ValueError(
                f"clips of up to {MOST_S:.0f} s can be aligned, not {len(samples) / SAMPLE_RATE:.1f} s"
            )
        written = text.split()
        # Whisper hardly knows words in capitals, as LibriSpeech has them.
        tokens = self._tokenizer.encode(" " + " ".join(written).lower())
        mel = log_mel_spectrogram(torch.from_numpy(samples), self._model.dims.n_mels)
        padded = pad_or_trim(mel, N_FRAMES)
        found: list[tuple[float, float]] = []
        for part in find_alignment(self._model, self._tokenizer, tokens, padded, mel.shape[-1]):
            if part.word.startswith(" ") or not found:
                found.append((float(part.start), float(part.end)))
            else:
                found[-1] = (found[-1][0], float(part.end))
        return tuple(ReferenceWord(word, *times) for word, times in zip(written, found, strict=True))
