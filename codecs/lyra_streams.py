"""Lyra's streams in slots: from audio to tokens, and from tokens to audio."""

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from voicewire.codecs.errors import BitrateError, CodecError, CodecStateError, TokensError
from voicewire.codecs.lyra_model import BITS, CODEBOOKS, FRAME, FRAME_RATE, SAMPLE_RATE, LyraModel
from voicewire.codecs.lyra_network import Memory
from voicewire.codecs.tokens import Tokens

NAME = "lyra_v2"
CHOICES = (16, 30, CODEBOOKS)


@dataclass(eq=False)
class _Stream:
    """What a stream has besides the networks' memory.

    Attributes:
        codebooks: codes per frame that an encoder makes.
        frame: the next frame; None: a decoder's first piece may begin at any.
        rest: samples that fill no frame yet.
    """

    codebooks: int = CODEBOOKS
    frame: int | None = None
    rest: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


class _Slots:
    """What both directions share: who has which slot, and streams as bytes."""

    # Magic with version, direction, SHA-256 of the weights, codebooks, next frame or -1, samples in `rest`.
    _HEAD = struct.Struct("<8s1s32sIqI")
    _MAGIC = b"VWLyra\x00\x01"
    direction: bytes
    beginning: int | None

    def __init__(self, model: LyraModel, memory: Memory, slots: int) -> None:
        self._model, self._memory = model, memory
        self._streams: list[_Stream | None] = [None] * slots

    @property
    def free(self) -> int:
        return self._streams.count(None)

    def open(self, codebooks: int | None = None) -> int:
        stream = _Stream(_offered(codebooks), self.beginning)
        if not self.free:
            raise CodecError(f"all {len(self._streams)} slots are taken: close one, or ask for more")
        slot = self._streams.index(None)
        self._streams[slot] = stream
        self._memory.clear(slot)
        return slot

    def close(self, slot: int) -> None:
        self._stream(slot)
        self._streams[slot] = None

    def use(self, slot: int, codebooks: int) -> None:
        self._stream(slot).codebooks = _offered(codebooks)

    def snapshot(self, slot: int) -> bytes:
        stream = self._stream(slot)
        frame = -1 if stream.frame is None else stream.frame
        weights = bytes.fromhex(self._model.sha256)
        head = self._HEAD.pack(
            self._MAGIC, self.direction, weights, stream.codebooks, frame, len(stream.rest)
        )
        return head + stream.rest.tobytes() + self._memory.to_bytes(slot)

    def restore(self, slot: int, data: bytes) -> None:
        self._stream(slot)
        if len(data) < self._HEAD.size:
            raise CodecStateError(f"{len(data)} bytes are no snapshot of {NAME}")
        magic, direction, weights, count, frame, size = self._HEAD.unpack_from(data)
        ours = (self._MAGIC, self.direction, bytes.fromhex(self._model.sha256))
        if (magic, direction, weights) != ours:
            raise CodecStateError(
                f"not a snapshot of {NAME} in this direction, version and with these weights"
            )
        middle = self._HEAD.size + 4 * size
        whole = middle + self._memory.slot_bytes
        if count not in CHOICES or frame < -1 or size >= FRAME or len(data) != whole:
            raise CodecStateError(f"the snapshot of {NAME} is damaged: take another")
        rest = np.frombuffer(data[self._HEAD.size : middle], np.float32)
        self._streams[slot] = _Stream(count, None if frame < 0 else frame, rest)
        self._memory.from_bytes(slot, data[middle:])

    def _stream(self, slot: int) -> _Stream:
        stream = self._streams[slot] if 0 <= slot < len(self._streams) else None
        if stream is None:
            raise CodecError(f"slot {slot} is not open")
        return stream

    def _begin_anew(self, slot: int) -> None:
        self._streams[slot] = _Stream(self._stream(slot).codebooks, self.beginning)
        self._memory.clear(slot)


