"""EnCodec's streams in slots: what waits for a whole frame, and which streams advance together."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Generic

import numpy as np
import torch
from torch import Tensor

from voicewire.codecs.codec import Given, Made
from voicewire.codecs.encodec_layers import Turn
from voicewire.codecs.encodec_network import (
    BEGINNING_FRAMES,
    BITS,
    CHOICES,
    CODEBOOKS,
    CODES,
    FRAME_RATE,
    FRAME_SAMPLES,
    NAME,
    SAMPLE_RATE,
    Layer,
    Network,
)
from voicewire.codecs.encodec_snapshot import Stream, read_snapshot, write_snapshot
from voicewire.codecs.errors import BitrateError, CodecError, TokensError
from voicewire.codecs.tokens import Tokens

# More at a time leave the processor's caches, fewer load the weights too often.
_MOST_FRAMES = 32


def checked_codebooks(codebooks: int | None) -> int:
    """Raises BitrateError where there is no such number; None is all."""
    if codebooks is None:
        return CODEBOOKS
    if codebooks not in CHOICES:
        raise BitrateError(f"{NAME} has {', '.join(map(str, CHOICES))} codebooks, not {codebooks}")
    return codebooks


class EncodecBatch(ABC, Generic[Given, Made]):
    """What both directions share. A frame is counted in units: its samples, or its one row of codes."""

    _direction: str
    _frame_units: int
    _no_units: np.ndarray
    _no_output: np.ndarray
    _first_frame: int | None

    def __init__(self, network: Network, layers: Sequence[Layer], slots: int) -> None:
        if slots < 1:
            raise CodecError(f"a batch needs a slot, not {slots}")
        self._network = network
        self._streams: list[Stream | None] = [None] * slots
        self._memory = {
            layer.name: torch.zeros(slots, *layer.remembered, dtype=network.dtype) for layer in layers
        }

    @property
    def free(self) -> int:
        return self._streams.count(None)

    def open(self, codebooks: int | None = None) -> int:
        codebooks = checked_codebooks(codebooks)
        if not self.free:
            raise CodecError(f"all {len(self._streams)} slots are taken: close one, or make a larger batch")
        slot = self._streams.index(None)
        self._begin(slot, codebooks)
        return slot

    def close(self, slot: int) -> None:
        self._stream(slot)
        self._streams[slot] = None

    def use(self, slot: int, codebooks: int) -> None:
        self._stream(slot).codebooks = checked_codebooks(codebooks)

    def push(self, pieces: Mapping[int, Given]) -> dict[int, Made]:
        streams = {slot: self._stream(slot) for slot in pieces}
        for slot, stream in streams.items():
            self._check(stream, pieces[slot])
        for slot, stream in streams.items():
            self._take(stream, pieces[slot])
        made = self._advance(streams)
        for stream in streams.values():
            stream.waiting = stream.waiting.copy()  # lets go of a piece that may be long
        return {slot: self._give(stream, made[slot]) for slot, stream in streams.items()}

    def flush(self, slots: Collection[int]) -> dict[int, Made]:
        made = {}
        for slot, stream in {slot: self._stream(slot) for slot in slots}.items():
            rest = [self._no_output]
            if units := len(stream.waiting):
                rest += self._turn([slot], units, begins=not stream.begun, ends=True)
            made[slot] = self._give(stream, rest, ending_units=units)
            self._begin(slot, stream.codebooks)
        return made

    def snapshot(self, slot: int) -> bytes:
        return write_snapshot(self._stream(slot), self._remembered(slot), self._identity())

    def restore(self, slot: int, data: bytes) -> None:
        self._stream(slot)
        most = self._frame_units * BEGINNING_FRAMES
        stream, kept = read_snapshot(data, self._identity(), self._remembered(slot), self._no_units, most)
        self._streams[slot] = stream
        for name, rows in kept.items():
            self._memory[name][slot] = rows

    def _identity(self) -> dict[str, str | bool]:
        return {"direction": self._direction, **self._network.identity}

    def _remembered(self, slot: int) -> dict[str, Tensor]:
        return {name: rows[slot] for name, rows in self._memory.items()}

    def _stream(self, slot: int) -> Stream:
        stream = self._streams[slot] if 0 <= slot < len(self._streams) else None
        if stream is None:
            raise CodecError(f"slot {slot} is not open")
        return stream

    def _begin(self, slot: int, codebooks: int) -> None:
        begun = not self._network.mirrors
        self._streams[slot] = Stream(codebooks, self._first_frame, begun, self._no_units)
        for rows in self._memory.values():
            rows[slot] = 0

    def _advance(self, streams: Mapping[int, Stream]) -> dict[int, list[np.ndarray]]:
        """All whole frames that wait, many streams at a time."""
        made = {slot: [self._no_output] for slot in streams}

        def turn(slots: list[int], frames: int, begins: bool = False) -> None:
            for slot, part in zip(slots, self._turn(slots, frames * self._frame_units, begins), strict=True):
                made[slot].append(part)

        def ready(begun: bool, frames: int, most: int) -> list[int]:
            due = (slot for slot, stream in streams.items() if stream.begun == begun)
            return [slot for slot in due if self._frames(streams[slot]) >= frames][:most]

        while slots := ready(False, BEGINNING_FRAMES, _MOST_FRAMES // BEGINNING_FRAMES):
            turn(slots, BEGINNING_FRAMES, begins=True)
        while slots := ready(True, 1, _MOST_FRAMES):
            turn(slots, min(_MOST_FRAMES // len(slots), *(self._frames(streams[slot]) for slot in slots)))
        return made

    def _frames(self, stream: Stream) -> int:
        return len(stream.waiting) // self._frame_units

    def _turn(self, slots: list[int], units: int, begins: bool, ends: bool = False) -> list[np.ndarray]:
        """So many units of each of these streams, which then wait no longer."""
        streams = [self._stream(slot) for slot in slots]
        taken = torch.from_numpy(np.stack([stream.waiting[:units] for stream in streams]))
        for stream in streams:
            stream.waiting = stream.waiting[units:]
            stream.begun = True
        with torch.inference_mode():
            made = self._run(taken, Turn(self._memory, torch.tensor(slots), begins, ends), streams)
        return [part.numpy() for part in made]

    @abstractmethod
    def _check(self, stream: Stream, piece: Given) -> None:
        """Raises an error where the stream cannot take the piece."""

    @abstractmethod
    def _take(self, stream: Stream, piece: Given) -> None:
        """Puts the piece behind what waits."""

    @abstractmethod
    def _run(self, units: Tensor, turn: Turn, streams: list[Stream]) -> Sequence[Tensor]:
        """(streams, units) to what each stream makes of them."""

    @abstractmethod
    def _give(self, stream: Stream, parts: list[np.ndarray], ending_units: int = 0) -> Made:
        """What `_run` made, joined; at a stream's end it was made of so many units, maybe no whole frames."""


