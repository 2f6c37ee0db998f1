"""The plainest codec there is, complete: mu-law, so that what surrounds codecs can be tried without weights."""

import hashlib
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from voicewire.codecs import BitrateError, CodecBatch, CodecError, CodecStateError, Tokens, TokensError

FRAME = 320
# Every second sample first, so that the first half of the codes is a coarser signal.
ORDER = np.argsort(np.arange(FRAME) % 2, kind="stable")
NOTHING = np.zeros(0, np.float32)


class MuLaw:
    """Each sample of a frame is a codebook of its own; with half of them every second sample is held.

    The decoder takes the mean of each sample and the one before, so that it has something to remember.
    """

    name, sample_rate, frame_rate, codebooks, bits = "mu_law", 16_000, 50.0, FRAME, 8
    choices, preroll, sounds = (FRAME // 2, FRAME), 1, True
    weights_sha256 = hashlib.sha256(b"mu-law has none").hexdigest()

    def encode(self, samples: np.ndarray, codebooks: int | None = None) -> Tokens:
        return self.tokens(samples, 0, self.count(codebooks))

    def decode(self, tokens: Tokens) -> np.ndarray:
        self.check(tokens)
        return smoothed(self.samples(tokens), 0.0)[: tokens.samples]

    def encoders(self, slots: int) -> CodecBatch[np.ndarray, Tokens]:
        return Encoders(self, slots)

    def decoders(self, slots: int) -> CodecBatch[Tokens, np.ndarray]:
        return Decoders(self, slots)

    def count(self, codebooks: int | None) -> int:
        if codebooks is not None and codebooks not in self.choices:
            raise BitrateError(f"mu_law has {self.choices} codebooks, not {codebooks}")
        return codebooks or FRAME

    def check(self, tokens: Tokens) -> None:
        if tokens.codec != self.name:
            raise TokensError(f"tokens of {tokens.codec}, not of {self.name}")

    def tokens(self, samples: np.ndarray, first_frame: int, codebooks: int) -> Tokens:
        padded = np.pad(samples, (0, -len(samples) % FRAME))
        curve = np.sign(padded) * np.log1p(255 * np.abs(padded)) / np.log(256)
        codes = np.round((np.clip(curve, -1, 1) + 1) * 127.5).astype(np.int64).reshape(-1, FRAME)
        kept = codes[:, ORDER[:codebooks]]
        return Tokens(self.name, 16_000, 50.0, codebooks, 8, first_frame, len(samples), kept)

    def samples(self, tokens: Tokens) -> np.ndarray:
        """What the codes say, before it is smoothed."""
        codes = np.zeros((tokens.frames, FRAME), np.int64)
        codes[:, ORDER[: tokens.codebooks]] = tokens.codes
        if tokens.codebooks < FRAME:
            codes[:, 1::2] = codes[:, ::2]
        curve = codes.reshape(-1) / 127.5 - 1
        return np.sign(curve) * np.expm1(np.abs(curve) * np.log(256)) / 255


def smoothed(samples: np.ndarray, before: float) -> np.ndarray:
    return ((samples + np.concatenate([[before], samples])[: len(samples)]) / 2).astype(np.float32)


@dataclass(eq=False)
class State:
    """One stream; `codebooks` and `rest` are an encoder's, `last` is a decoder's, as is a frame of None: any."""

    codebooks: int = FRAME
    frame: int | None = None
    rest: np.ndarray = field(default_factory=lambda: NOTHING)
    last: float = 0.0


class Slots:
    """What both directions share: who has which slot, and streams as bytes."""

    way = b"?"
    beginning: int | None = None

    def __init__(self, codec: MuLaw, slots: int) -> None:
        self._codec = codec
        self._states: list[State | None] = [None] * slots

    @property
    def free(self) -> int:
        return self._states.count(None)

    def open(self, codebooks: int | None = None) -> int:
        if not self.free:
            raise CodecError("no slot is free")
        slot = self._states.index(None)
        self._states[slot] = State(self._codec.count(codebooks), self.beginning)
        return slot

    def close(self, slot: int) -> None:
        self._states[slot] = None

    def use(self, slot: int, codebooks: int) -> None:
        self.state(slot).codebooks = self._codec.count(codebooks)

    def state(self, slot: int) -> State:
        state = self._states[slot]
        assert state is not None
        return state

    def snapshot(self, slot: int) -> bytes:
        state = self.state(slot)
        frame = -1 if state.frame is None else state.frame
        return (
            b"mulaw1"
            + self.way
            + struct.pack("<qqd", state.codebooks, frame, state.last)
            + state.rest.tobytes()
        )

    def restore(self, slot: int, data: bytes) -> None:
        if data[:7] != b"mulaw1" + self.way or len(data) < 31 or (len(data) - 31) % 4:
            raise CodecStateError("no snapshot of mu_law in this direction")
        codebooks, frame, last = struct.unpack("<qqd", data[7:31])
        rest = np.frombuffer(data[31:], np.float32)
        self._states[slot] = State(codebooks, None if frame < 0 else frame, rest, last)


class Encoders(Slots):
    """Streams from audio to tokens."""

    way = b"e"
    beginning = 0

    def push(self, pieces: Mapping[int, np.ndarray]) -> dict[int, Tokens]:
        return {slot: self._push(self.state(slot), piece) for slot, piece in pieces.items()}

    def flush(self, slots: Collection[int]) -> dict[int, Tokens]:
        made = {}
        for slot in slots:
            state = self.state(slot)
            made[slot] = self._codec.tokens(state.rest, state.frame or 0, state.codebooks)
            self._states[slot] = State(state.codebooks, 0)
        return made

    def _push(self, state: State, piece: np.ndarray) -> Tokens:
        samples = np.concatenate([state.rest, piece])
        whole = len(samples) // FRAME
        made = self._codec.tokens(samples[: whole * FRAME], state.frame or 0, state.codebooks)
        state.frame, state.rest = made.first_frame + whole, samples[whole * FRAME :]
        return made


class Decoders(Slots):
    """Streams from tokens to audio."""

    way = b"d"

    def push(self, pieces: Mapping[int, Tokens]) -> dict[int, np.ndarray]:
        for slot, piece in pieces.items():
            self._codec.check(piece)
            due = self.state(slot).frame
            if due is not None and piece.first_frame != due:
                raise TokensError(f"frame {piece.first_frame} came where {due} was due")
        return {slot: self._push(self.state(slot), piece) for slot, piece in pieces.items()}

    def flush(self, slots: Collection[int]) -> dict[int, np.ndarray]:
        for slot in slots:
            self._states[slot] = replace(self.state(slot), frame=None, last=0.0)
        return dict.fromkeys(slots, NOTHING)

    def _push(self, state: State, piece: Tokens) -> np.ndarray:
        samples = self._codec.samples(piece)
        sound = smoothed(samples, state.last)[: piece.samples]
        state.frame = piece.first_frame + piece.frames
        state.last = float(samples[-1]) if len(samples) else state.last
        return sound
