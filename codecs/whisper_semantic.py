"""Tokens that keep the words: what Whisper's decoder reads of speech, in 0.25 to 1 kbit/s.

A stream is given to the recogniser's causal encoder, and what the decoder would look at is quantised
(quantiser.py). The recogniser makes words of the tokens again without the audio. There is no sound in them.

The encoder is that of the recogniser that the codec is loaded with, or one of its own; reading tokens needs none.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from voicewire.codecs.codec import CodecBatch, encode_whole
from voicewire.codecs.errors import (
    BitrateError,
    CodecError,
    CodecStateError,
    CodecWeightsError,
    SilentCodecError,
    TokensError,
)
from voicewire.codecs.quantiser import BITS
from voicewire.codecs.quantiser_file import SHIPPED, QuantiserFile, read_quantiser
from voicewire.codecs.tokens import Tokens
from voicewire.codecs.words import FeatureSource, Heard, Samples, Transcriber

SAMPLE_RATE = 16_000
FEATURE_SAMPLES = 320  # that a feature stands for
BLOCK = 60  # features that are quantised at once, as the encoder settles them
FORMAT = "voicewire.semantic.1"
_HEADER = "voicewire"


class WhisperSemantic:
    """The codec; see `Codec`. It makes no sound: `decode` and `decoders` raise SilentCodecError, `read` and
    `reader` give what the recogniser makes words of.
    """

    sample_rate, bits, sounds = SAMPLE_RATE, BITS, False

    def __init__(self, file: QuantiserFile, source: FeatureSource | None = None) -> None:
        self.name = file.codec
        self.weights_sha256 = file.sha256
        self.quantiser = file.quantiser
        self._file = file
        if source is not None:
            self.source = self._checked(source)
        shape = file.quantiser.shape
        self.frame_rate = SAMPLE_RATE / (FEATURE_SAMPLES * shape.stack)
        self.codebooks = shape.codebooks
        self.choices = (shape.codebooks // 4, shape.codebooks // 2, shape.codebooks)

    @cached_property
    def source(self) -> FeatureSource:
        """The encoder. Raises CodecWeightsError where none was given, and its own cannot be had or is another."""
        # the one way from the codecs to the recogniser, for who has none
        from voicewire.codecs.whisper_encoder import load_encoder

        return self._checked(load_encoder())

    @property
    def preroll(self) -> int:
        """Frames that the quantiser's memory reaches back."""
        return self.quantiser.reach

    @property
    def frame_samples(self) -> int:
        """Samples per frame."""
        return FEATURE_SAMPLES * self.quantiser.shape.stack

    def encode(self, samples: np.ndarray, codebooks: int | None = None) -> Tokens:
        """A whole recording, mono float32 of shape (samples,), as codes of shape (frames, codebooks)."""
        return encode_whole(self, samples, codebooks)

    def decode(self, tokens: Tokens) -> np.ndarray:
        """Raises SilentCodecError, and TokensError for another codec's tokens."""
        self.check(tokens)
        raise self._silent()

    def encoders(self, slots: int) -> CodecBatch[np.ndarray, Tokens]:
        """Room for so many streams from audio to tokens."""
        return SemanticEncoders(self, slots)

    def decoders(self, slots: int) -> CodecBatch[Tokens, np.ndarray]:
        """Raises SilentCodecError."""
        raise self._silent()

    def read(self, tokens: Tokens) -> Heard:
        """All the tokens of a stream, for the recogniser. Raises TokensError as SemanticReader.push."""
        return self.reader().push(tokens)

    def reader(self) -> "SemanticReader":
        """One stream of tokens on its way to the recogniser."""
        return SemanticReader(self)

    def check(self, tokens: Tokens) -> None:
        """Raises TokensError where they are not this codec's."""
        most = self.codebooks
        if (tokens.codec, tokens.bits) != (self.name, BITS) or not 1 <= tokens.codebooks <= most:
            raise TokensError(f"these are tokens of {tokens.codec}, and not what {self.name} makes")

    def offered(self, codebooks: int | None) -> int:
        """Raises BitrateError where there is no such number; None is all."""
        if codebooks is None:
            return self.codebooks
        if codebooks not in self.choices:
            known = ", ".join(map(str, self.choices))
            raise BitrateError(f"{self.name} makes {known} codes per frame, not {codebooks}")
        return codebooks

    def _checked(self, source: FeatureSource) -> FeatureSource:
        """The encoder, if the quantiser was trained on what it makes."""
        made_for = self._file.model_sha256[:12], self._file.adapter_sha256[:12]
        encoder = source.model_sha256[:12], source.adapter_sha256[:12]
        if made_for != encoder:
            raise CodecWeightsError(
                f"{self.name} was trained on the features of another encoder (model {made_for[0]}, adapter "
                f"{made_for[1]}; this is {encoder[0]}, {encoder[1]}): load the shipped adapter, or train the "
                "quantiser again"
            )
        return source

    def _silent(self) -> SilentCodecError:
        return SilentCodecError(
            f"the tokens of {self.name} hold words and no sound: give them to the recogniser"
        )