class Encoders(EncodecBatch[np.ndarray, Tokens]):
    """Streams from audio to tokens."""

    _direction, _frame_units, _first_frame = "encoder", FRAME_SAMPLES, 0
    _no_units = np.zeros(0, np.float32)
    _no_output = np.zeros((0, CODEBOOKS), np.int64)

    def __init__(self, network: Network, slots: int) -> None:
        super().__init__(network, network.encoder.layers, slots)

    def _check(self, stream: Stream, piece: np.ndarray) -> None:
        if piece.ndim != 1 or piece.dtype != np.float32:
            raise CodecError(f"audio must be float32 of shape (samples,), not {piece.dtype} of {piece.shape}")
        if not np.isfinite(piece).all():
            raise CodecError("audio must be finite: what is not would stay in the stream's memory")

    def _take(self, stream: Stream, piece: np.ndarray) -> None:
        stream.waiting = np.concatenate([stream.waiting, piece])

    def _run(self, units: Tensor, turn: Turn, streams: list[Stream]) -> Sequence[Tensor]:
        embeddings = self._network.encoder(units.to(self._network.dtype), turn)
        most = max(stream.codebooks for stream in streams)
        return self._network.codebooks.encode(embeddings, most).unbind()

    def _give(self, stream: Stream, parts: list[np.ndarray], ending_units: int = 0) -> Tokens:
        codes = np.concatenate([part[:, : stream.codebooks] for part in parts])
        assert stream.frame is not None
        samples = ending_units or len(codes) * FRAME_SAMPLES
        tokens = tokens_of(codes, stream.frame, samples)
        stream.frame += len(codes)
        return tokens


class Decoders(EncodecBatch[Tokens, np.ndarray]):
    """Streams from tokens to audio."""

    _direction, _frame_units, _first_frame = "decoder", 1, None
    _no_units = np.zeros((0, CODEBOOKS), np.int64)
    _no_output = np.zeros(0, np.float32)

    def __init__(self, network: Network, slots: int) -> None:
        super().__init__(network, network.decoder.layers, slots)

    def _check(self, stream: Stream, piece: Tokens) -> None:
        check_tokens(piece)
        if stream.frame is not None and piece.first_frame != stream.frame:
            raise TokensError(f"frame {piece.first_frame} came where {stream.frame} was due")
        if stream.ended and piece.frames:
            raise TokensError("the last piece ended in mid-frame, which only a stream's end may: flush first")

    def _take(self, stream: Stream, piece: Tokens) -> None:
        absent = ((0, 0), (0, CODEBOOKS - piece.codebooks))
        codes = np.pad(piece.codes.astype(np.int64), absent, constant_values=CODES)
        stream.waiting = np.concatenate([stream.waiting, codes])
        stream.frame = piece.first_frame + piece.frames
        stream.owed += piece.samples
        stream.ended |= piece.samples < piece.frames * FRAME_SAMPLES

    def _run(self, units: Tensor, turn: Turn, streams: list[Stream]) -> Sequence[Tensor]:
        used = max(1, int((units != CODES).flatten(0, 1).any(dim=0).sum()))
        audio = self._network.decoder(self._network.codebooks.decode(units[:, :, :used]), turn)
        return audio.to(torch.float32).unbind()

    def _give(self, stream: Stream, parts: list[np.ndarray], ending_units: int = 0) -> np.ndarray:
        samples = np.concatenate(parts)[: stream.owed]
        stream.owed -= len(samples)
        return samples


def tokens_of(codes: np.ndarray, first_frame: int, samples: int) -> Tokens:
    """Codes of shape (frames, codebooks) as tokens of this codec."""
    return Tokens(NAME, SAMPLE_RATE, FRAME_RATE, codes.shape[1], BITS, first_frame, samples, codes)


def check_tokens(tokens: Tokens) -> None:
    """Raises TokensError for tokens of another codec."""
    theirs = (tokens.codec, tokens.sample_rate, tokens.frame_rate, tokens.bits)
    if theirs != (NAME, SAMPLE_RATE, FRAME_RATE, BITS) or not 1 <= tokens.codebooks <= CODEBOOKS:
        raise TokensError(
            f"these are tokens of {tokens.codec} at {tokens.sample_rate} Hz with {tokens.codebooks} codebooks, "
            f"not of {NAME} at {SAMPLE_RATE} Hz with {CODEBOOKS} at most"
        )
