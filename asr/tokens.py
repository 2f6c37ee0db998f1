"""Whisper's tokens as a stream needs them: the prompt, what may not be said, and how tokens become words."""

import base64
import gzip
from dataclasses import dataclass

import numpy as np
import torch
import whisper
from torch import Tensor
from whisper.model import ModelDimensions
from whisper.tokenizer import LANGUAGES, Tokenizer, get_tokenizer

from voicewire.asr.errors import SettingsError

# Whisper joins these to the word before or after them (whisper.timing.merge_punctuations).
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - full-width on purpose
# Taken from the logit of waiting. An adapter waits too readily, and a word that it waits out comes late or never:
# with 0.5 the slowest twentieth of the words take 2.2 s instead of 1.4.
RELUCTANCE = 1.5
UNFINISHED = "\ufffd"  # what the decoder of bytes gives for a character cut in two


@dataclass(frozen=True)
class Vocabulary:
    """One language's view of Whisper's vocabulary.

    Attributes:
        tokenizer: openai-whisper's.
        start: the tokens that begin every transcript (start, language, task, no time stamps).
        wait: end of text, which here means: nothing more until there is more audio.
        suppressed: float32, shape = (n_vocab,), to be added to logits: 0, minus infinity for tokens never said,
            and what makes waiting less likely.
        blank: the token of a lone space, which may not come first.
    """

    tokenizer: Tokenizer
    start: tuple[int, ...]
    wait: int
    suppressed: Tensor
    blank: int

    @classmethod
    def of(cls, dims: ModelDimensions, language: str, device: torch.device) -> "Vocabulary":
        """Raises SettingsError where the model does not know the language."""
        multilingual = dims.n_vocab >= 51865
        if language not in LANGUAGES or (language != "en" and not multilingual):
            known = "its codes are those of openai-whisper" if multilingual else "it knows English (en) only"
            raise SettingsError(f"the model does not know the language {language!r}: {known}")
        tokenizer = get_tokenizer(
            multilingual,
            num_languages=dims.n_vocab - 51765 - int(multilingual),
            language=language,
            task="transcribe",
        )
        special = {
            tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm, tokenizer.no_speech, tokenizer.no_timestamps,
            tokenizer.transcribe, tokenizer.translate, *tokenizer.all_language_tokens,
        }  # fmt: skip
        suppressed = torch.zeros(dims.n_vocab)
        suppressed[list(special | set(tokenizer.non_speech_tokens))] = float("-inf")
        suppressed[tokenizer.timestamp_begin :] = float("-inf")
        suppressed[tokenizer.eot] = -RELUCTANCE
        return cls(
            tokenizer=tokenizer,
            start=tuple(tokenizer.sot_sequence_including_notimestamps),
            wait=tokenizer.eot,
            suppressed=suppressed.to(device),
            blank=tokenizer.encode(" ")[0],
        )

    def text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens))

    def prompt(self, history: list[int]) -> list[int]:
        """The forced beginning of a window, with earlier text before it where there is some."""
        return [self.tokenizer.sot_prev, *history, *self.start] if history else list(self.start)

    def groups(self, tokens: list[int]) -> list[list[int]]:
        """Tokens grouped into words by Whisper's rules, punctuation joined to its word."""
        words, grouped = self.tokenizer.split_to_word_tokens(tokens)
        merged: list[tuple[str, list[int]]] = []
        for word, part in zip(words, grouped, strict=True):
            if not part:
                continue
            if merged and (_closes(word) or _opens(merged[-1][0])):
                before, earlier = merged[-1]
                merged[-1] = (before + word, earlier + part)
            else:
                merged.append((word, part))
        return [part for _, part in merged]


def _closes(word: str) -> bool:
    return word != "" and all(character in APPENDED for character in word)


def _opens(word: str) -> bool:
    return word.startswith(" ") and word.strip() != "" and word.strip() in PREPENDED


def alignment_heads(name: str, dims: ModelDimensions) -> list[tuple[int, int]]:
    """(layer, head) pairs whose cross-attention follows the audio: Whisper's published ones, else the upper
    half.
    """
    table: dict[str, bytes] = whisper._ALIGNMENT_HEADS
    shape = (dims.n_text_layer, dims.n_text_head)
    if name in table:
        mask = np.frombuffer(gzip.decompress(base64.b85decode(table[name])), dtype=bool)
        if mask.size == shape[0] * shape[1]:
            return [(int(layer), int(head)) for layer, head in np.argwhere(mask.reshape(shape))]
    return [(layer, head) for layer in range(shape[0] // 2, shape[0]) for head in range(shape[1])]
