"""The encoder's output by itself, as a stream: what Whisper's decoder reads, for codecs that keep the words.

The recogniser's own windows end where words do. Here nobody looks for words, so a fixed rule divides the
stream: a window is 12 s, and the next one begins 3.6 s before its end and is encoded as if the stream had begun
there. Blocks of 1.2 s are settled with 400 ms behind them, as the adapter knows them. Every product runs over one
stream's block, always of the same shape, so no bit depends on how the audio was cut or on who else was in the
batch; blocks of 80 rows are long enough for that to cost a CPU nothing.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from voicewire.asr.adapters import load_adapter
from voicewire.asr.encoder import Block, BlockEncoder, ConvState
from voicewire.asr.errors import AudioError, CapacityError, SnapshotError
from voicewire.asr.mel import MelState, StreamingLogMel
from voicewire.asr.model import CausalWhisper
from voicewire.asr.places import find_places
from voicewire.asr.precision import choose_precision
from voicewire.asr.settings import FRAME_SAMPLES
from voicewire.asr.slots import Slots
from voicewire.asr.weights import load_checkpoint

BLOCK = 60  # frames of 20 ms that are settled at once ...
AHEAD = 20  # ... when so many behind them have been heard
WINDOW = 10 * BLOCK  # frames until the next window begins ...
KEPT = 3 * BLOCK  # ... with so many of them encoded again
LOOK_AHEAD = 200  # samples that the convolutions need after a frame's end
FORMAT = "voicewire.features.1"


@dataclass
class FeatureStream:
    """Where one stream stands.

    Attributes:
        rest: samples that wait for a block to be whole.
        clock_samples: samples through the convolutions.
        start: the window's first frame, counted from the stream's start.
        committed: settled frames of the window; AHEAD more lie behind them once there are any.
    """

    rest: Tensor = field(default_factory=lambda: torch.zeros(0))
    clock_samples: int = 0
    start: int = 0
    committed: int = 0
    mel: MelState = field(default_factory=MelState)
    conv: ConvState = field(default_factory=ConvState)

    @property
    def needed(self) -> int:
        """Samples until the next block can be settled."""
        return (self.start + self.committed + BLOCK + AHEAD) * FRAME_SAMPLES + LOOK_AHEAD - self.clock_samples


class FeatureStreams:
    """Streams in slots. Not thread-safe: one thread owns it.

    Args:
        model: may be shared with other owners, also in other threads.
        places: see places.py.
        slots: how many streams there is room for.
    """

    def __init__(self, model: CausalWhisper, places: Tensor, slots: int) -> None:
        # Slots without layers for the decoder, which does not run here.
        silent = replace(model.dims, n_text_layer=0)
        room = Slots.allocate(silent, slots, model.dtype, model.device, frames=WINDOW + AHEAD)
        self._encoder = BlockEncoder(model, room)
        self._mel = StreamingLogMel(model.dims.n_mels)
        self._places = places.to(model.device)
        self._streams: dict[int, FeatureStream] = {}

    @property
    def free(self) -> int:
        """How many more streams can be opened."""
        return self._encoder.slots.count - len(self._streams)

    def open(self) -> int:
        """Begins a stream; gives its slot. Raises CapacityError."""
        count = self._encoder.slots.count
        slot = next((slot for slot in range(count) if slot not in self._streams), None)
        if slot is None:
            raise CapacityError(f"all {count} slots are taken: close a stream, or make room for more")
        self._encoder.slots.clear(slot)
        self._streams[slot] = FeatureStream()
        return slot

    def close(self, slot: int) -> None:
        """Forgets a stream."""
        del self._streams[slot]

    def push(self, slot: int, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes mono float32 samples at 16 kHz, shape = (n,); gives the features that were settled by them, whole
        blocks, shape = (60 blocks, n_state). Raises AudioError for anything else.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype != np.float32 or not np.isfinite(samples).all():
            raise AudioError("samples must be one row of finite float32")
        stream = self._streams[slot]
        stream.rest = torch.cat([stream.rest, torch.from_numpy(samples)])
        return self._settle(slot, stream)

    def flush(self, slot: int) -> NDArray[np.float32]:
        """The end of the stream: its last features, with silence laid behind the audio until they are whole
        blocks, shape = (60 blocks, n_state). The next `push` begins a new stream.
        """
        stream = self._streams[slot]
        heard = stream.clock_samples + len(stream.rest)
        settled = (stream.start + stream.committed) * FRAME_SAMPLES
        blocks = max(0, -(-(heard - settled) // (BLOCK * FRAME_SAMPLES)))
        if blocks:
            silence = stream.needed + (blocks - 1) * BLOCK * FRAME_SAMPLES - len(stream.rest)
            stream.rest = torch.cat([stream.rest, torch.zeros(silence)])
        features = self._settle(slot, stream)
        self._streams[slot] = FeatureStream()
        return features

    def _settle(self, slot: int, stream: FeatureStream) -> NDArray[np.float32]:
        settled = [torch.zeros(0, self._encoder.model.dims.n_audio_state)]
        while len(stream.rest) >= stream.needed:
            self._hear(slot, stream)
            settled.append(self._encode(slot, stream).cpu())
            if stream.committed == WINDOW:
                self._roll(slot, stream)
        return torch.cat(settled).numpy()

    def _hear(self, slot: int, stream: FeatureStream) -> None:
        """Runs the next block's samples through the convolutions."""
        count = stream.needed
        samples, stream.rest = stream.rest[:count], stream.rest[count:].clone()
        stream.clock_samples += count
        frames = self._encoder.convolve(stream.conv, self._mel.push(stream.mel, samples))
        end = stream.committed + BLOCK + AHEAD
        self._encoder.slots.front[slot, end - len(frames) : end] = frames

    def _encode(self, slot: int, stream: FeatureStream) -> Tensor:
        """Settles the next block; gives its features."""
        start, end = stream.committed, stream.committed + BLOCK
        stream.committed = end
        features = self._encoder.features([Block(slot, start, end + AHEAD)])[:BLOCK]
        return features.float() - self._places[start:end]

    def _roll(self, slot: int, stream: FeatureStream) -> None:
        """Begins the next window."""
        front = self._encoder.slots.front[slot]
        front[: KEPT + AHEAD] = front[WINDOW - KEPT : WINDOW + AHEAD].clone()
        stream.start += WINDOW - KEPT
        self._encode_again(slot, stream, KEPT)

    def _encode_again(self, slot: int, stream: FeatureStream, frames: int) -> None:
        """Brings the slot's keys and values to where the first `frames` of the window are settled."""
        stream.committed = 0
        while stream.committed < frames:
            self._encode(slot, stream)

    def snapshot(self, slot: int) -> bytes:
        """The stream's whole state; goes on bit for bit where the arithmetic is the same. Keys and values are not
        in it: they are made again from the convolutions' output.
        """
        stream = self._streams[slot]
        kept = stream.committed + AHEAD if stream.committed else 0
        tensors = {
            "front": self._encoder.slots.front[slot, :kept],
            "rest": stream.rest,
            "mel": stream.mel.samples,
        }
        if stream.conv.mel is not None and stream.conv.hidden is not None:
            tensors |= {"conv.mel": stream.conv.mel, "conv.hidden": stream.conv.hidden}
        facts = {
            "clock_samples": stream.clock_samples,
            "start": stream.start,
            "committed": stream.committed,
            "loudest": stream.mel.loudest,
            "started": stream.mel.started,
        }
        header = {"format": FORMAT, "stream": json.dumps(facts)}
        return save({name: tensor.cpu().clone() for name, tensor in tensors.items()}, header)

    def restore(self, slot: int, data: bytes) -> None:
        """Goes on in `slot` with the stream of a snapshot. Raises SnapshotError; the slot is then as it was."""
        try:
            stream, front = _read_snapshot(data, self._encoder.slots.front)
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise SnapshotError(f"this is no snapshot of a stream of features: {error}") from None
        self._encoder.slots.front[slot, : len(front)] = front
        self._streams[slot] = stream
        self._encode_again(slot, stream, stream.committed)