class LyraEncoders(_Slots):
    """Streams from audio to tokens; see `CodecBatch`."""

    direction = b"e"
    beginning = 0

    def __init__(self, model: LyraModel, slots: int) -> None:
        super().__init__(model, model.encoder_memory(slots), slots)

    def push(self, pieces: Mapping[int, np.ndarray]) -> dict[int, Tokens]:
        waiting = {
            slot: np.concatenate([self._stream(slot).rest, _mono(piece)]) for slot, piece in pieces.items()
        }
        whole = {slot: len(samples) // FRAME * FRAME for slot, samples in waiting.items()}
        made = self._encode({slot: samples[: whole[slot]] for slot, samples in waiting.items()})
        for slot, samples in waiting.items():
            self._stream(slot).rest = samples[whole[slot] :].copy()
        return made

    def flush(self, slots: Collection[int]) -> dict[int, Tokens]:
        made = self._encode({slot: self._stream(slot).rest for slot in slots})
        for slot in slots:
            self._begin_anew(slot)
        return made

    def _encode(self, pieces: Mapping[int, np.ndarray]) -> dict[int, Tokens]:
        """All of these samples, the last frame padded."""
        codes = self._model.encode({slot: _frames(piece) for slot, piece in pieces.items()}, self._memory)
        return {
            slot: self._tokens(self._stream(slot), codes[slot], len(piece)) for slot, piece in pieces.items()
        }

    def _tokens(self, stream: _Stream, codes: np.ndarray, samples: int) -> Tokens:
        first = stream.frame or 0
        stream.frame = first + len(codes)
        kept = codes[:, : stream.codebooks]
        return Tokens(NAME, SAMPLE_RATE, FRAME_RATE, stream.codebooks, BITS, first, samples, kept)


class LyraDecoders(_Slots):
    """Streams from tokens to audio; see `CodecBatch`."""

    direction = b"d"
    beginning = None

    def __init__(self, model: LyraModel, slots: int) -> None:
        super().__init__(model, model.decoder_memory(slots), slots)

    def push(self, pieces: Mapping[int, Tokens]) -> dict[int, np.ndarray]:
        for slot, piece in pieces.items():
            _check(piece, self._stream(slot).frame)
        sound = self._model.decode({slot: piece.codes for slot, piece in pieces.items()}, self._memory)
        for slot, piece in pieces.items():
            self._stream(slot).frame = piece.first_frame + piece.frames
        return {slot: sound[slot][: piece.samples] for slot, piece in pieces.items()}

    def flush(self, slots: Collection[int]) -> dict[int, np.ndarray]:
        for slot in slots:
            self._begin_anew(slot)
        return {slot: np.zeros(0, np.float32) for slot in slots}  # each frame was given when it came


def _offered(codebooks: int | None) -> int:
    if codebooks is None:
        return CODEBOOKS
    if codebooks not in CHOICES:
        known = ", ".join(map(str, CHOICES))
        raise BitrateError(f"{NAME} makes {known} codes per frame, not {codebooks}")
    return codebooks


def _mono(piece: np.ndarray) -> np.ndarray:
    if piece.ndim != 1 or piece.dtype != np.float32:
        raise CodecError(f"audio must be float32 of shape (samples,), not {piece.dtype} of {piece.shape}")
    return piece


def _frames(samples: np.ndarray) -> np.ndarray:
    padded = np.zeros((-(-len(samples) // FRAME), FRAME), np.float32)
    padded.reshape(-1)[: len(samples)] = samples
    return padded


def _check(piece: Tokens, due: int | None) -> None:
    if (piece.codec, piece.bits) != (NAME, BITS) or piece.codebooks > CODEBOOKS:
        raise TokensError(f"these are tokens of {piece.codec}, and not what {NAME} makes")
    if due is not None and piece.first_frame != due:
        raise TokensError(f"frame {piece.first_frame} came where frame {due} was due")