@dataclass(slots=True, eq=False)
class _Stream:
    """What an encoder's stream has besides its features.

    Attributes:
        codebooks: codes per frame that it makes.
        past: what the quantiser's networks still need.
        frame: place of the next frame.
        samples: heard so far.
    """

    codebooks: int
    past: Tensor = field(repr=False)
    frame: int = 0
    samples: int = 0


class SemanticEncoders:
    """Streams from audio to tokens; see `CodecBatch`."""

    def __init__(self, codec: WhisperSemantic, slots: int) -> None:
        if slots < 1:
            raise CodecError(f"a batch needs a slot, not {slots}")
        self._codec = codec
        self._features = codec.source.streams(slots)
        self._streams: list[_Stream | None] = [None] * slots

    @property
    def free(self) -> int:
        return self._streams.count(None)

    def open(self, codebooks: int | None = None) -> int:
        codebooks = self._codec.offered(codebooks)
        if not self.free:
            raise CodecError(f"all {len(self._streams)} slots are taken: close one, or ask for more")
        slot = self._features.open()
        self._streams[slot] = self._begin(codebooks)
        return slot

    def close(self, slot: int) -> None:
        self._stream(slot)
        self._features.close(slot)
        self._streams[slot] = None

    def use(self, slot: int, codebooks: int) -> None:
        self._stream(slot).codebooks = self._codec.offered(codebooks)

    def push(self, pieces: Mapping[int, Samples]) -> dict[int, Tokens]:
        streams = {slot: self._stream(slot) for slot in pieces}
        for piece in pieces.values():
            _check_mono(piece)
        made = {}
        for slot, stream in streams.items():
            stream.samples += len(pieces[slot])
            codes = self._quantise(stream, self._features.push(slot, pieces[slot]))
            made[slot] = self._tokens(stream, codes, len(codes) * self._codec.frame_samples)
        return made

    def flush(self, slots: Collection[int]) -> dict[int, Tokens]:
        made = {}
        for slot, stream in {slot: self._stream(slot) for slot in slots}.items():
            left = stream.samples - stream.frame * self._codec.frame_samples
            codes = self._quantise(stream, self._features.flush(slot))
            made[slot] = self._tokens(stream, codes[: -(-left // self._codec.frame_samples)], left)
            self._streams[slot] = self._begin(stream.codebooks)
        return made

    def snapshot(self, slot: int) -> bytes:
        stream = self._stream(slot)
        facts = {
            "format": FORMAT,
            "codec": [self._codec.name, self._codec.weights_sha256],
            "codebooks": stream.codebooks,
            "frame": stream.frame,
            "samples": stream.samples,
        }
        features = torch.frombuffer(bytearray(self._features.snapshot(slot)), dtype=torch.uint8)
        return write_tensors({"past": stream.past, "features": features}, {_HEADER: json.dumps(facts)})

    def restore(self, slot: int, data: bytes) -> None:
        self._stream(slot)
        try:
            tensors = read_tensors(data)
            # the header's length, then JSON: the format's own layout, since reading keeps the metadata to itself
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            facts = json.loads(header["__metadata__"][_HEADER])
            if (facts["format"], facts["codec"]) != (FORMAT, [self._codec.name, self._codec.weights_sha256]):
                raise ValueError(f"it is {facts['format']} of {facts['codec']}")
            stream = _Stream(
                self._codec.offered(facts["codebooks"]),
                tensors["past"],
                int(facts["frame"]),
                int(facts["samples"]),
            )
            if stream.past.shape != self._begin(1).past.shape or min(stream.frame, stream.samples) < 0:
                raise ValueError("what it holds is no stream")
            self._features.restore(slot, tensors["features"].numpy().tobytes())
        except (SafetensorError, KeyError, TypeError, ValueError, BitrateError) as error:
            raise CodecStateError(
                f"this is no snapshot of a stream of {self._codec.name}: {error}"
            ) from error
        except Exception as error:
            raise CodecStateError(f"the encoder cannot go on from this: {error}") from error
        self._streams[slot] = stream

    def _begin(self, codebooks: int) -> _Stream:
        return _Stream(codebooks, self._codec.quantiser.context.start())

    def _stream(self, slot: int) -> _Stream:
        stream = self._streams[slot] if 0 <= slot < len(self._streams) else None
        if stream is None:
            raise CodecError(f"slot {slot} is not open")
        return stream

    @torch.inference_mode()
    def _quantise(self, stream: _Stream, features: Samples) -> NDArray[np.int64]:
        """Whole blocks of features -> codes, one block at a time: no bit depends on how many came at once."""
        codes = [torch.zeros(0, stream.codebooks, dtype=torch.int64)]
        for block in torch.from_numpy(features).split(BLOCK):
            latents, stream.past = self._codec.quantiser.analyse(block, stream.past)
            codes.append(self._codec.quantiser.choose(latents, stream.codebooks))
        return torch.cat(codes).numpy()

    def _tokens(self, stream: _Stream, codes: NDArray[np.int64], samples: int) -> Tokens:
        first, stream.frame = stream.frame, stream.frame + len(codes)
        codec = self._codec
        return Tokens(
            codec.name, SAMPLE_RATE, codec.frame_rate, stream.codebooks, BITS, first, samples, codes
        )


class SemanticReader:
    """One stream of tokens on its way to the recogniser.

    The encoder's windows begin with the stream, and the recogniser must know where they end; so a stream is read
    from its beginning.
    """

    def __init__(self, codec: WhisperSemantic) -> None:
        self._codec = codec
        self._past = codec.quantiser.start()
        self._frame = 0

    @torch.inference_mode()
    def push(self, tokens: Tokens) -> Heard:
        """The next tokens of the stream, with any number of codebooks.

        Raises:
            TokensError: tokens of another codec, or not the stream's next ones. The stream has not moved then.
        """
        self._codec.check(tokens)
        if tokens.first_frame != self._frame:
            raise TokensError(f"frame {tokens.first_frame} came where frame {self._frame} was due")
        quantiser = self._codec.quantiser
        latents = quantiser.look_up(torch.from_numpy(tokens.codes.astype(np.int64)))
        features, voice, self._past = quantiser.synthesise(latents, self._past)
        self._frame += tokens.frames
        real = -(-tokens.samples // FEATURE_SAMPLES)
        return Heard(features[:real].numpy(), voice[:real].sigmoid().numpy())


def _check_mono(piece: Samples) -> None:
    if piece.ndim != 1 or piece.dtype != np.float32 or not np.isfinite(piece).all():
        raise CodecError("audio must be finite float32 of shape (samples,)")


def load(weights: Path | None = None, transcriber: Transcriber | None = None) -> WhisperSemantic:
    """The codec with 25 frames a second.

    Args:
        weights: the quantiser's file; None: the shipped one.
        transcriber: whose encoder listens; None: Whisper base with the shipped adapter, loaded when first audio is
            to be encoded, once per process.

    Raises:
        CodecWeightsError: the quantiser cannot be had, or was trained for another encoder.
        WeightsError: the transcriber's encoder was never measured for this.
    """
    file = read_quantiser(weights or SHIPPED / "25hz.safetensors")
    return WhisperSemantic(file, transcriber.feature_source if transcriber else None)