def _read_snapshot(data: bytes, like: Tensor) -> tuple[FeatureStream, Tensor]:
    """The stream, and the front of its window; `like` is the front of all slots."""
    tensors = load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']!r}")
    facts = json.loads(header["stream"])
    clock_samples, start, committed = (int(facts[name]) for name in ("clock_samples", "start", "committed"))
    mel = MelState(tensors["mel"], float(facts["loudest"]), bool(facts["started"]))
    stream = FeatureStream(tensors["rest"], clock_samples, start, committed, mel)
    if "conv.mel" in tensors:
        stream.conv = ConvState(tensors["conv.mel"].to(like), tensors["conv.hidden"].to(like))
    front = tensors["front"].to(like)
    if front.shape != (stream.committed + AHEAD if stream.committed else 0, like.shape[-1]):
        raise ValueError("its frames are not as many as it says")
    if stream.committed % BLOCK or stream.committed >= WINDOW or stream.needed <= len(stream.rest):
        raise ValueError("its window is impossible")
    return stream, front


@dataclass(frozen=True)
class FeatureSource:
    """A loaded encoder, and which one it is.

    Attributes:
        model: whole, as it is shared with the recogniser.
        places: see places.py.
        model_sha256, adapter_sha256: of the weights and of what was merged into them.
    """

    model: CausalWhisper
    places: Tensor
    model_sha256: str
    adapter_sha256: str

    @classmethod
    def load(
        cls,
        model: str = "base",
        *,
        adapter: str | Path = "default",
        device: str = "auto",
        precision: str = "auto",
    ) -> "FeatureSource":
        """As BatchTranscriber.load. Raises WeightsError and SettingsError."""
        checkpoint = load_checkpoint(model)
        chosen = choose_precision(checkpoint.dims, device=device, precision=precision)
        merged = load_adapter(adapter, checkpoint)
        whisper = CausalWhisper.from_state(
            checkpoint.dims, merged.merge(checkpoint.state), chosen.dtype, chosen.device
        )
        places = find_places(checkpoint.sha256, merged.sha256)
        return cls(whisper, places, checkpoint.sha256, merged.sha256)

    def streams(self, slots: int) -> FeatureStreams:
        """Room for so many streams."""
        return FeatureStreams(self.model, self.places, slots)
